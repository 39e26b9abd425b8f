"""Attributes of pictures, measured and read from files."""

import json

import pytest
import torch

from framework.control.attributes import chroma, luma, measured, read_attributes, seeds_of
from framework.errors import UserError


def test_measures_of_plain_pictures_are_what_they_say():
    red = torch.tensor([1.0, -1, -1])[None, :, None, None].expand(1, 3, 6, 6)
    blue = red.flip(1)
    half = torch.cat([torch.ones(1, 3, 6, 3), -torch.ones(1, 3, 6, 3)], dim=3)
    numbers = measured(torch.cat([red, blue, half]))
    assert numbers["brightness"].tolist() == pytest.approx([-0.402, -0.772, 0], abs=1e-6)
    assert numbers["red"][0] > 1 > 0 > numbers["red"][1]
    assert numbers["blue"][1] > 1 > 0 > numbers["blue"][0]
    assert numbers["contrast"].tolist() == pytest.approx([0, 0, 1.0142], abs=1e-3)
    assert numbers["saturation"][2] == pytest.approx(0, abs=1e-6)
    assert torch.equal(luma(half[:, :1]), half[:, :1]) and not chroma(half[:, :1]).any()
    assert set(measured(half[:, :1])) == {"brightness", "contrast"}


def test_csv_and_json_say_the_same(tmp_path):
    (tmp_path / "a.csv").write_text("seed, size,roof,kind\n3,1.5,yes,van\n4,2,no,car\n")
    rows = [{"seed": 3, "size": 1.5, "roof": True, "kind": "van"},
            {"seed": 4, "size": 2, "roof": False, "kind": "car"}]  # fmt: skip
    (tmp_path / "b.json").write_text(json.dumps(rows))
    by_seed = {str(row["seed"]): {k: v for k, v in row.items() if k != "seed"} for row in rows}
    (tmp_path / "c.json").write_text(json.dumps(by_seed))
    wanted = {
        "size": {"3": 1.5, "4": 2.0}, "roof": {"3": 1.0, "4": 0.0},
        "kind:car": {"3": 0.0, "4": 1.0}, "kind:van": {"3": 1.0, "4": 0.0},
    }  # fmt: skip
    for name in ("a.csv", "b.json", "c.json"):
        assert read_attributes(tmp_path / name) == ("seed", wanted), name


# G23f
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no pictures"),
        ("seed,a\n", "holds no pictures"),
        ("a,b\n1,2\n", "needs a column seed"),
        ("seed\n1\n", "needs a column seed"),
        ("seed,a\n1,2\n1,3\n", "row 2: seed 1 is there twice"),
        ("seed,a\n1,2\n2,far\n", "a of 2 is 'far', where others are numbers"),
        ("seed,a\n1,nan\n2,3\n", "a of 1 is 'nan'"),
        ("seed,a\n1,2,3\n", "line 2: has another number of columns"),
        ('[{"seed": 1, "a": 2}, {"seed": 2}]', "row 2 has other columns"),
        ("[1, 2]", "give an array of objects"),
        ("{1}", "not JSON"),
        ("seed,a\n" + "".join(f"{i},word{i}\n" for i in range(30)), "30 different words"),
    ],
)
def test_a_file_that_says_nothing_is_refused(tmp_path, text, complaint):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match=complaint) as error:
        read_attributes(tmp_path / "a.txt")
    assert str(tmp_path / "a.txt") in str(error.value)


# G23f
def test_seeds_are_whole_numbers():
    assert seeds_of("f", ["3", "007"], 10) == [3, 7]
    for bad in ("-1", "11", "1.5", "²", "car"):
        with pytest.raises(UserError, match="is no seed"):
            seeds_of("f", ["3", bad], 10)
