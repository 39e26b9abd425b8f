// upfirdn2d on CUDA devices: a thread for each result sample. Compiled, but NOT YET RUN on a GPU:
// none has been at hand. tests/ops/test_compiled_gpu.py will compare it with torch's definition
// there, tests/ops/test_cuda_sources.py does so with stand-ins on a CPU.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <type_traits>

#include "resampling.h"

namespace dragline {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocksAlong = 65535;  // CUDA's limit for the second axis of a grid
constexpr int kMaxKernel = 1024;        // weights that a block keeps in shared memory

// One image: channels of (rows, columns), interleaved or plane after plane.
struct Image {
  int channels;
  Axis rows, columns;
  bool interleaved;
};

// Taps, Up and Down known to the compiler unroll the sums; Taps 0: whatever the axes say.
template <int Taps, int Up, int Down>
__device__ Axis known(Axis axis) {
  if constexpr (Taps > 0) {
    axis.taps = Taps;
    axis.up = Up;
    axis.down = Down;
  }
  return axis;
}

template <int Taps, int Up, int Down, typename scalar_t, typename acc_t>
__global__ void filter_kernel(scalar_t* out, const scalar_t* in, const acc_t* kernel, Image image,
                              int64_t images, bool flip, acc_t gain) {
  const Axis rows = known<Taps, Up, Down>(image.rows);
  const Axis columns = known<Taps, Up, Down>(image.columns);
  const int weights = rows.taps * columns.taps;
  __shared__ acc_t weight[kMaxKernel];
  for (int t = threadIdx.x; t < weights; t += blockDim.x) {
    weight[t] = gain * kernel[flip ? weights - 1 - t : t];
  }
  __syncthreads();

  // Neighbouring threads take neighbouring numbers of memory.
  const unsigned size = unsigned(image.channels) * rows.result * columns.result;
  const unsigned index = blockIdx.x * unsigned(blockDim.x) + threadIdx.x;
  if (index >= size) return;
  const unsigned inner = image.interleaved ? image.channels : columns.result;
  const unsigned middle = image.interleaved ? columns.result : rows.result;
  const unsigned a = index % inner, b = index / inner % middle, c = index / inner / middle;
  const int channel = image.interleaved ? a : c;
  const int i = image.interleaved ? c : b, j = image.interleaved ? b : a;

  const int64_t plane = int64_t(rows.source) * columns.source;
  const int64_t column_stride = image.interleaved ? image.channels : 1;
  const scalar_t* source = in + (image.interleaved ? channel : channel * plane);
  for (int64_t n = blockIdx.y; n < images; n += gridDim.y) {
    const acc_t sum = filtered(source + n * plane * image.channels, columns.source * column_stride,
                               column_stride, weight, rows, columns, i, j);
    out[n * size + index] = static_cast<scalar_t>(sum);
  }
}

template <int Taps, int Up, int Down, typename scalar_t>
void launch(const at::Tensor& x, const at::Tensor& y, const at::Tensor& kernel, const Image& image,
            bool flip, double gain) {
  using acc_t = at::opmath_type<scalar_t>;
  const int64_t images = y.size(0), size = y.numel() / images;
  const dim3 grid((size + kThreads - 1) / kThreads, std::min<int64_t>(images, kMaxBlocksAlong));
  filter_kernel<Taps, Up, Down, scalar_t, acc_t>
      <<<grid, kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          y.data_ptr<scalar_t>(), x.const_data_ptr<scalar_t>(), kernel.const_data_ptr<acc_t>(),
          image, images, flip, static_cast<acc_t>(gain));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// The arguments are explained where the operation is declared, in framework/ops/compiled.py.
at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& kernel, int64_t up, int64_t down,
                     int64_t top, int64_t left, int64_t height, int64_t width, bool flip,
                     double gain) {
  TORCH_CHECK(x.dim() == 4 && kernel.dim() == 2 && kernel.numel() > 0, "upfirdn2d: shapes");
  TORCH_CHECK(up >= 1 && down >= 1 && height >= 0 && width >= 0, "upfirdn2d: sizes");
  TORCH_CHECK(kernel.numel() <= kMaxKernel, "upfirdn2d: kernel too large");
  TORCH_CHECK(kernel.device() == x.device(), "upfirdn2d: devices");
  const c10::cuda::CUDAGuard guard(x.device());
  const bool last = x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
  const auto layout = last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const at::Tensor held = x.contiguous(layout);
  const at::Tensor y = at::empty({x.size(0), x.size(1), height, width},
                                 x.options().memory_format(layout));
  if (y.numel() == 0) return y;
  const int taps = narrow(kernel.size(1)), u = narrow(up), d = narrow(down);
  const Image image{
      narrow(x.size(1)),
      {narrow(x.size(2)), narrow(height), narrow(kernel.size(0)), u, d, narrow(top)},
      {narrow(x.size(3)), narrow(width), taps, u, d, narrow(left)},
      last};
  narrow(y.numel() / y.size(0));  // one image is indexed with 32 bits
  const bool square = kernel.size(0) == 4 && taps == 4;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "upfirdn2d", [&] {
    const at::Tensor weights =
        kernel.to(c10::CppTypeToScalarType<at::opmath_type<scalar_t>>::value).contiguous();
    const auto run = [&](auto taps_, auto up_, auto down_) {
      launch<taps_.value, up_.value, down_.value, scalar_t>(held, y, weights, image, flip, gain);
    };
    using std::integral_constant;
    const integral_constant<int, 0> any{};
    const integral_constant<int, 1> one{};
    const integral_constant<int, 2> two{};
    const integral_constant<int, 4> four{};
    if (square && u == 1 && d == 1) return run(four, one, one);
    if (square && u == 2 && d == 1) return run(four, two, one);
    if (square && u == 1 && d == 2) return run(four, one, two);
    run(any, any, any);
  });
  return y;
}

}  // namespace
}  // namespace dragline

TORCH_LIBRARY_IMPL(dragline, CUDA, m) { m.impl("upfirdn2d", &dragline::upfirdn2d); }
