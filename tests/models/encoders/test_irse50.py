"""pSp's and e4e's encoders: names and shapes of the published ones, and the same arithmetic."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.errors import UserError
from framework.models.encoders.irse50 import Encoder4Editing, GradualStyleEncoder, seen_size
from framework.models.sketch import Undrawn
from framework.models.stylegan2.statistics import StyleStatistics

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures"
FAMILIES = [Encoder4Editing, GradualStyleEncoder]
LINE = re.compile(r"(\S+) \((.*)\) (\S+)")


def small(family=Encoder4Editing, num_ws=9, w_dim=8, img_size=(64, 96), **sizes):
    """A thin network whose normalisations have seen something."""
    torch.manual_seed(0)
    encoder = family(num_ws, w_dim, img_size=img_size, width=16, **sizes)
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    encoder.latent_avg.normal_()
    return encoder.eval()


@pytest.mark.parametrize(
    ("file", "family", "millions"),
    [
        ("e4e_Encoder4Editing_64", Encoder4Editing, 151.8),
        ("e4e_Encoder4Editing_256", Encoder4Editing, 209.5),
        ("e4e_Encoder4Editing_1024", Encoder4Editing, 267.1),
        ("psp_GradualStyleEncoder_256", GradualStyleEncoder, 209.5),
    ],
)
def test_names_and_shapes_are_the_published_ones(file, family, millions):
    path = FIXTURES / f"{file}_keys.txt"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    wanted = {}
    for line in path.read_text().splitlines()[1:]:
        match = LINE.fullmatch(line)
        assert match, line
        name, sides, dtype = match.groups()
        wanted[name] = ([int(side) for side in sides.split(",") if side.strip()], dtype)
    with Undrawn():
        encoder = family(sum(name.endswith("linear.weight") for name in wanted), 512)
    state = encoder.state_dict()
    state.pop("latent_avg")  # a published file keeps it beside the state dict
    assert {n: (list(t.shape), str(t.dtype)[6:]) for n, t in state.items()} == wanted
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 1) == millions


def naive_heads(s: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """Every head's output, step by step from a state dict in evaluation."""

    def norm(x, name):
        mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
        scale = s[f"{name}.weight"] / (var + 1e-5).sqrt()
        return x * scale[:, None, None] + (s[f"{name}.bias"] - mean * scale)[:, None, None]

    def prelu(x, name):
        return torch.where(x >= 0, x, x * s[f"{name}.weight"][:, None, None])

    x = prelu(
        norm(F.conv2d(x, s["input_layer.0.weight"], padding=1), "input_layer.1"), "input_layer.2"
    )
    taps = []
    for unit in range(24):
        name, stride = f"body.{unit}", 2 if unit in (0, 3, 7, 21) else 1
        y = norm(x, f"{name}.res_layer.0")
        y = prelu(F.conv2d(y, s[f"{name}.res_layer.1.weight"], padding=1), f"{name}.res_layer.2")
        y = F.conv2d(y, s[f"{name}.res_layer.3.weight"], stride=stride, padding=1)
        y = norm(y, f"{name}.res_layer.4")
        weight = F.adaptive_avg_pool2d(y, 1)
        weight = F.conv2d(weight, s[f"{name}.res_layer.5.fc1.weight"]).relu()
        y = y * F.conv2d(weight, s[f"{name}.res_layer.5.fc2.weight"]).sigmoid()
        x = x[:, :, ::stride, ::stride]
        if f"{name}.shortcut_layer.0.weight" in s:
            x = F.conv2d(x, s[f"{name}.shortcut_layer.0.weight"])
            x = norm(x, f"{name}.shortcut_layer.1")
        x = x + y
        if unit in (6, 20, 23):
            taps.append(x)
    c1, c2, c3 = taps

    def up(x, like):
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)

    p2 = up(c3, c2) + F.conv2d(c2, s["latlayer1.weight"], s["latlayer1.bias"])
    p1 = up(p2, c1) + F.conv2d(c1, s["latlayer2.weight"], s["latlayer2.bias"])
    outputs = []
    for layer in range(s["latent_avg"].shape[0]):
        x, convs = (c3, 4) if layer < 3 else (p2, 5) if layer < 7 else (p1, 6)
        for i in range(convs):
            name = f"styles.{layer}.convs.{2 * i}"
            x = F.conv2d(x, s[f"{name}.weight"], s[f"{name}.bias"], stride=2, padding=1)
            x = torch.where(x >= 0, x, 0.01 * x)
        weight = s[f"styles.{layer}.linear.weight"]
        weight = weight / weight.shape[1] ** 0.5
        outputs.append(x[:, :, 0, 0] @ weight.T + s[f"styles.{layer}.linear.bias"])
    return outputs


