// bias_act on the CPU: bias, leaky ReLU, gain and clamp in one pass; its derivative, which is
// linear, and the transpose of that, likewise.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "activation.h"

namespace dragline {
namespace {

constexpr int64_t kGrain = 32768;  // numbers worth a thread
constexpr int64_t kBlock = 4096;   // numbers that are added up before their sum is
constexpr int64_t kLine = 512;     // numbers of a line of interleaved channels, about

// Memory as lines of `length` numbers, the last one maybe shorter. A line holds all channels,
// again and again (channels last), or it is the plane of one channel.
struct Lines {
  int64_t total, length, channels;
  bool interleaved;
  int64_t count() const { return (total + length - 1) / length; }
  int64_t size(int64_t line) const { return std::min(length, total - line * length); }
};

Lines lines_of(const at::Tensor& x) {
  const int64_t channels = x.size(1), pixels = x.numel() / (x.size(0) * channels);
  const bool last = x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  if (pixels != 1 && !last) return {x.numel(), pixels, channels, false};
  return {x.numel(), (kLine / channels + 1) * channels, channels, true};
}

at::Tensor dense(const at::Tensor& x, const at::Tensor& like) {
  const bool last = like.dim() == 4 && !like.is_contiguous() &&
                    like.is_contiguous(at::MemoryFormat::ChannelsLast);
  return x.contiguous(last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

template <typename acc_t>
Activation<acc_t> activation(double slope, double gain, double limit) {
  return {static_cast<acc_t>(gain), static_cast<acc_t>(gain * slope), static_cast<acc_t>(limit)};
}

// What is added to each number of a line: one number for each channel, repeated.
template <typename scalar_t>
std::vector<at::opmath_type<scalar_t>> offsets(const std::optional<at::Tensor>& bias,
                                               const Lines& lines) {
  std::vector<at::opmath_type<scalar_t>> values(
      lines.interleaved ? lines.length : lines.channels, 0);
  if (bias) {
    const at::Tensor held = bias->contiguous();
    const scalar_t* const first = held.const_data_ptr<scalar_t>();
    for (size_t i = 0; i < values.size(); ++i) values[i] = first[i % lines.channels];
  }
  return values;
}

// result[t] = value(t, bias of t's channel), lines shared out to threads.
template <typename scalar_t, typename value_t>
void fill(const at::Tensor& result, const Lines& lines, const std::optional<at::Tensor>& bias,
          const value_t& value) {
  const auto held = offsets<scalar_t>(bias, lines);
  scalar_t* const first = result.data_ptr<scalar_t>();
  at::parallel_for(0, lines.count(), kGrain / lines.length + 1, [&](int64_t line, int64_t end) {
    for (; line < end; ++line) {
      const int64_t start = line * lines.length, size = lines.size(line);
      const auto* const offset = held.data();
      scalar_t* __restrict out = first + start;
      if (lines.interleaved) {
        for (int64_t t = 0; t < size; ++t) out[t] = value(start + t, offset[t]);
      } else {
        const auto b = offset[line % lines.channels];
        for (int64_t t = 0; t < size; ++t) out[t] = value(start + t, b);
      }
    }
  });
}

at::Tensor bias_act(const at::Tensor& x, const std::optional<at::Tensor>& bias, double slope,
                    double gain, double limit) {
  const at::Tensor held = dense(x, x), y = at::empty_like(held);
  if (y.numel() == 0) return y;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "bias_act", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    const auto act = activation<acc_t>(slope, gain, limit);
    const scalar_t* const in = held.const_data_ptr<scalar_t>();
    fill<scalar_t>(y, lines_of(held), bias, [=](int64_t t, acc_t offset) {
      return static_cast<scalar_t>(act.value(static_cast<acc_t>(in[t]) + offset));
    });
  });
  return y;
}

// The derivative at the result y in direction (dx, dbias).
at::Tensor bias_act_forward(const at::Tensor& dx, const std::optional<at::Tensor>& dbias,
                            const at::Tensor& y, double slope, double gain, double limit) {
  const at::Tensor at_y = dense(y, y), held = dense(dx, y), dy = at::empty_like(held);
  if (y.numel() == 0) return dy;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, y.scalar_type(), "bias_act", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    const auto act = activation<acc_t>(slope, gain, limit);
    const scalar_t* const in = held.const_data_ptr<scalar_t>();
    const scalar_t* const result = at_y.const_data_ptr<scalar_t>();
    fill<scalar_t>(dy, lines_of(at_y), dbias, [=](int64_t t, acc_t offset) {
      const acc_t sum = static_cast<acc_t>(in[t]) + offset;
      return static_cast<scalar_t>(sum * act.derivative(static_cast<acc_t>(result[t])));
    });
  });
  return dy;
}

