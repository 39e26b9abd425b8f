"""A photograph into a diffusion model: DDIM the other way, and an identity LoRA by peft."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from framework.cli.edit import main
from framework.errors import UserError
from framework.inversion.deltas import WeightDeltas, personal
from framework.inversion.diffusion import (
    adapted,
    changes,
    denoising_loss,
    identity_lora,
    invert_diffusion,
    memory_in_words,
    suited,
)
from framework.inversion.settings import TuneSettings
from framework.models.digest import state_digest
from tests.models.diffusion.tiny import tiny_folder, tiny_generator

TUNE = TuneSettings(steps=6, lr=0.02, rank=3)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return tiny_generator(tmp_path_factory.mktemp("m") / "m")


@pytest.fixture(scope="module")
def picture():
    """A disc on a ramp, which random weights have never drawn."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    disc = ((x - 12) ** 2 + (y - 18) ** 2 < 49).float()
    return torch.stack([disc * 2 - 1, x / 16 - 1, 1 - y / 16])[None]


def test_the_published_settings_are_the_usual_ones():
    assert suited(TuneSettings()) == replace(TuneSettings(), steps=80, rank=16)
    assert TuneSettings().lr == 5e-4
    own = TuneSettings(steps=7, rank=2)
    assert suited(own) == own


def test_its_changes_are_those_of_peft(generator, picture):
    """The copy with peft's layers predicts what the weights with the changes added predict."""
    network, factors = adapted(generator, 3, 0)
    assert len(factors) == 4 * 6 and all(n.startswith("unet.") for n in factors)
    with torch.no_grad():
        for _, b, _ in factors.values():
            b.normal_(generator=torch.Generator().manual_seed(1))
        changed = personal(generator, deltas=changes(factors))
        x = torch.randn(1, 12, 16, 16, generator=torch.Generator().manual_seed(2))
        expected = network.output(x, 20)
        assert torch.allclose(changed.output(x, 20), expected, atol=1e-4)
        assert not torch.allclose(generator.output(x, 20), expected, atol=1e-3)


def test_a_lora_learns_its_picture_and_leaves_the_model_alone(generator, picture):
    before = state_digest(generator)
    steps = list(identity_lora(generator, picture, replace(TUNE, steps=25)))
    assert [s.step for s in steps] == [*range(26)] and steps[-1].status == "max_steps"

    def error(deltas: WeightDeltas | None) -> float:
        with torch.no_grad():
            tuned = personal(generator, deltas=deltas)
            rng = torch.Generator().manual_seed(9)
            return float(denoising_loss(tuned, tuned.space.encode(picture), rng, 40))

    assert error(steps[-1].deltas) < 0.985 * error(None)
    assert error(steps[0].deltas) == pytest.approx(error(None))
    assert state_digest(generator) == before
    assert all(p.grad is None for p in generator.parameters())


def test_the_same_seed_is_the_same_lora(generator, picture):
    first, second, third = (
        list(identity_lora(generator, picture, replace(TUNE, seed=seed)))[-1].deltas.tensors()
        for seed in (1, 1, 2)
    )
    name = min(first)
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not torch.equal(first[name], third[name])


def test_an_inversion_gives_latents_and_changes(generator, picture):
    steps = list(invert_diffusion(generator, picture, ("embed", "tune"), TUNE))
    assert [s.stage for s in steps[:2]] == ["embed", "tune"] and steps[0].deltas is None
    last = steps[-1]
    assert last.stage == "tune" and last.step == 6 and last.deltas is not None
    tuned = personal(generator, deltas=last.deltas)
    with torch.no_grad():
        assert torch.equal(tuned.synthesis(last.ws), last.images)
    assert float(last.loss) < 0.02  # the picture comes back
    plain = list(invert_diffusion(generator, picture, ("embed",)))
    assert len(plain) == 1 and torch.equal(plain[0].ws, steps[0].ws)


def test_a_time_limit_ends_a_lora(generator, picture):
    steps = list(identity_lora(generator, picture, replace(TUNE, max_seconds=0.0)))
    assert [s.status for s in steps] == ["max_seconds"]


def test_what_does_not_fit_is_one_line(generator, picture, monkeypatch):
    """C25f."""
    with pytest.raises(UserError, match=r"pictures \(1, 3, 16, 32\): expected \(1, 3, 32, 32\)"):
        invert_diffusion(generator, picture[:, :, :16])
    with pytest.raises(UserError, match="NaN or infinity"):
        list(invert_diffusion(generator, picture * float("nan")))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'dragline\[diffusion\]'"):
        list(identity_lora(generator, picture, TUNE))


def test_a_lack_of_memory_says_what_to_lower():
    """C25f."""
    with pytest.raises(UserError, match=r"not enough memory for the LoRA: .*tune\.rank"):
        with memory_in_words():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(RuntimeError, match="shape"), memory_in_words():
        raise RuntimeError("shape mismatch")


@pytest.fixture(scope="module")
def photo(tmp_path_factory, picture) -> Path:
    levels = ((picture[0] + 1) * 127.5).permute(1, 2, 0).numpy().astype(np.uint8)
    path = tmp_path_factory.mktemp("photo") / "disc.png"
    Image.fromarray(levels).resize((48, 40)).save(path)
    return path


def test_a_photograph_is_inverted_dragged_and_pasted(photo, tmp_path, capsys):
    """The same files as with a StyleGAN2, of a drag that finds its own LoRA again."""
    model = tiny_folder(tmp_path / "m")
    settings = tmp_path / "s.yaml"
    settings.write_text("tune: {steps: 2, rank: 2}\n")
    words = ["invert", str(photo), "--model", str(model), "--config", str(settings), "--json",
             "--wandb", "disabled", "--out", str(tmp_path / "i")]  # fmt: skip
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [*facts["stages"]] == ["embed", "tune"] and facts["usual_deviations"] is None
    words = ["drag", "--image", str(tmp_path / "i" / "disc.inv.safetensors"), "--points",
             "12,18:16,18", "--steps", "2", "--no-video", "--wandb", "disabled",
             "--out", str(tmp_path / "d")]  # fmt: skip
    assert main(words) == 0
    names = {path.name for path in (tmp_path / "d").iterdir()}
    assert {"pasted.png", "edit.safetensors", "after.png", "disc.inv.safetensors"} <= names
    words = ["drag", "--edit", str(tmp_path / "d" / "edit.safetensors"), "--steps", "1",
             "--no-video", "--wandb", "disabled", "--out", str(tmp_path / "e")]  # fmt: skip
    assert main(words) == 0
