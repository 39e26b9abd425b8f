"""What the generator does with styles: noise, truncation, stopping and going on, precision."""

import pytest
import torch

from framework.models.stylegan2 import Discriminator, Generator
from framework.models.stylegan2.discriminator import DiscriminatorBlock, minibatch_stddev

SMALL = {"z_dim": 6, "w_dim": 10, "mapping_layers": 2, "channel_base": 128, "channel_max": 12}


@pytest.fixture
def generator():
    torch.manual_seed(0)
    generator = Generator((24, 32), **SMALL)
    for module in generator.synthesis.modules():  # trained networks use their noise
        if hasattr(module, "noise_strength"):
            module.noise_strength.data.fill_(0.3)
    return generator.eval()


@pytest.fixture
def ws(generator):
    return torch.randn(3, generator.num_ws, 10)


def test_constant_noise_repeats(generator, ws):
    first = generator.synthesis(ws, noise_mode="const")
    assert torch.equal(first, generator.synthesis(ws, noise_mode="const"))
    assert not torch.allclose(first, generator.synthesis(ws, noise_mode="none"), atol=1e-3)


def test_random_noise_follows_its_source(generator, ws):
    def draw(seed):
        rng = torch.Generator().manual_seed(seed)
        return generator.synthesis(ws, noise_mode="random", rng=rng)

    assert torch.equal(draw(1), draw(1))
    assert not torch.allclose(draw(1), draw(2), atol=1e-3)
    state = torch.get_rng_state()
    draw(1)
    assert torch.equal(state, torch.get_rng_state())  # nothing is drawn elsewhere
    free = generator.synthesis(ws, noise_mode="random")
    assert not torch.allclose(free, generator.synthesis(ws, noise_mode="random"), atol=1e-3)


def test_random_noise_is_each_samples_own(generator, ws):
    same = ws[:1].expand(2, -1, -1)
    one, two = generator.synthesis(same, noise_mode="random")
    assert not torch.allclose(one, two, atol=1e-3)


def test_truncation_pulls_to_the_mean(generator):
    generator.mapping.w_avg.copy_(torch.randn(10))
    z = torch.randn(4, 6)
    ws, mean = generator.mapping(z), generator.mapping.w_avg
    assert torch.equal(ws, generator.mapping(z, truncation_psi=1))
    half = generator.mapping(z, truncation_psi=0.5)
    torch.testing.assert_close(half, (ws + mean) / 2)
    none = generator.mapping(z, truncation_psi=0)
    torch.testing.assert_close(none, mean.expand_as(ws))
    some = generator.mapping(z, truncation_psi=0.5, truncation_cutoff=3)
    torch.testing.assert_close(some[:, :3], half[:, :3])
    assert torch.equal(some[:, 3:], ws[:, 3:])


def test_running_mean_of_w(generator):
    mapping = generator.mapping
    old, w = torch.randn(10), torch.randn(5, 10)
    mapping.w_avg.copy_(old)
    mapping.update_w_avg(w)
    torch.testing.assert_close(mapping.w_avg, 0.998 * old + 0.002 * w.mean(0))


@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_stopping_and_going_on(generator, ws, noise_mode):
    whole = generator.synthesis(ws, noise_mode=noise_mode)
    assert whole.shape == (3, 3, 24, 32)
    for resolution in generator.synthesis.resolutions:
        part = generator.synthesis.partial(ws, resolution, noise_mode)
        size = generator.synthesis.block_size(resolution)
        assert part.resolution == resolution
        assert part.x.shape[2:] == part.img.shape[2:] == size
        assert torch.equal(generator.synthesis.finish(part, ws, noise_mode), whole)


def test_late_styles_do_not_reach_early_features(generator, ws):
    part = generator.synthesis.partial(ws, 8)
    ws = ws.clone()
    ws[:, 4:] += 5  # b8 has layers 1 and 2 and takes its colours by layer 3
    other = generator.synthesis.partial(ws, 8)
    assert torch.equal(part.x, other.x) and torch.equal(part.img, other.img)
    assert not torch.allclose(
        generator.synthesis.finish(part, ws), generator.synthesis.finish(part, ws - 5), atol=1e-3
    )


