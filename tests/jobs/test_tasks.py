import json
import re
from dataclasses import replace

import pytest

from framework.errors import UserError
from framework.jobs.tasks import read_tasks

SIZE = (64, 64)
GOOD = {"seed": 7, "handles": [[20, 30]], "targets": [[26, 30.5]]}


def write(tmp_path, text):
    path = tmp_path / "tasks.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_and_arrays_give_the_same_tasks(tmp_path):
    other = {"ws": "a.safetensors", "points": "1,2:3,4", "mask": "m.png", "name": "roof"}
    lines = write(tmp_path, json.dumps(GOOD) + "\n\n" + json.dumps(other) + "\n")
    (first, second), wrong = read_tasks(lines, SIZE)
    assert not wrong and first.where == "line 1"
    assert first.name == "line_1" and second.name == "roof"
    assert first.fields == {"seed": 7, "points": "20.0,30.0:26.0,30.5"}
    assert second.fields == {
        "ws": str(tmp_path / "a.safetensors"),
        "mask": str(tmp_path / "m.png"),
        "points": "1,2:3,4",
    }
    array = write(tmp_path, json.dumps([GOOD, other], indent=1))
    assert replace(read_tasks(array, SIZE)[0][1], where="line 3") == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "no key 'sed'; there are"),
        ({"seed": None}, "give one of seed, ws, image, edit"),
        ({"ws": "x"}, "give one of seed, ws, image, edit"),
        ({"image": ""}, "give one of"),
        ({"seed": None, "image": " "}, "image ' ': expected a text"),
        ({"seed": None, "ws": "a\0b"}, "ws .*: expected a text"),
        ({"pick": 1.5}, "pick 1.5: expected"),
        ({"box": [1, 2, 3, 4]}, "box .*: expected a text"),
        ({"seed": -1}, "seed -1: expected"),
        ({"seed": True}, "seed True: expected"),
        ({"seed": 2**32}, "seed 4294967296"),
        ({"targets": [[90, 3]]}, "target 0 .*outside"),
        ({"targets": []}, "1 handles but 0 targets"),
        ({"points": "1,2:3,4"}, "either points or handles"),
        ({"mask": 3}, "mask 3: expected a text"),
        ({"name": "a/b"}, "name 'a/b'"),
        ({"name": ".."}, "name '..'"),
    ],
)
# C4f
def test_a_bad_task_is_named_by_line_and_key_and_stops_no_other(tmp_path, change, message):
    rows = [GOOD, GOOD | change, GOOD, {"seed": 3}, GOOD]
    tasks, wrong = read_tasks(write(tmp_path, "\n".join(map(json.dumps, rows))), SIZE)
    assert [task.where for task in tasks] == ["line 1", "line 3", "line 5"]
    assert list(wrong) == ["line 2", "line 4"] and "\n" not in wrong["line 2"]
    assert re.search(message, wrong["line 2"]) and wrong["line 4"] == "key 'handles' is missing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{]", "not JSON"),
        ('[{"seed": 1, "seed": 2}]', "key 'seed' is given twice"),
        ("", "holds no tasks"),
        ("[" * 100_000, "not JSON"),
        ("[1" + "0" * 5000 + "]", "not JSON"),
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
    tasks, wrong = read_tasks(write(tmp_path, f"{twice}\n{twice}"), SIZE)
    assert len(tasks) == 1 and wrong == {"line 2": "name 'a': was used before"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("7", "expected an object"),
        ('"7"', "expected an object"),
        ('{"seed": 1, "handles": [[1, 1]]}', "key 'targets' is missing"),
        ('{"seed": 1, "seed": 2}', "key 'seed' is given twice"),
        ('{"seed": 1' + "0" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_task_is_named(tmp_path, line, reason):
    _, wrong = read_tasks(write(tmp_path, f"{json.dumps(GOOD)}\n{line}"), SIZE)
    assert list(wrong) == ["line 2"] and reason in wrong["line 2"]


def test_points_of_a_photograph_that_is_not_open_yet_may_lie_anywhere(tmp_path):
    task = {"image": "a.jpg", "points": "2000,3000:2010,3000", "box": "0,0,9,9", "pick": 2}
    ((read,), wrong) = read_tasks(write(tmp_path, json.dumps(task)), None)
    assert not wrong
    assert read.fields == {**task, "image": str(tmp_path / "a.jpg"), "pick": "2"}