@torch.no_grad()
def test_e4e_is_one_style_and_distances_from_it():
    encoder, pictures = small(), torch.randn(2, 3, 64, 96)
    outputs = naive_heads(encoder.state_dict(), pictures)
    w = torch.stack([outputs[0]] + [outputs[0] + o for o in outputs[1:]], dim=1)
    torch.testing.assert_close(encoder(pictures), w + encoder.latent_avg, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_psp_is_a_style_for_each_layer():
    encoder, pictures = small(GradualStyleEncoder), torch.randn(2, 3, 64, 96)
    w = torch.stack(naive_heads(encoder.state_dict(), pictures), dim=1)
    torch.testing.assert_close(encoder(pictures), w + encoder.latent_avg, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_stages_are_those_of_our_own_encoder(family):
    encoder, pictures = small(family), torch.randn(1, 3, 64, 96)
    encoder.latent_avg.zero_()  # it may differ between layers
    full = encoder(pictures)
    for stage in (0, 1, 5, 8):
        ws = encoder(pictures, stage)
        assert torch.equal(ws[:, : stage + 1], full[:, : stage + 1])
        assert torch.equal(ws[:, stage + 1 :], ws[:, :1].expand(-1, 8 - stage, -1))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_parameter(family, norm):
    encoder = small(family, img_size=(32, 32), norm=norm)
    encoder(torch.randn(2, 3, 32, 32), stage=3).sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    encoder.zero_grad()
    (encoder(torch.randn(2, 3, 32, 32)) * torch.randn(2, 9, 8)).sum().backward()
    without = [n for n, p in encoder.named_parameters() if not p.grad.any()]
    # So thin, a stage squeezes into a single value, which its ReLU may hold back.
    assert [n for n in without if "res_layer.5." not in n] == []


@torch.no_grad()
def test_a_residual_one_corrects_styles():
    encoder = small(img_size=(32, 32), residual=True)
    assert encoder.input_layer[0].weight.shape[1] == 6
    pictures, ws = torch.randn(2, 1, 3, 32, 32), torch.randn(1, 9, 8)
    corrected = encoder(pictures[0], current=(pictures[1], ws))
    torch.testing.assert_close(encoder(pictures[0], current=(pictures[1], ws + 1)), corrected + 1)
    with pytest.raises(UserError, match="needs a reconstruction"):
        encoder(pictures[0])


def test_statistics_set_the_mean_style_of_every_layer():
    encoder = small()
    encoder.set_statistics(StyleStatistics(torch.arange(8.0), torch.ones(8)))
    assert torch.equal(encoder.latent_avg, torch.arange(8.0).expand(9, 8))


@torch.no_grad()
def test_square_pictures_lose_their_bars_before_a_network_for_cars():
    encoder, square = small(img_size=(24, 32)), torch.rand(1, 3, 64, 64)
    barred = square.clone()
    barred[:, :, :8] = barred[:, :, 56:] = -1
    assert torch.equal(encoder(square), encoder(barred))


def test_encoders_see_whole_pictures_of_256_px_at_most():
    assert seen_size((1024, 1024)) == (256, 256)
    assert seen_size((768, 1024)) == seen_size((192, 256)) == (192, 256)
    assert seen_size((64, 32)) == (64, 32)


@pytest.mark.parametrize(
    "sizes", [{"width": 24}, {"img_size": (512, 512)}, {"img_size": (0, 9)}, {"norm": "layer"}]
)
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(UserError, match=next(iter(sizes))):
        Encoder4Editing(6, 8, **sizes)