@pytest.mark.parametrize("modulation", ["scaled", "grouped"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_and_modulation_change_nothing(generator, ws, modulation, layout):
    expected = generator.synthesis(ws, noise_mode="const")
    generator.synthesis.modulation, generator.synthesis.memory_format = modulation, layout
    ours = generator.synthesis(ws, noise_mode="const")
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
    assert ours.is_contiguous()


def discriminator(**options):
    torch.manual_seed(1)
    return Discriminator((24, 32), channel_base=128, channel_max=12, **options)


def test_bfloat16_is_close(generator, ws):
    short = {"low_precision_blocks": 2, "low_precision": "bfloat16"}
    low = Generator((24, 32), **SMALL, **short, conv_clamp=256)
    low.load_state_dict(generator.state_dict())
    kinds = [low.synthesis.partial(ws, r).x.dtype for r in low.synthesis.resolutions]
    assert kinds == [torch.float32] * 2 + [torch.bfloat16] * 2
    expected = generator.synthesis(ws, noise_mode="const")
    ours = low.synthesis(ws, noise_mode="const")
    assert ours.dtype == torch.float32
    error = (ours - expected).square().mean().sqrt() / expected.std()
    assert 0 < error < 0.03
    full, half = discriminator(), discriminator(**short)
    logits = full(expected)
    error = (half(expected) - logits).abs().max()
    assert half(expected).dtype == torch.float32 and 0 < error < 0.03 * logits.abs().max() + 0.01


def test_float16_blocks_are_float32_on_the_cpu(generator, ws):
    half = {"low_precision_blocks": 2, "low_precision": "float16"}
    low = Generator((24, 32), **SMALL, **half)
    low.load_state_dict(generator.state_dict())
    assert low.synthesis.b32.dtype == torch.float16
    assert low.synthesis.partial(ws, 32).x.dtype == torch.float32
    expected = generator.synthesis(ws, noise_mode="const")
    assert torch.equal(low.synthesis(ws, noise_mode="const"), expected)
    assert torch.equal(discriminator(**half)(expected), discriminator()(expected))


def test_low_precision_never_reaches_the_first_block():
    low = Generator(8, **SMALL, low_precision_blocks=4, low_precision="bfloat16")
    assert low.synthesis.b4.dtype == torch.float32 and low.synthesis.b8.dtype == torch.bfloat16


def test_clamp_bounds_the_features(generator, ws):
    clamped = Generator((24, 32), **SMALL, conv_clamp=0.5)
    clamped.load_state_dict(generator.state_dict())
    for resolution in clamped.synthesis.resolutions:
        assert clamped.synthesis.partial(ws, resolution).x.abs().max() == 0.5


def test_second_derivatives_of_the_discriminator():
    """R1: the penalty on the gradient to the pictures reaches every weight before the last bias."""
    network = discriminator()
    images = torch.randn(4, 3, 24, 32, requires_grad=True)
    (grads,) = torch.autograd.grad(network(images).sum(), images, create_graph=True)
    grads.square().sum().backward()
    for name, parameter in network.named_parameters():
        if not name.endswith("bias"):
            assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_second_derivatives_of_the_generator(generator):
    """Path lengths: the penalty on the gradient to the styles reaches every weight."""
    ws = torch.randn(2, generator.num_ws, 10, requires_grad=True)
    images = generator.synthesis(ws, noise_mode="const")
    (grads,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), ws, create_graph=True)
    grads.square().sum(2).mean(1).sqrt().var().backward()
    for name, parameter in generator.synthesis.named_parameters():
        if name.endswith("weight") or name == "b4.const":
            assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_second_derivatives_equal_differences():
    """The penalty's gradient against central differences, in float64, through everything."""
    torch.manual_seed(0)
    block = DiscriminatorBlock(0, 4, 5, img_channels=3, dtype=torch.float64).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def penalty():
        energy = block(images, torch.channels_last).square().sum()
        (grads,) = torch.autograd.grad(energy, images, create_graph=True)
        return grads.square().sum()

    for parameter in (block.conv1.weight, block.skip.weight, block.fromrgb.weight):
        (slope,) = torch.autograd.grad(penalty(), parameter)
        direction, step = torch.randn_like(parameter), 1e-6
        with torch.no_grad():
            parameter += direction * step
        high = penalty().detach()
        with torch.no_grad():
            parameter -= direction * 2 * step
        low = penalty().detach()
        with torch.no_grad():
            parameter += direction * step
        numeric = (high - low) / (2 * step)
        torch.testing.assert_close((slope * direction).sum(), numeric, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("n", "group_size", "group"), [(6, 3, 3), (4, 4, 4), (6, 4, 3), (5, 4, 1)])
def test_minibatch_stddev_by_hand(n, group_size, group):
    x = torch.randn(n, 2, 3, 4)
    y = minibatch_stddev(x, group_size)
    assert y.shape == (n, 3, 3, 4) and torch.equal(y[:, :2], x)
    count = n // group
    for sample in range(n):
        members = x[sample % count :: count]
        assert len(members) == group
        total = 0.0
        for feature in members.flatten(1).T:
            mean = sum(float(v) for v in feature) / group
            total += (sum((float(v) - mean) ** 2 for v in feature) / group + 1e-8) ** 0.5
        torch.testing.assert_close(y[sample, 2], torch.full((3, 4), total / 24))


def test_without_minibatch_stddev_samples_are_strangers():
    images = torch.randn(4, 3, 24, 32)
    alone, social = discriminator(mbstd_group_size=0), discriminator(mbstd_group_size=4)
    for network, same in ((alone, True), (social, False)):
        together, single = network(images)[:1], network(images[:1])
        assert torch.allclose(together, single, atol=1e-5) is same
