"""Which network looks at the pictures, and what it sees."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.data import decoded, open_dataset
from framework.errors import UserError
from framework.evaluation.generator import features
from framework.evaluation.generator.features import (
    DiscriminatorFeatures,
    InceptionFeatures,
    PerceptualDistance,
    block_distance,
    open_discriminator,
    open_networks,
)
from framework.evaluation.generator.metrics import kernel_distance
from framework.files import sha256_file
from framework.models.features import weights
from framework.models.features.blocks import block_features
from framework.models.features.distance import Lpips
from framework.models.features.weights import INCEPTION, VGG16
from framework.models.stylegan2 import Discriminator
from tests.models.features.networks import random_pictures, save_trunk


@pytest.fixture(autouse=True)
def without_inception(bare, monkeypatch) -> None:
    """A machine without weights and without torch-fidelity."""
    monkeypatch.setattr(features, "has_torch_fidelity", lambda: False)


@pytest.fixture
def inception_file(tmp_path, monkeypatch) -> Path:
    """A file that is taken for Inception's."""
    path = tmp_path / "weights" / INCEPTION.file
    path.parent.mkdir()
    path.write_bytes(b"the field's weights")
    known = replace(INCEPTION, sha256=sha256_file(path))
    monkeypatch.setattr(weights, "KNOWN", (known, VGG16))
    monkeypatch.setattr(weights, "INCEPTION", known)
    monkeypatch.setattr(features, "INCEPTION", known)
    return path


class FakeInception(nn.Module):
    """Stands for torch-fidelity's: the same call, features of a kind."""

    def __init__(self, name: str, layers: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        self.path = feature_extractor_weights_path

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        assert pictures.dtype == torch.uint8 and pictures.shape[1] == 3
        pooled = F.adaptive_avg_pool2d(pictures.float() / 255, 8).flatten(1)
        return (pooled.repeat(1, 11)[:, :2048],)


@pytest.fixture
def fidelity(monkeypatch) -> None:
    """A machine with (something that stands for) torch-fidelity."""
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = FakeInception  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(features, "has_torch_fidelity", lambda: True)


# --- the choice ------------------------------------------------------------------------------


def test_without_weights_one_line_says_what_is_measured_instead_and_how_to_have_more():
    networks = open_networks()
    assert isinstance(networks.features, DiscriminatorFeatures)
    assert networks.distance.suffix == "_d"
    note = networks.note
    assert "\n" not in note and note.startswith("measuring kid_d and ppl_d for lack of ")
    for text in (INCEPTION.file, VGG16.file, "torch-fidelity", "--metrics.weights"):
        assert text in note
    assert "(PPL)" not in open_networks(path_length=False).note


def test_inception_that_is_asked_for_and_not_there_is_a_mistake(inception_file):
    with pytest.raises(UserError, match=f"inception: no {INCEPTION.file}"):
        open_networks("inception")
    with pytest.raises(UserError, match="inception: no torch-fidelity"):
        open_networks("inception", str(inception_file))


def test_weights_without_the_library_are_not_enough(inception_file):
    networks = open_networks("auto", str(inception_file))
    assert networks.features.suffix == "_d" and "torch-fidelity" in networks.note


def test_with_weights_and_library_it_is_inception(inception_file, fidelity):
    networks = open_networks("auto", str(inception_file))
    assert isinstance(networks.features, InceptionFeatures)
    assert networks.features.extractor.path == str(inception_file)
    assert networks.features.suffix == ""
    assert networks.note.startswith(f"measuring ppl_d for lack of {VGG16.file}")
    seen = networks.features(torch.zeros(2, 1, 16, 16, dtype=torch.uint8))
    assert seen.shape == (2, 2048)
    assert networks.features(torch.zeros(2, 4, 16, 16, dtype=torch.uint8)).shape == (2, 2048)
    protocol = networks.features.protocol()
    assert protocol["sha256_of_weights"] == weights.INCEPTION.sha256
    assert "299x299" in protocol["resize"]


def test_any_model_with_a_discriminator_will_do():
    networks = open_networks("toycars64")
    assert networks.note == "" and networks.features.protocol()["model"] == "toycars64"
    shipped = open_networks("features64").features.protocol()
    assert networks.features.protocol()["sha256_of_weights"] != shipped["sha256_of_weights"]


def test_a_model_without_a_discriminator_is_a_mistake(tiny_model):
    with pytest.raises(UserError, match="this model has no discriminator"):
        open_networks(str(tiny_model))
    with pytest.raises(UserError, match=r"--metrics\.features nothing: no such"):
        open_networks("nothing")


def test_the_shipped_features_never_change():
    """Another digest means that no number made before compares with one made after."""
    digest = "79f22ce42a21d75e9fa37bdd478a1bc8be5823746fd257531e146af42cc52981"
    assert open_discriminator("features64").digest == digest


# --- what they see ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> DiscriminatorFeatures:
    return open_discriminator("features64")


@pytest.fixture(scope="module")
def cars() -> Tensor:
    """Toy cars, uint8 (180, 3, 64, 64)."""
    return torch.from_numpy(decoded(open_dataset("toycars:180", size=64)))


def test_kid_d_orders_cars_blurred_cars_and_noise(shipped, cars):
    some, others = cars[:90], cars[90:]
    blurred = F.avg_pool2d(others.float(), 3, 1, 1, count_include_pad=False).byte()
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, others.shape, dtype=torch.uint8, generator=rng)
    real = shipped(some)
    same, blur, worst = (kernel_distance(real, shipped(x)) for x in (others, blurred, noise))
    assert abs(same.value) < same.ci95 * 1.5
    assert same.value + same.ci95 < blur.value - blur.ci95
    assert blur.value + blur.ci95 < worst.value - worst.ci95


