"""What needs an accelerator: `pytest -m gpu`. Untested until a machine with one runs it."""

import pytest
import torch

from framework.drag.algorithm import drag_points
from framework.drag.settings import DragSettings
from framework.models.stylegan2 import Discriminator, Generator
from framework.training.stylegan2.losses import r1_penalty

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SIZES = {"img_size": 64, "channel_base": 1024, "channel_max": 32}


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(**SIZES, z_dim=32, w_dim=32, mapping_layers=2).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def exact_float32():
    """TF32 would hide behind the tolerances."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def test_pictures_equal_the_cpus(generator):
    z = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    on_cpu = generator(z)
    on_gpu = generator.cuda()(z.cuda())
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-3, rtol=0)


def test_r1_gradients_equal_the_cpus():
    torch.manual_seed(0)
    net = Discriminator(**SIZES)
    images = torch.randn(4, 3, 64, 64)

    def gradient(device):
        net.to(device).zero_grad()
        real = images.to(device).requires_grad_()
        r1_penalty(net(real), real).mean().backward()
        return net.b64.conv0.weight.grad.cpu().clone()

    on_cpu = gradient("cpu")
    torch.testing.assert_close(gradient("cuda"), on_cpu, atol=1e-3 * on_cpu.abs().max(), rtol=0)


def test_float16_blocks_stay_near_float32(generator):
    z = torch.randn(4, 32, generator=torch.Generator().manual_seed(1)).cuda()
    exact = generator.cuda()(z)
    half = Generator(**generator.config | {"low_precision_blocks": 4, "conv_clamp": 256.0})
    half.load_state_dict(generator.state_dict())
    torch.testing.assert_close(half.cuda()(z), exact, atol=0.1, rtol=0.05)


def test_a_drag_takes_the_same_way_as_on_the_cpu(generator):
    ws = generator.mapping(torch.randn(1, 32, generator=torch.Generator().manual_seed(1)))

    def last(device):
        net = generator.to(device)
        settings = DragSettings(max_steps=3)
        return [
            *drag_points(net, ws.to(device), [[20.0, 30.0]], [[30.0, 30.0]], settings=settings)
        ][-1]

    on_cpu, on_gpu = last("cpu"), last("cuda")
    torch.testing.assert_close(on_gpu.ws.cpu(), on_cpu.ws, atol=1e-3, rtol=0)
    torch.testing.assert_close(on_gpu.points, on_cpu.points, atol=1e-2, rtol=0)


def test_training_with_float16_stays_finite(tmp_path):
    from framework.cli.train import main

    assert main([
        "fit", "--config", "configs/train/stylegan2/debug_cpu.yaml",
        "--run.dir", str(tmp_path / "run"),
        "--run.wandb", "disabled", "--model.init_args.machine.low_precision", "float16",
    ]) == 0  # fmt: skip
    assert any((tmp_path / "run").glob("network-*"))
