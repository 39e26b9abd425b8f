"""Which network looks at the pictures, where its weights are found, and what it sees."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.data import decoded, open_dataset
from framework.errors import UserError
from framework.evaluation import features
from framework.evaluation.features import (
    BlockDistance,
    DiscriminatorFeatures,
    InceptionFeatures,
    LpipsDistance,
    open_discriminator,
    open_networks,
)
from framework.evaluation.metrics import kernel_distance
from framework.files import sha256_file
from framework.models.stylegan2 import Discriminator, Generator
from framework.perceptual import weights
from framework.perceptual.blocks import block_features, in_float32, suited
from framework.perceptual.weights import INCEPTION, VGG16, find_weights


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch) -> Path:
    """A machine without weights and without a network; its cache of downloads."""

    def refuse(url: str, *_: object, **__: object) -> None:
        raise URLError(f"tests fetch nothing, not even {url}")

    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(features, "has_torch_fidelity", lambda: False)
    return tmp_path / "hub" / "checkpoints"


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


# --- weights ---------------------------------------------------------------------------------


def test_weights_are_found_where_they_are_said_to_be(inception_file):
    known = weights.INCEPTION
    assert find_weights(known, inception_file) == inception_file
    assert find_weights(known, inception_file.parent) == inception_file
    assert find_weights(known) is None


def test_weights_are_found_in_the_folder_of_the_variable_and_in_the_cache(
    inception_file, bare, monkeypatch
):
    known = weights.INCEPTION
    monkeypatch.setenv("DRAGLINE_WEIGHTS", str(inception_file.parent))
    assert find_weights(known) == inception_file
    monkeypatch.delenv("DRAGLINE_WEIGHTS")
    bare.mkdir(parents=True)
    moved = inception_file.rename(bare / inception_file.name)
    assert find_weights(known) == moved


def test_a_file_of_other_weights_is_refused(inception_file):
    other = inception_file.with_name("other.pth")
    other.write_bytes(b"somebody's weights")
    with pytest.raises(UserError, match=r"--metrics\.weights .*other\.pth: its SHA-256 begins"):
        find_weights(weights.INCEPTION, other)
    with pytest.raises(UserError, match="no such file or folder"):
        find_weights(weights.INCEPTION, "/nowhere")
    assert find_weights(VGG16, inception_file) is None  # another known file is no mistake


def test_a_damaged_file_is_refused(inception_file):
    inception_file.write_bytes(b"the field's weigh")
    with pytest.raises(UserError, match="damaged or another file"):
        find_weights(weights.INCEPTION, inception_file.parent)


def test_nothing_is_fetched_unless_allowed(inception_file, bare, monkeypatch):
    asked = []

    def fetch(url: str, target: str, digest: str, progress: bool) -> None:
        asked.append((url, digest))
        Path(target).write_bytes(b"x")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    known = weights.INCEPTION
    assert find_weights(known) is None and not asked
    assert find_weights(known, allow_download=True) == bare / known.file
    assert asked == [(known.url, known.sha256)]


def test_a_download_that_fails_is_one_line(inception_file):
    with pytest.raises(UserError, match=r"not fetched \(.*\); fetch it elsewhere \(96 MB\)"):
        find_weights(weights.INCEPTION, allow_download=True)


def test_what_is_published_is_known_by_its_digest():
    for known in weights.KNOWN:
        assert known.sha256.startswith(known.file.split("-")[-1].removesuffix(".pth"))
        assert len(known.sha256) == 64 and known.url.endswith(known.file)


# --- the choice ------------------------------------------------------------------------------


def test_without_weights_one_line_says_what_is_measured_instead_and_how_to_have_more():
    networks = open_networks()
    assert isinstance(networks.features, DiscriminatorFeatures)
    assert isinstance(networks.distance, BlockDistance)
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


def test_features_have_unit_mean_square_at_every_position(shipped, cars):
    for block in block_features(shipped.discriminator, cars[:2].float() / 127.5 - 1):
        assert torch.allclose(block.square().mean(dim=1), torch.ones(()), atol=1e-3)


def test_pictures_of_other_shapes_are_made_to_fit():
    rng = torch.Generator().manual_seed(0)
    rgba = torch.rand(2, 4, 48, 32, generator=rng)
    assert torch.equal(suited(rgba, (48, 32), 3), rgba[:, :3])
    grey = suited(rgba[:, :1], (48, 32), 3)
    assert torch.equal(grey, rgba[:, :1].expand(-1, 3, -1, -1))
    assert suited(rgba[:, :3], (16, 16), 1).shape == (2, 1, 16, 16)
    # Antialiased: fine noise averages out when a picture becomes eight times smaller.
    noise = torch.randn(1, 3, 128, 128, generator=rng)
    assert suited(noise, (16, 16), 3).std() < 0.25


def test_low_precision_does_not_change_the_numbers():
    sizes = {"img_size": 32, "channel_base": 128, "channel_max": 8}
    torch.manual_seed(0)
    generator = Generator(**sizes, z_dim=8, w_dim=8, mapping_layers=1)
    low = Generator(
        **sizes,
        z_dim=8,
        w_dim=8,
        mapping_layers=1,
        low_precision_blocks=2,
        low_precision="bfloat16",
    )
    low.load_state_dict(generator.state_dict())
    z = torch.randn(2, 8)
    with torch.no_grad():
        assert not torch.allclose(low(z), generator(z), atol=1e-5)
        assert torch.allclose(in_float32(low)(z), generator(z), atol=1e-5)


def test_the_distance_of_blocks_is_none_to_itself_and_grows(shipped, cars):
    distance, images = BlockDistance(shipped), cars[:4].float() / 127.5 - 1
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(distance(images, images), torch.zeros(4))
    near, far = distance(images, images + 0.01 * noise), distance(images, images + 0.1 * noise)
    assert near.shape == (4,) and (near > 0).all() and (near < far).all()


def test_a_discriminator_with_low_precision_is_used_in_float32():
    torch.manual_seed(0)
    network = Discriminator(16, channel_base=64, channel_max=8, low_precision_blocks=1)
    seen = DiscriminatorFeatures(network, "x")(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    assert seen.dtype == torch.float32


def test_lpips_is_vgg_with_torchmetrics_heads(tmp_path):
    from torchvision.models.vgg import cfgs, make_layers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Only the convolutions: LPIPS has no use for the other nine tenths.
        trunk = make_layers(cfgs["D"])
    path = tmp_path / VGG16.file
    torch.save({f"features.{n}": t for n, t in trunk.state_dict().items()}, path)
    a, b = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = LpipsDistance(path)(a, b)
    assert found.shape == (2,) and torch.allclose(found, naive_lpips(trunk, a, b), rtol=1e-4)


def naive_lpips(trunk: nn.Sequential, a: Tensor, b: Tensor) -> Tensor:
    """Zhang et al. 2018, equation 1, with the published scaling of the pictures."""
    spec = importlib.util.find_spec("torchmetrics.functional.image")
    assert spec and spec.origin
    file = Path(spec.origin).parent / "lpips_models/vgg.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x, total = torch.cat([(p - shift) / scale for p in (a, b)]), torch.zeros(len(a))
    level = 0
    with torch.no_grad():
        for i, layer in enumerate(trunk):
            x = layer(x)
            if i in (3, 8, 15, 22, 29):  # the ReLU before each pooling
                unit = F.normalize(x, dim=1)
                gap = (unit[: len(a)] - unit[len(a) :]).square()
                total += F.conv2d(gap, heads[f"lin{level}.model.1.weight"]).mean(dim=(1, 2, 3))
                level += 1
    return total
