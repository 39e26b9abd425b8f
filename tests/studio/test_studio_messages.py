"""Messages: read strictly, whatever a stranger sends."""

import json
from typing import get_args

import numpy as np
import pytest

from framework.drag.settings import DragSettings
from framework.studio import messages, wire
from framework.studio.forms import PATHS, settings_form
from framework.studio.frames import HEADER, Frame, encode
from framework.studio.masks import pack, unpack
from framework.studio.messages import BadMessage
from framework.studio.wire import read_command


def test_commands_are_read():
    point = read_command('{"type": "AddPoint", "handle": [1, 2.5], "target": [3, 4]}')
    assert point == messages.AddPoint((1.0, 2.5), (3.0, 4.0))
    assert read_command('{"type": "Open", "model": "a"}') == messages.Open("a", 0, 0.7, None)
    assert read_command('{"type": "RemovePoint", "index": null}') == messages.RemovePoint(None)
    chosen = read_command('{"type": "Choose", "preset": "small", "settings": {"layers": 4}}')
    assert chosen == messages.Choose("small", {"layers": 4})


BAD = [
    "", "1", "[]", "null", "{", '"Run"', "NaN", '{"type": "Nonsense"}', '{"type": 1}', "{}",
    '{"type": "Go"}', '{"type": "Go", "place": NaN}', '{"type": "Go", "place": Infinity}',
    '{"type": "Go", "place": true}', '{"type": "Go", "place": 1.5}', '{"type": "Go", "place": "1"}',
    '{"type": "Go", "place": null}', '{"type": "Go", "place": 1, "more": 1}',
    '{"type": "Go", "place": 1, "place": 2}', '{"type": "Go", "place": ' + "9" * 5000 + "}",
    '{"type": "AddPoint", "handle": [1, 1e999], "target": [1, 2]}',
    '{"type": "AddPoint", "handle": [1, "nan"], "target": [1, 2]}',
    '{"type": "AddPoint", "handle": [1, true], "target": [1, 2]}',
    '{"type": "AddPoint", "handle": [1], "target": [1, 2]}',
    '{"type": "AddPoint", "handle": {"x": 1}, "target": [1, 2]}',
    '{"type": "AddPoint", "handle": ' + "[" * 5000 + "]" * 5000 + ', "target": [1, 2]}',
    "[" * 100_000, '{"a":' * 50_000,
    '{"type": "MovePoint", "index": 0, "end": "middle", "to": [1, 2]}',
    '{"type": "Open", "model": 3}', '{"type": "Open", "model": "' + "a" * 300 + '"}',
    '{"type": "Open", "model": "a", "psi": 1' + "0" * 400 + "}",
    '{"type": "Choose", "settings": {"a": [1]}}', '{"type": "Choose", "settings": [1]}',
    json.dumps({"type": "Choose", "settings": {str(i): i for i in range(300)}}),
    json.dumps({"type": "SetMask", "bits": "A" * (messages.MAX_MESSAGE_BYTES + 1)}),
]  # fmt: skip


# F15
@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_anything_else_is_refused_in_a_line(text):
    with pytest.raises(BadMessage) as refusal:
        read_command(text)
    assert len(str(refusal.value)) < 300


def test_the_description_has_every_message():
    described = wire.describe()
    assert described["commands"]["MovePoint"] == ["index", "end", "to"]
    assert set(described["commands"]) == {kind.__name__ for kind in get_args(messages.Command)}
    assert "points" in described["events"]["State"]


def test_events_are_strict_json():
    with pytest.raises(ValueError, match="JSON"):
        wire.to_text(messages.Rows(["a"], [[float("nan")]], False))
    assert json.loads(wire.to_text(messages.Note("<b>"))) == {
        "type": "Note", "text": "<b>", "is_error": True, "field": "",
    }  # fmt: skip


@pytest.mark.parametrize("size", [(64, 64), (5, 3), (1, 1)])
def test_masks_travel_as_bits(size):
    import torch

    mask = np.random.default_rng(0).random(size) > 0.5
    assert (unpack(pack(torch.from_numpy(mask).float()) or "", size) == mask).all()
    assert pack(None) is None
    for bad in ("", "A" * 1000, "%%%%", "é"):
        with pytest.raises(BadMessage):
            unpack(bad, (64, 64))


def test_frames_say_what_they_are():
    from io import BytesIO

    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    data = Frame(picture, 7).to_bytes(3)
    assert HEADER.unpack(data[: HEADER.size]) == (b"DRAG", 3, 7, 30, 20)
    assert (np.asarray(Image.open(BytesIO(data[HEADER.size :]))) == picture).all()
    large = np.zeros((400, 300, 1), np.uint8)
    assert Image.open(BytesIO(encode(large))).format == "JPEG"


# F13
def test_no_free_text_among_the_settings_of_a_page():
    """A setting that is any text may be a path; such a one has to stand in PATHS."""
    form = settings_form()
    assert not [field["name"] for field in form if field["kind"] == "str" and not field["choices"]]
    assert {field["name"] for field in form} | PATHS == set(DragSettings().to_dict())
