"""Similarities: what is embedded, and that nothing is had which is not there."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.errors import UserError
from framework.files import sha256_file
from framework.models.features import similarity, weights
from framework.models.features.blocks import suited
from framework.models.features.clip import CLIP, CLIP_MODEL
from framework.models.features.similarity import FACE, IMAGENET, choose_similarity
from tests.models.features.networks import random_pictures

pytestmark = pytest.mark.usefixtures("bare")


def seeded(make: Any, *args: Any, **kwargs: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*args, **kwargs)


# --- ResNet-50 -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    from torchvision.models import resnet50

    return seeded(resnet50).eval()


@pytest.fixture(scope="module")
def resnet_file(resnet, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / weights.RESNET50.file
    torch.save(resnet.state_dict(), path)
    return path


@pytest.fixture
def known_resnet(resnet_file, monkeypatch) -> Path:
    """The file taken for the published one."""
    known = replace(weights.RESNET50, sha256=sha256_file(resnet_file))
    monkeypatch.setattr(weights, "KNOWN", (known,))
    monkeypatch.setattr(similarity, "RESNET50", known)
    return resnet_file


def test_resnet_is_one_minus_the_cosine_of_pooled_features(resnet, known_resnet):
    a, b = random_pictures(2, 224, seed=1), random_pictures(2, 224, seed=2)
    pooled: list[Tensor] = []
    hook = resnet.avgpool.register_forward_hook(lambda m, i, o: pooled.append(o.flatten(1)))
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET.mean, IMAGENET.std))
    with torch.no_grad():
        for x in (a, b):
            resnet(((x + 1) / 2 - mean) / std)
    hook.remove()
    found = choose_similarity("resnet50", str(known_resnet.parent))
    expected = 1 - torch.cosine_similarity(*pooled, dim=1)
    torch.testing.assert_close(found(a, b), expected, rtol=1e-3, atol=1e-6)
    protocol = found.protocol()
    assert protocol["name"] == "resnet50" and "224x224" in protocol["resize"]
    assert protocol["sha256_of_weights"] == sha256_file(known_resnet)


def test_it_can_be_descended_on_and_never_trains(known_resnet):
    found = choose_similarity("resnet50", str(known_resnet)).train()
    assert not found.training and not any(m.training for m in found.modules())
    assert not any(p.requires_grad for p in found.parameters())
    a, b = random_pictures(1, 32), random_pictures(1, 32, seed=1, channels=1).requires_grad_()
    found(a, b).sum().backward()
    assert b.grad is not None and b.grad.abs().max() > 0


def test_resnet_that_is_not_here_is_one_line():
    with pytest.raises(UserError, match=r"--s resnet50: resnet50-0676ba61\.pth is missing; fetch"):
        choose_similarity("resnet50", flag="--s")


# --- ArcFace ---------------------------------------------------------------------------------


class Backbone(nn.Module):
    """Stands for an IR-SE50: 112 px to 512 maps of 7x7."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Conv2d(3, 4, 4, 4)
        self.body = nn.Sequential(nn.Conv2d(4, 512, 4, 4), nn.Tanh())
        self.styles = nn.Linear(9, 9)  # an encoder's, of no use here


def arcface_tensors() -> dict[str, Tensor]:
    """Random weights under ArcFace's names."""
    rng = torch.Generator().manual_seed(1)
    backbone = seeded(Backbone).state_dict()
    tensors = {n: t for n, t in backbone.items() if not n.startswith("styles")}
    for index in (0, 4):
        names = ("weight", "bias", "running_mean", "running_var")
        tensors |= {f"output_layer.{index}.{n}": torch.rand(512, generator=rng) for n in names}
        tensors[f"output_layer.{index}.num_batches_tracked"] = torch.tensor(1)
    tensors["output_layer.3.weight"] = torch.randn(512, 512 * 49, generator=rng) / 160
    tensors["output_layer.3.bias"] = torch.randn(512, generator=rng)
    return tensors


def test_arcface_is_its_layers_on_the_face(tmp_path):
    tensors, path = arcface_tensors(), tmp_path / "model_ir_se50.pth"
    torch.save(tensors, path)
    found = choose_similarity("arcface", str(path), face_network=Backbone)
    pictures = random_pictures(2, 256, seed=3)
    face = suited(pictures[:, :, 35:223, 32:220], (112, 112), 3)
    x = seeded(Backbone).input_layer(face)
    x = seeded(Backbone).body(x)

    def normalised(x: Tensor, index: int) -> Tensor:
        t = {n: tensors[f"output_layer.{index}.{n}"] for n in ("running_mean", "running_var")}
        scale = tensors[f"output_layer.{index}.weight"], tensors[f"output_layer.{index}.bias"]
        return F.batch_norm(x, *t.values(), *scale)

    x = normalised(x, 0).flatten(1)
    x = F.linear(x, tensors["output_layer.3.weight"], tensors["output_layer.3.bias"])
    expected = F.normalize(normalised(x, 4), dim=1)
    torch.testing.assert_close(found.embed(pictures), expected, rtol=1e-3, atol=1e-5)
    assert found.protocol()["box"] == list(FACE.box)
    assert found(pictures[:1], pictures[1:]).item() > 0
    assert found(pictures, pictures).tolist() == pytest.approx([0, 0], abs=1e-5)


def test_weights_of_another_network_are_one_line(tmp_path):
    tensors, path = arcface_tensors(), tmp_path / "x.pth"
    del tensors["body.0.weight"]
    torch.save(tensors, path)
    with pytest.raises(UserError, match=r"x\.pth: no weights of this network \(no body\.0\.weight"):
        choose_similarity("arcface", str(path), face_network=Backbone)


@pytest.mark.parametrize("given", [None, "/nowhere/x.pth"])
@pytest.mark.parametrize("choice", ["arcface", "clip"])
def test_similarities_without_their_file_name_the_flag(choice, given):
    with pytest.raises(UserError, match=f"--s {choice}: .*no file; --w FILE says where"):
        choose_similarity(choice, given, face_network=Backbone, flag="--s", weights_flag="--w")


def test_unknown_ones_are_a_mistake():
    with pytest.raises(UserError, match="--similarity moco: choose one of arcface, resnet50, clip"):
        choose_similarity("moco")


# --- CLIP ------------------------------------------------------------------------------------


class FakeClip(nn.Module):
    """Stands for open_clip's: a tower for pictures, and something for text."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(48, 8))
        self.text = nn.Linear(2, 2)


def test_clip_without_its_library_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "clip.pt"
    torch.save(FakeClip().state_dict(), path)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"open_clip is not installed; pip install 'dragline\[clip"):
        choose_similarity("clip", str(path))


def test_clip_is_its_picture_tower(tmp_path, monkeypatch):
    asked, model = [], seeded(FakeClip)
    path = tmp_path / "clip.pt"
    torch.save(model.state_dict(), path)
    library = ModuleType("open_clip")

    def create_model(name: str, pretrained: str | None) -> nn.Module:
        asked.append((name, pretrained))
        return FakeClip()

    library.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "open_clip", library)
    found = choose_similarity("clip", str(path))
    assert asked == [(CLIP_MODEL, None)]  # nothing is fetched by the library
    a, b = random_pictures(1, 224), random_pictures(1, 224, seed=1)
    torch.testing.assert_close(found.network.state_dict(), model.visual.state_dict())
    embedded = [F.normalize(model.visual(CLIP(x)), dim=1) for x in (a, b)]
    torch.testing.assert_close(found(a, b), 1 - (embedded[0] * embedded[1]).sum(dim=1))