// dx of the first `size` numbers of a line; `sums` gets what they add up to, each by itself where
// channels are interleaved, else as one number.
template <typename scalar_t, typename acc_t>
void backward_line(scalar_t* __restrict dx, acc_t* __restrict sums, const scalar_t* grad,
                   const scalar_t* y, int64_t size, bool interleaved,
                   const Activation<acc_t>& act) {
  const auto at = [&](int64_t t) {
    return static_cast<acc_t>(grad[t]) * act.derivative(static_cast<acc_t>(y[t]));
  };
  if (interleaved) {
    for (int64_t t = 0; t < size; ++t) {
      const acc_t d = at(t);
      dx[t] = static_cast<scalar_t>(d);
      sums[t] += d;
    }
    return;
  }
  for (int64_t from = 0; from < size; from += kBlock) {
    const int64_t to = std::min(from + kBlock, size);
    acc_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t t = from; t < to; ++t) {
      const acc_t d = at(t);
      dx[t] = static_cast<scalar_t>(d);
      sum += d;
    }
    sums[0] += sum;
  }
}

// The transpose of the derivative: gradients to x and to the bias. Sums are made in blocks that do
// not depend on the number of threads, so the result does not either.
std::tuple<at::Tensor, at::Tensor> bias_act_backward(const at::Tensor& grad, const at::Tensor& y,
                                                     double slope, double gain, double limit) {
  const at::Tensor at_y = dense(y, y), held = dense(grad, y), dx = at::empty_like(held);
  at::Tensor dbias = at::zeros({y.size(1)}, y.options());
  if (y.numel() == 0) return {dx, dbias};
  const Lines lines = lines_of(at_y);
  const int64_t block = lines.interleaved ? 32 : 1;  // lines that add to the same sums
  const int64_t width = lines.interleaved ? lines.length : 1;
  const int64_t blocks = (lines.count() + block - 1) / block;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, y.scalar_type(), "bias_act", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    const auto act = activation<acc_t>(slope, gain, limit);
    const scalar_t* const from = held.const_data_ptr<scalar_t>();
    const scalar_t* const result = at_y.const_data_ptr<scalar_t>();
    scalar_t* const to = dx.data_ptr<scalar_t>();
    std::vector<acc_t> sums(blocks * width, acc_t(0));
    const int64_t grain = kGrain / (block * lines.length) + 1;
    at::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * block; i < std::min(end * block, lines.count()); ++i) {
        const int64_t first = i * lines.length;
        backward_line(to + first, sums.data() + i / block * width, from + first, result + first,
                      lines.size(i), lines.interleaved, act);
      }
    });
    std::vector<double> totals(lines.channels, 0);
    for (size_t i = 0; i < sums.size(); ++i) totals[i % lines.channels] += sums[i];
    std::copy(totals.begin(), totals.end(), dbias.data_ptr<scalar_t>());
  });
  return {dx, dbias};
}

}  // namespace
}  // namespace dragline

TORCH_LIBRARY_IMPL(dragline, CPU, m) {
  m.impl("bias_act", &dragline::bias_act);
  m.impl("bias_act_forward", &dragline::bias_act_forward);
  m.impl("bias_act_backward", &dragline::bias_act_backward);
}
