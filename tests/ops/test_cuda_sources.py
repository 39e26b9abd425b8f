"""What the CUDA sources compute, run on a CPU: stand-ins for CUDA's words, a thread a block.

Launch limits, synchronisation and speed stay unknown until a GPU runs test_compiled_gpu.py.
"""

import itertools
import os
import re
import shutil
import subprocess
import sysconfig

import pytest
import torch

from framework.ops.build import NATIVE
from framework.ops.compiled import SCHEMAS, use_ops
from framework.ops.upfirdn2d import setup_filter

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cpu_ops")]

STAND_INS = """
#pragma once
#include <c10/core/Device.h>
#define C10_CUDA_KERNEL_LAUNCH_CHECK()
#define __global__
#define __device__
#define __shared__ static
#define __syncthreads()
struct dim3 { unsigned x, y; dim3(int64_t x, int64_t y = 1) : x(x), y(y) {} };
static dim3 threadIdx{0, 0}, blockIdx{0, 0}, blockDim{1, 1}, gridDim{1, 1};
template <class F> void launch_on_cpu(dim3 grid, int threads, F kernel) {
  gridDim = {grid.x * threads, grid.y};
  for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) kernel();
}
namespace c10::cuda { struct CUDAGuard { CUDAGuard(c10::Device) {} }; }
"""
LAUNCH = re.compile(r"(\w+<[^<>]*>)\s*<<<([^,]+), kThreads, 0, [^>]*>>>(\(.*?\));", re.DOTALL)
# Small enough that every loop over blocks and images turns more than once.
SMALL = {"kThreads = 256": "kThreads = 4", "kMaxBlocksAlong = 65535": "kMaxBlocksAlong = 2",
         "kMaxBlocks = 1 << 20": "kMaxBlocks = 3"}  # fmt: skip


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """The CUDA operations as CPU operations of a library of their own."""
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "c10" / "cuda").mkdir(parents=True)
    for name in ("CUDAException.h", "CUDAGuard.h", "CUDAStream.h"):
        (folder / "c10" / "cuda" / name).write_text(
            STAND_INS if name == "CUDAException.h" else "#include <c10/cuda/CUDAException.h>\n"
        )
    for path in NATIVE.glob("*.cu"):
        text, launches = LAUNCH.subn(
            r"launch_on_cpu(\2, kThreads, [&] { \1\3; });", path.read_text()
        )
        assert launches == 1, path
        for large, small in SMALL.items():
            text = text.replace(large, small)
        text = text.replace("TORCH_LIBRARY_IMPL(dragline, CUDA", "TORCH_LIBRARY_IMPL(emulated, CPU")
        (folder / f"{path.stem}.cpp").write_text(text)
    for name, schema in SCHEMAS.items():
        torch.library.define(f"emulated::{name}", schema)
    root = os.path.dirname(torch.__file__)
    includes = [folder, NATIVE, f"{root}/include", f"{root}/include/torch/csrc/api/include",
                sysconfig.get_path("include")]  # fmt: skip
    library = folder / "emulated.so"
    cxx = shutil.which(os.environ.get("CXX", "c++"))
    command = [cxx, "-std=c++20", "-O1", "-fPIC", "-shared", *(f"-I{i}" for i in includes)]
    command += [*folder.glob("*.cpp"), "-o", library, f"-L{root}/lib", "-ltorch_cpu", "-lc10"]
    subprocess.run(command, check=True)
    torch.ops.load_library(library)
    use_ops("compiled")


def compare(name, *arguments):
    tolerance = {} if arguments[0].dtype.itemsize > 2 else {"rtol": 0.02, "atol": 0.02}
    ours = getattr(torch.ops.emulated, name)(*arguments)
    theirs = getattr(torch.ops.dragline, name)(*arguments)
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for a, b in pairs:
        assert a.stride() == b.stride()
        torch.testing.assert_close(a, b, **tolerance)


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", DTYPES)
def test_upfirdn2d(on_cpu, dtype, layout):
    x = torch.randn(5, 3, 11, 7).to(dtype).contiguous(memory_format=layout)
    steps = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)]
    sizes = [(0, 0, 9, 8), (2, 1, 13, 17), (-1, 3, 5, 6), (9, 9, 20, 20)]
    kernels = [setup_filter([1, 3, 3, 1]), torch.tensor([[1.0, 2.0, -1.0], [0.5, 3.0, 7.0]])]
    for kernel, step, size, flip in itertools.product(kernels, steps, sizes, (False, True)):
        compare("upfirdn2d", x, kernel, *step, *size, flip, 1.5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 7, 5), (3, 1, 4, 4), (2, 5, 1, 1)])
def test_bias_act(on_cpu, shape, dtype, layout):
    x, grad, bias = (torch.randn(s).to(dtype) for s in (shape, shape, shape[1:2]))
    x = x.contiguous(memory_format=layout) if len(shape) == 4 else x
    for limit in (float("nan"), 1.2):
        line = 0.2, 0.7, limit
        compare("bias_act", x, bias, *line)
        compare("bias_act", x, None, *line)
        compare("bias_act_forward", grad, bias, x, *line)
        compare("bias_act_backward", grad, x, *line)
