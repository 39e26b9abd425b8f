import json

import pytest

from framework.drag.tasks import read_tasks
from framework.errors import UserError

SIZE = (64, 64)
GOOD = {"seed": 7, "handles": [[20, 30]], "targets": [[26, 30.5]]}


def write(tmp_path, text):
    path = tmp_path / "tasks.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_and_arrays_give_the_same_tasks(tmp_path):
    other = {"ws": "a.safetensors", "points": "1,2:3,4", "mask": "m.png", "name": "roof"}
    lines = write(tmp_path, json.dumps(GOOD) + "\n\n" + json.dumps(other) + "\n")
    first, second = read_tasks(lines, SIZE)
    assert (first.name, first.seed, first.ws, first.mask) == ("line_1", 7, None, None)
    assert first.handles == ((20.0, 30.0),) and first.targets == ((26.0, 30.5),)
    assert (second.name, second.seed) == ("roof", None)
    assert second.ws == tmp_path / "a.safetensors" and second.mask == tmp_path / "m.png"
    array = write(tmp_path, json.dumps([GOOD, other], indent=1))
    assert read_tasks(array, SIZE)[1] == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "no key 'sed'; there are"),
        ({"seed": None}, "either seed or ws"),
        ({"ws": "x"}, "either seed or ws"),
        ({"seed": -1}, "seed -1: expected"),
        ({"seed": True}, "seed True: expected"),
        ({"seed": 2**32}, "seed 4294967296"),
        ({"targets": [[90, 3]]}, "target 0 .*outside"),
        ({"targets": []}, "1 handles but 0 targets"),
        ({"points": "1,2:3,4"}, "either points or handles"),
        ({"mask": 3}, "mask 3: expected a file"),
        ({"name": "a/b"}, "name 'a/b'"),
        ({"name": ".."}, "name '..'"),
    ],
)
def test_a_bad_task_names_its_line_and_key(tmp_path, change, message):
    path = write(tmp_path, json.dumps(GOOD) + "\n" + json.dumps(GOOD | change))
    with pytest.raises(UserError, match=rf"tasks.jsonl, line 2: .*{message}") as error:
        read_tasks(path, SIZE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[{]", "not JSON"),
        ("7", "line 1: expected an object"),
        ("[7]", "item 1: expected an object"),
        ('{"seed": 1, "handles": [[1, 1]]}', "line 1: key 'targets' is missing"),
        ('{"seed": 1, "seed": 2}', "line 1: key 'seed' is given twice"),
        ("", "holds no tasks"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_task_list_says_so(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_tasks(write(tmp_path, text), SIZE)


def test_files_that_cannot_be_read_and_names_used_twice(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_tasks(tmp_path / "none.jsonl", SIZE)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_tasks(tmp_path / "binary", SIZE)
    twice = json.dumps(GOOD | {"name": "a"})
    with pytest.raises(UserError, match="line 2: name 'a' was used before"):
        read_tasks(write(tmp_path, f"{twice}\n{twice}"), SIZE)
