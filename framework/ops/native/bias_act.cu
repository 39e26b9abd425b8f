// bias_act on CUDA devices: one pass over the numbers. Compiled, but NOT YET RUN on a GPU: none has
// been at hand. tests/ops/test_compiled_gpu.py will compare it with torch's definition there,
// tests/ops/test_cuda_sources.py does so with stand-ins on a CPU.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "activation.h"

namespace dragline {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;  // more numbers than that are walked over

// Channel of number t: t / inner % channels.
struct Channels {
  int64_t inner, count;
};

at::Tensor dense(const at::Tensor& x, const at::Tensor& like) {
  const bool last = like.dim() == 4 && !like.is_contiguous() &&
                    like.is_contiguous(at::MemoryFormat::ChannelsLast);
  return x.contiguous(last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

// The result itself (`y` null), or its derivative at the result `y` in direction (x, bias).
template <typename scalar_t, typename acc_t>
__global__ void activate(scalar_t* out, const scalar_t* x, const scalar_t* bias, const scalar_t* y,
                         int64_t size, Channels channels, Activation<acc_t> act) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t t = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; t < size; t += step) {
    acc_t sum = static_cast<acc_t>(x[t]);
    if (bias) sum += static_cast<acc_t>(bias[t / channels.inner % channels.count]);
    const acc_t value =
        y ? sum * act.derivative(static_cast<acc_t>(y[t])) : act.value(sum);
    out[t] = static_cast<scalar_t>(value);
  }
}

at::Tensor apply(const at::Tensor& x, const std::optional<at::Tensor>& bias, const at::Tensor* y,
                 double slope, double gain, double limit) {
  const c10::cuda::CUDAGuard guard(x.device());
  const at::Tensor like = y ? *y : x, held = dense(x, like), out = at::empty_like(held);
  if (out.numel() == 0) return out;
  const at::Tensor at_y = y ? dense(*y, *y) : at::Tensor();
  const at::Tensor b = bias ? bias->contiguous() : at::Tensor();
  const bool last = !held.is_contiguous();  // dense, so channels last
  const int64_t pixels = held.numel() / (held.size(0) * held.size(1));
  const Channels channels{last ? 1 : pixels, held.size(1)};
  const int64_t blocks = std::min((out.numel() + kThreads - 1) / kThreads, kMaxBlocks);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "bias_act", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    const Activation<acc_t> act{static_cast<acc_t>(gain), static_cast<acc_t>(gain * slope),
                                static_cast<acc_t>(limit)};
    activate<scalar_t, acc_t><<<blocks, kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
        out.data_ptr<scalar_t>(), held.const_data_ptr<scalar_t>(),
        b.defined() ? b.const_data_ptr<scalar_t>() : nullptr,
        at_y.defined() ? at_y.const_data_ptr<scalar_t>() : nullptr, out.numel(), channels, act);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

at::Tensor bias_act(const at::Tensor& x, const std::optional<at::Tensor>& bias, double slope,
                    double gain, double limit) {
  return apply(x, bias, nullptr, slope, gain, limit);
}

at::Tensor bias_act_forward(const at::Tensor& dx, const std::optional<at::Tensor>& dbias,
                            const at::Tensor& y, double slope, double gain, double limit) {
  return apply(dx, dbias, &y, slope, gain, limit);
}

std::tuple<at::Tensor, at::Tensor> bias_act_backward(const at::Tensor& grad, const at::Tensor& y,
                                                     double slope, double gain, double limit) {
  const at::Tensor dx = apply(grad, std::nullopt, &y, slope, gain, limit);
  const std::vector<int64_t> all_but_channels =
      dx.dim() == 4 ? std::vector<int64_t>{0, 2, 3} : std::vector<int64_t>{0};
  return {dx, at::sum(dx, all_but_channels)};
}

}  // namespace
}  // namespace dragline

TORCH_LIBRARY_IMPL(dragline, CUDA, m) {
  m.impl("bias_act", &dragline::bias_act);
  m.impl("bias_act_forward", &dragline::bias_act_forward);
  m.impl("bias_act_backward", &dragline::bias_act_backward);
}
