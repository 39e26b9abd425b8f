"""What is said of pictures before hours are spent on them: classes, sizes, what to run next."""

import io
import json
import shlex
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml

from framework.data import open_dataset
from framework.data.__main__ import main
from framework.data.advice import class_remarks, next_commands, size_remarks
from framework.data.inspect import as_text, inspect
from framework.data.shard_writer import index_shards
from framework.errors import UserError

COUNTS = {"cats": 3, "dogs": 2}


@pytest.fixture
def wrapped(tmp_path, put) -> Path:
    """A folder that holds nothing but another, which holds a folder for each class."""
    top = tmp_path / "top"
    for number, (name, count) in enumerate(COUNTS.items()):
        for i in range(count):
            put(top / "my data" / name / f"{i}.png", seed=10 * number + i)
    put(top / "__MACOSX" / "my data" / "cats" / "0.png")
    put(top / "my data" / ".thumbnails" / "0.png")
    put(top / ".trash" / "cats" / "0.png")
    return top


def zipped(folder: Path) -> Path:
    """The same in a zip."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("pack", [Path, zipped])
# A6f
def test_folders_of_classes_are_found_within_one_that_wraps_them(pack, wrapped):
    dataset = open_dataset(pack(wrapped), use_labels=True)
    assert len(dataset) == 5 and dataset.classes == ("cats", "dogs")
    assert [dataset.raw_label(i) for i in range(5)] == [0, 0, 0, 1, 1]
    assert dataset.facts()["other_files"] == 0


@pytest.mark.parametrize("pack", [Path, zipped])
@pytest.mark.parametrize("place", [".", "my data"])
# A6f
def test_a_label_file_is_found_at_the_top_and_within_what_wraps_all(place, pack, wrapped):
    names = sorted((wrapped / "my data").glob("[cd]*/*.png"))
    labels = [[str(path.relative_to(wrapped / place)), 4 - i] for i, path in enumerate(names)]
    content = {"labels": labels, "classes": [*"abcde"]}
    (wrapped / place / "dataset.json").write_text(json.dumps(content))
    dataset = open_dataset(pack(wrapped), use_labels=True)
    assert [dataset.raw_label(i) for i in range(5)] == [4, 3, 2, 1, 0]
    assert dataset.classes == (*"abcde",)


# A6f
def test_hidden_members_of_a_tar_are_no_pictures(tmp_path, wrapped):
    pytest.importorskip("webdataset")
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for file in sorted(wrapped.rglob("*.png")):
            data = file.read_bytes()
            member = tarfile.TarInfo(f"./{file.relative_to(wrapped)}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert index_shards(str(path))["count"] == 5
    with pytest.raises(UserError, match="is a tar file: unpack it"):
        open_dataset(path)


# A6f
def test_one_class_is_noted_by_whatever_reads_it(tmp_path, put, capsys):
    for i in range(3):
        put(tmp_path / "top" / "my data" / f"{i}.png", seed=i, size=(16, 16))
    dataset = open_dataset(tmp_path / "top", use_labels=True)
    assert dataset.classes == ("my data",)
    assert dataset.remarks() == class_remarks(["my data"], 1) != []
    assert main(["inspect", str(tmp_path / "top")]) == 0
    assert "note: one class only (my data)" in capsys.readouterr().out
    out = ["--out", str(tmp_path / "a.zip"), "--labels", "folders"]
    assert main(["prepare", str(tmp_path / "top"), *out]) == 0
    assert "note: one class only (my data)" in capsys.readouterr().out


# D4f
def test_the_report_counts_the_pictures_of_each_class(wrapped, put):
    report = inspect(wrapped)
    assert report["classes"] == COUNTS and report["remarks"] == []
    assert "  classes     cats (3), dogs (2)\n" in as_text(report)
    labels = [[f"my data/{n}/{i}.png", 7] for n, count in COUNTS.items() for i in range(count)]
    (wrapped / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert inspect(wrapped)["classes"] == {"class 7": 5}
    (wrapped / "dataset.json").write_text('{"labels": [["other.png", 1]]}')
    assert "no label for 5 of 5 pictures" in inspect(wrapped)["remarks"][0]
    loose = put(wrapped.parent / "loose" / "a.png").parent
    assert inspect(loose)["classes"] == {} and inspect(loose)["remarks"] == []


# ------------------------------------------------------------------------------------------- sizes


# A12f
@pytest.mark.parametrize(
    ("sizes", "wanted", "expected"),
    [
        ([(64, 64)] * 9, (64, 64), None),
        ([(60, 64)] * 9, (64, 64), None),
        ([(250, 100)] * 9, (64, 64), None),
        ([(32, 32)] * 2062, (256, 256), "2062 of 2062 .* 256x256 .* 8 times; a size of 32 "),
        ([(32, 32)] * 2 + [(300, 300)] * 8, (256, 256), "^2 of 10 "),
        ([(1024, 2048)] * 5, (64, 64), "16 times as large as 64x64 px; a size of up to 1024 "),
        ([], (64, 64), None),
    ],
)
def test_sizes_far_from_the_pictures_own_are_remarked_on(sizes, wanted, expected):
    import re

    remarks = size_remarks(sizes, wanted)
    assert len(remarks) == (expected is not None)
    assert expected is None or re.search(expected, remarks[0]), remarks


# A12f
def test_inspect_prepare_and_training_say_so(tmp_path, put, capsys):
    from framework.training.data import TrainingImages

    for i in range(3):
        put(tmp_path / "top" / f"{i}.png", seed=i, size=(16, 16))
    top, said = str(tmp_path / "top"), "3 of 3 pictures are smaller than 128x128 px"
    assert main(["inspect", top, "--size", "128"]) == 0
    assert said in capsys.readouterr().out
    assert main(["prepare", top, "--size", "128", "--out", str(tmp_path / "a.zip")]) == 0
    assert said in capsys.readouterr().out
    remarks = TrainingImages(top, size=128, batch_size=2).remarks()
    assert len(remarks) == 1 and remarks[0].startswith(said)
    assert TrainingImages(top, size=16, batch_size=2).remarks() == []


# -------------------------------------------------------------------------------------------- next

CASES = {
    "few small ones": ([(40, 50)] * 30, 0, 0, ["finetune"]),
    "tiny ones": ([(16, 20)] * 30, 0, 1, ["finetune"]),
    "2,000 photographs": ([(600, 800)] * 2000, 0, 3, ["finetune", "auto"]),
    "classes": ([(64, 64)] * 2000, 3, 0, ["finetune"]),
    "many": ([(256, 300)] * 30_000, 2, 0, ["auto", "finetune"]),
    "very many": ([(600, 600)] * 120_000, 0, 0, ["auto", "finetune"]),
}


@pytest.mark.parametrize("case", CASES)
# C6f
def test_the_report_ends_with_commands_that_train_py_understands(case, capsys):
    from framework.cli.train import main as train

    *facts, configs = CASES[case]
    lines = next_commands("my pictures", *facts)
    commands = [shlex.split(line) for line in lines if not line.startswith("#")]
    assert [Path(words[4]).stem for words in commands] == configs and len(lines) == 2 * len(configs)
    for words in commands:
        assert words[:3] == ["python", "train.py", "fit"]
        assert train([*words[2:], "--print_config"]) == 0
        settings = yaml.safe_load(capsys.readouterr().out)
        data, given = settings["data"], settings["model"]["init_args"]
        assert data["source"] == "my pictures"
        assert data["labels"] == ("folders" if facts[1] > 1 else "none")
        assert data["on_bad"] == ("skip" if facts[2] else "error")
        assert (given["start_from"] == "vehicles64") == ("finetune" in words[4])
        assert (data["size"] or 64) <= min(facts[0][0])


# C6f
def test_the_command_stands_at_the_end_of_the_report(wrapped, tmp_path):
    text = as_text(inspect(wrapped))
    command = "  python train.py fit --config configs/train/stylegan2/"
    assert text.splitlines()[-1].startswith(command)
    assert Counter(text.split())["--data.labels"] == 1
    (tmp_path / "empty").mkdir()
    assert "train.py" not in as_text(inspect(tmp_path / "empty"))