def test_a_picture_looks_the_same_in_any_company(shipped, cars):
    together = shipped(cars[:6])
    assert torch.allclose(together[2:3], shipped(cars[2:3]), atol=1e-5)
    assert together.shape == (6, shipped.num_features) and together.std(dim=0).min() > 0


def test_the_distance_of_blocks_is_none_to_itself_and_grows(shipped, cars):
    distance, images = block_distance(shipped), cars[:4].float() / 127.5 - 1
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(distance(images, images), torch.zeros(4))
    near, far = distance(images, images + 0.01 * noise), distance(images, images + 0.1 * noise)
    assert near.shape == (4,) and (near > 0).all() and (near < far).all()


def test_the_distance_of_path_lengths_is_what_it_always_was(shipped, cars):
    a, b = cars[:3].float() / 127.5 - 1, cars[3:6].float() / 127.5 - 1
    distance = block_distance(shipped)
    pairs = zip(*(block_features(shipped.discriminator, x) for x in (a, b)), strict=True)
    naive = [(p - q).square().mean(dim=(1, 2, 3)) for p, q in pairs]
    torch.testing.assert_close(distance(a, b), sum(naive) / len(naive))
    assert not distance(a.requires_grad_(), b).requires_grad
    assert distance.suffix == "_d" and distance.protocol() == {
        **shipped.protocol(),
        "layers": "output of each block, unit mean square over channels",
        "distance": "mean square difference, mean over blocks",
    }


def test_published_path_lengths_are_made_with_vgg(tmp_path):
    _, path = save_trunk("vgg", tmp_path)
    a, b = random_pictures(2, 32, seed=1), random_pictures(2, 32, seed=2)
    distance = PerceptualDistance(Lpips("vgg", path))
    torch.testing.assert_close(distance(a, b), Lpips("vgg", path)(a, b))
    assert distance.suffix == "" and distance.protocol() == {
        "network": "LPIPS 0.1, VGG16",
        "weights": VGG16.file,
        "sha256_of_weights": VGG16.sha256,
        "library": "torchmetrics",
    }


def test_a_discriminator_with_low_precision_is_used_in_float32():
    torch.manual_seed(0)
    network = Discriminator(16, channel_base=64, channel_max=8, low_precision_blocks=1)
    seen = DiscriminatorFeatures(network, "x")(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    assert seen.dtype == torch.float32
