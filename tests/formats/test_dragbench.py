"""DragBench's folders: read as data, and refused in a line where they are something else."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.errors import BrokenCheckpoint, UnsafeCheckpoint, UserError
from framework.formats.dragbench import read_dragbench


class Harmful:
    """What runs a command when Python's unpickler reads it."""

    def __reduce__(self):
        return (print, ("run",))


def sample(folder: Path, name: str = "animals/cat", **changes) -> Path:
    """Write a sample as the labelling tool does."""
    place = folder / name
    place.mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(place / "original_image.png")
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5] = 1
    table = {"prompt": "a cat", "points": [(1, 2), (5, 4), [3.5, 1.0], (0, 0)], "mask": mask}
    with open(place / "meta_data.pkl", "wb") as file:
        pickle.dump({**table, **changes}, file)
    return folder


def test_samples_are_read_in_order(tmp_path):
    sample(tmp_path, "city/b")
    sample(tmp_path, "animals/cat", points=np.array([[1, 2], [5, 4]]))
    cat, city = read_dragbench(tmp_path)
    assert (cat.category, cat.name, cat.prompt) == ("animals", "cat", "a cat")
    assert cat.handles == ((1.0, 2.0),) and cat.targets == ((5.0, 4.0),)
    assert city.handles == ((1, 2), (3.5, 1)) and city.targets == ((5, 4), (0, 0))
    assert city.mask.shape == (6, 8) and city.mask.sum() == 6 and city.mask.dtype == np.uint8
    assert city.picture.is_file()


def test_points_may_be_arrays_and_numbers_of_numpy(tmp_path):
    points = [np.array([1.0, 2.0]), (np.int64(3), np.int64(4))]
    (only,) = read_dragbench(sample(tmp_path, points=points))
    assert only.handles == ((1.0, 2.0),) and only.targets == ((3.0, 4.0),)


@pytest.mark.parametrize(
    "changes",
    [
        {"points": [(1, 2)]}, {"points": []}, {"points": [(1, 2), (3, "x")]}, {"points": "no"},
        {"points": [(1, 2), (3, float("nan"))]}, {"points": [(1, 2, 3), (4, 5, 6)]},
        {"mask": [[1]]}, {"mask": np.zeros(3, np.uint8)}, {"prompt": 5},
    ],
)  # fmt: skip
def test_what_is_not_its_layout_is_one_line(tmp_path, changes):
    """C28f."""
    with pytest.raises(BrokenCheckpoint, match="are not as DragBench has them"):
        list(read_dragbench(sample(tmp_path, **changes)))


def test_a_pickle_that_runs_something_is_not_run(tmp_path, capsys):
    """C28f."""
    with pytest.raises(UnsafeCheckpoint):
        list(read_dragbench(sample(tmp_path, prompt=Harmful())))
    assert "run" not in capsys.readouterr().out


def test_missing_and_damaged_files_are_one_line(tmp_path):
    """C28f."""
    with pytest.raises(UserError, match=r"give DragBench's folder"):
        list(read_dragbench(tmp_path))
    folder = sample(tmp_path)
    file = folder / "animals" / "cat" / "meta_data.pkl"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BrokenCheckpoint):
        list(read_dragbench(folder))
    file.write_bytes(pickle.dumps([1]))
    with pytest.raises(BrokenCheckpoint, match="not a table with prompt, points and mask"):
        list(read_dragbench(folder))
    (file.parent / "original_image.png").unlink()
    with pytest.raises(UserError, match=r"original_image\.png: missing"):
        list(read_dragbench(folder))
