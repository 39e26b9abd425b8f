"""Nothing that a file says makes a reader run on, or take memory without bound."""

import json
import os
import tracemalloc

import numpy as np
import pytest

from framework.errors import UserError
from framework.files import sha256_file
from framework.formats import load_generator
from framework.formats.latents import read_latents
from framework.formats.run_checkpoint import manifest_path
from tests.formats import hostile, specimens


# G10f
@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": [' + "{}," * 200_000 + "{}]}", '{"weight_map": 5}',
     '{"weight_map": [1]}',
     json.dumps({"weight_map": {str(i): f"{i}.bin" for i in range(5000)}}), "\xff", "null", ""],
)  # fmt: skip
def test_a_hubs_index_is_not_believed(tmp_path, text):
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    (tmp_path / "pytorch_model.bin.index.json").write_bytes(text.encode("latin-1"))
    tracemalloc.start()
    with pytest.raises(UserError):
        load_generator(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


# G10f
@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_folder_of_latents_is_not_walked_without_end(tmp_path, monkeypatch):
    from framework.formats import latents

    np.save(tmp_path / "w.npy", np.ones((6, 24), np.float32))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert read_latents(tmp_path).shape == (1, 6, 24)
    monkeypatch.setattr(latents, "_MOST_FILES", 5)
    for i in range(6):
        (tmp_path / f"{i}.txt").touch()
    with pytest.raises(UserError, match="more than 5 files"):
        read_latents(tmp_path)


# B4f
def test_no_complaint_tells_anybody_to_read_unsafely(tmp_path):
    evil = hostile.EVIL
    files = {
        "a.pkl": specimens.pickled(evil),
        "b.pt": specimens.torch_zip({"g_ema": evil}),
        "c.pt": specimens.torch_stream(evil),
        "d.ckpt": specimens.torch_zip({"dragline": evil, "state_dict": {}}),
        "e.ckpt": specimens.torch_zip(evil),
    }
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        if name == "d.ckpt":
            facts = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            manifest_path(path).write_text(json.dumps(facts))
        for read in (load_generator, read_latents):
            with pytest.raises(UserError, match="do not open it with other tools") as caught:
                read(path)
            words = str(caught.value).lower()
            assert not {"weights_only", "torch.load", "allow_pickle", "trust"} & set(words.split())
