// modulate_act on the CPU: scale of each sample's channels, noise, bias, leaky ReLU and clamp in
// one pass over memory, and all gradients in another.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include "activation.h"

namespace dragline {
namespace {

constexpr int64_t kTask = 16384;  // numbers of a task, about
constexpr int64_t kLine = 512;    // numbers that are computed at once, in the first cache, about

// Features as tasks, each some pixels of one sample with all their channels.
struct Tasks {
  int64_t samples, channels, pixels, width;  // width: pixels of a task
  bool last;                                 // channels last in memory

  explicit Tasks(const at::Tensor& x)
      : samples(x.size(0)),
        channels(x.size(1)),
        pixels(x.size(2) * x.size(3)),
        width(std::max<int64_t>(kTask / channels, 16)),
        last(!x.is_contiguous()) {}
  int64_t of_sample() const { return (pixels + width - 1) / width; }
  int64_t count() const { return samples * of_sample(); }
  int64_t sample(int64_t task) const { return task / of_sample(); }
  int64_t begin(int64_t task) const { return task % of_sample() * width; }
  int64_t end(int64_t task) const { return std::min(begin(task) + width, pixels); }
  // Pixels of a line, and its numbers at most.
  int64_t step() const { return last ? kLine / channels + 1 : kLine; }
  int64_t line() const { return last ? step() * channels : kLine; }
};

at::Tensor dense(const at::Tensor& x, const at::Tensor& like) {
  const bool last = !like.is_contiguous() && like.is_contiguous(at::MemoryFormat::ChannelsLast);
  return x.contiguous(last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

template <typename acc_t>
Activation<acc_t> activation(double slope, double limit) {
  return {acc_t(1), static_cast<acc_t>(slope), static_cast<acc_t>(limit)};
}

// Conversions between the types of memory and of computing. bfloat16 is the upper half of a float:
// said in integers, compilers vectorise it.
template <typename from_t, typename to_t>
void convert(const from_t* __restrict in, to_t* __restrict out, int64_t size) {
  for (int64_t t = 0; t < size; ++t) out[t] = static_cast<to_t>(in[t]);
}

void convert(const at::BFloat16* __restrict in, float* __restrict out, int64_t size) {
  for (int64_t t = 0; t < size; ++t) {
    const uint32_t bits = static_cast<uint32_t>(in[t].x) << 16;
    std::memcpy(out + t, &bits, sizeof bits);
  }
}

void convert(const float* __restrict in, at::BFloat16* __restrict out, int64_t size) {
  for (int64_t t = 0; t < size; ++t) {
    uint32_t bits;
    std::memcpy(&bits, in + t, sizeof bits);
    const uint32_t nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;  // ties to even
    out[t].x = static_cast<uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : nearest);
  }
}

// A line of features to compute with: converted into a buffer, or where it lies if that is not
// needed; and where results of a line go until they are written.
template <typename scalar_t, typename acc_t>
struct Line {
  std::vector<acc_t> buffer;

  explicit Line(int64_t size) : buffer(same() ? 0 : size) {}
  static constexpr bool same() { return std::is_same_v<scalar_t, acc_t>; }

  const acc_t* read(const scalar_t* in, int64_t size) {
    if constexpr (same()) return in;
    else return convert(in, buffer.data(), size), buffer.data();
  }
  acc_t* result(scalar_t* out) {
    if constexpr (same()) return out;
    else return buffer.data();
  }
  void write(scalar_t* out, int64_t size) {
    if constexpr (!same()) convert(buffer.data(), out, size);
  }
};

// Calls `loop` with the number of channels as a constant where it is small, so that it is unrolled
// and its sums stay in registers.
template <typename loop_t>
void with_channels(int64_t channels, const loop_t& loop) {
  switch (channels) {
    case 8: return loop(std::integral_constant<int64_t, 8>());
    case 16: return loop(std::integral_constant<int64_t, 16>());
    case 32: return loop(std::integral_constant<int64_t, 32>());
    default: return loop(channels);
  }
}

// y[q, c] = act(x * scale + noise + bias) for some pixels' channels; noise may be null. A result may
// replace its own number in all of these.
template <typename acc_t, typename channels_t>
void push(const acc_t* x, const acc_t* scale, const acc_t* noise, const acc_t* bias, acc_t* y,
          int64_t pixels, channels_t channels, const Activation<acc_t>& act) {
  for (int64_t q = 0; q < pixels; ++q, x += channels, y += channels) {
    const acc_t added = noise ? noise[q] : acc_t(0);
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) y[c] = act.value(x[c] * scale[c] + (added + bias[c]));
  }
}

// The same for some pixels of one channel.
template <typename acc_t>
void push_plane(const acc_t* x, acc_t scale, const acc_t* noise, acc_t bias, acc_t* y,
                int64_t pixels, const Activation<acc_t>& act) {
  if (noise == nullptr) {
#pragma GCC ivdep
    for (int64_t q = 0; q < pixels; ++q) y[q] = act.value(x[q] * scale + bias);
    return;
  }
#pragma GCC ivdep
  for (int64_t q = 0; q < pixels; ++q) y[q] = act.value(x[q] * scale + (noise[q] + bias));
}

// The derivative of the activation at each number of a line: 1, or as its result says.
struct Straight {
  int operator()(int64_t) const { return 1; }
};

template <typename acc_t>
struct Bent {
  const acc_t* y;
  Activation<acc_t> act;
  acc_t operator()(int64_t t) const { return act.derivative(y[t]); }
};

// The change dy[q, c] of some pixels' channels due to those of all that they are made of.
template <typename acc_t, typename slope_t, typename channels_t>
void shift(const acc_t* dx, const acc_t* x, slope_t slope, const acc_t* scale, const acc_t* dscale,
           const acc_t* dnoise, const acc_t* dbias, acc_t* dy, int64_t pixels,
           channels_t channels) {
  for (int64_t q = 0; q < pixels; ++q) {
    const int64_t at = q * channels;
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) {
      const acc_t sum = dx[at + c] * scale[c] + x[at + c] * dscale[c] + (dnoise[q] + dbias[c]);
      dy[at + c] = sum * slope(at + c);
    }
  }
}

// The same for some pixels of one channel.
template <typename acc_t, typename slope_t>
void shift_plane(const acc_t* dx, const acc_t* x, slope_t slope, acc_t scale, acc_t dscale,
                 const acc_t* dnoise, acc_t dbias, acc_t* dy, int64_t pixels) {
#pragma GCC ivdep
  for (int64_t q = 0; q < pixels; ++q) {
    dy[q] = (dx[q] * scale + x[q] * dscale + (dnoise[q] + dbias)) * slope(q);
  }
}

// Gradients of some pixels' channels from that to their results.
template <typename acc_t, typename slope_t, typename channels_t>
void pull(const acc_t* grad, slope_t slope, const acc_t* x, const acc_t* scale, acc_t* dx,
          acc_t* __restrict to_scale, acc_t* __restrict to_bias, acc_t* __restrict to_noise,
          int64_t pixels, channels_t channels) {
  for (int64_t q = 0; q < pixels; ++q) {
    const int64_t at = q * channels;
    acc_t all = 0;
#pragma omp simd reduction(+ : all)
    for (int64_t c = 0; c < channels; ++c) {
      const acc_t g = grad[at + c] * slope(at + c);
      to_scale[c] += g * x[at + c];
      to_bias[c] += g;
      all += g;
      dx[at + c] = g * scale[c];
    }
    to_noise[q] = all;
  }
}

// The same for some pixels of one channel.
template <typename acc_t, typename slope_t>
void pull_plane(const acc_t* grad, slope_t slope, const acc_t* x, acc_t scale, acc_t* dx,
                acc_t& to_scale, acc_t& to_bias, acc_t* __restrict to_noise, int64_t pixels) {
  acc_t at_scale = 0, at_bias = 0;
#pragma omp simd reduction(+ : at_scale, at_bias)
  for (int64_t q = 0; q < pixels; ++q) {
    const acc_t g = grad[q] * slope(q);
    at_scale += g * x[q];
    at_bias += g;
    to_noise[q] += g;
    dx[q] = g * scale;
  }
  to_scale += at_scale;
  to_bias += at_bias;
}

// Some pixels of a sample with all their channels (channels last), or of one channel.
struct Chunk {
  int64_t task, sample, channel, pixel, pixels;  // channel: 0 if it has all
  int64_t at, size;                              // place in memory, and numbers
};

// Calls `body` with each chunk and three lines of buffers, tasks shared out to threads.
template <typename scalar_t, typename acc_t, typename body_t>
void each_chunk(const Tasks& tasks, const body_t& body) {
  at::parallel_for(0, tasks.count(), 2, [&](int64_t task, int64_t stop) {
    Line<scalar_t, acc_t> a(tasks.line()), b(tasks.line()), c(tasks.line());
    for (; task < stop; ++task) {
      const int64_t n = tasks.sample(task), first = n * tasks.channels * tasks.pixels;
      for (int64_t p = tasks.begin(task); p < tasks.end(task); p += tasks.step()) {
        const int64_t count = std::min(tasks.step(), tasks.end(task) - p);
        if (tasks.last) {
          const int64_t at = first + p * tasks.channels;
          body(Chunk{task, n, 0, p, count, at, count * tasks.channels}, a, b, c);
          continue;
        }
        for (int64_t channel = 0; channel < tasks.channels; ++channel) {
          const int64_t at = first + channel * tasks.pixels + p;
          body(Chunk{task, n, channel, p, count, at, count}, a, b, c);
        }
      }
    }
  });
}

// Calls `loop` with what tells the slope of the activation at each number of a chunk; y is null if
// it is 1 everywhere.
template <typename scalar_t, typename acc_t, typename loop_t>
void with_slope(const scalar_t* y, const Chunk& chunk, Line<scalar_t, acc_t>& line,
                const Activation<acc_t>& act, const loop_t& loop) {
  if (y == nullptr) return loop(Straight());
  loop(Bent<acc_t>{line.read(y + chunk.at, chunk.size), act});
}

// y = act(x * scale + noise + bias). scale (N, C); noise (N or 1, 1, H, W); bias (C); all of them in
// the type of computing.
at::Tensor modulate_act(const at::Tensor& x, const at::Tensor& scale,
                        const std::optional<at::Tensor>& noise,
                        const std::optional<at::Tensor>& bias, double slope, double limit) {
  const at::Tensor held = dense(x, x), y = at::empty_like(held), factors = scale.contiguous();
  const at::Tensor added = noise ? noise->contiguous() : at::Tensor();
  const at::Tensor shifts = bias ? bias->contiguous() : at::zeros({x.size(1)}, scale.options());
  if (y.numel() == 0) return y;
  const Tasks tasks(held);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "modulate_act", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    using Buffer = Line<scalar_t, acc_t>;
    const auto act = activation<acc_t>(slope, limit);
    const scalar_t* const from = held.const_data_ptr<scalar_t>();
    scalar_t* const to = y.data_ptr<scalar_t>();
    const acc_t* const offsets = shifts.const_data_ptr<acc_t>();
    const acc_t* const maps = noise ? added.const_data_ptr<acc_t>() : nullptr;
    const int64_t stride = noise && noise->size(0) > 1 ? tasks.pixels : 0;
    each_chunk<scalar_t, acc_t>(tasks, [&](const Chunk& k, Buffer& line, Buffer&, Buffer&) {
      const acc_t* const s = factors.const_data_ptr<acc_t>() + k.sample * tasks.channels;
      const acc_t* const map = maps ? maps + k.sample * stride + k.pixel : nullptr;
      const acc_t* const in = line.read(from + k.at, k.size);
      acc_t* const out = line.result(to + k.at);
      if (tasks.last) {
        with_channels(tasks.channels, [&](auto channels) {
          push(in, s, map, offsets, out, k.pixels, channels, act);
        });
      } else {
        push_plane(in, s[k.channel], map, offsets[k.channel], out, k.pixels, act);
      }
      line.write(to + k.at, k.size);
    });
  });
  return y;
}

// The derivative at the result y, given if it was bent, in direction (dx, dscale, dnoise, dbias),
// with noise of every sample.
at::Tensor modulate_act_forward(const at::Tensor& dx, const at::Tensor& dscale,
                                const at::Tensor& dnoise, const at::Tensor& dbias,
                                const at::Tensor& x, const at::Tensor& scale,
                                const std::optional<at::Tensor>& y, double slope, double limit) {
  const at::Tensor held = dense(x, x), moved = dense(dx, held), dy = at::empty_like(held);
  const at::Tensor result = y ? dense(*y, held) : at::Tensor();
  const at::Tensor factors = scale.contiguous(), dfactors = dscale.contiguous();
  const at::Tensor added = dnoise.contiguous(), shifts = dbias.contiguous();
  if (x.numel() == 0) return dy;
  const Tasks tasks(held);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "modulate_act", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    using Buffer = Line<scalar_t, acc_t>;
    const auto act = activation<acc_t>(slope, limit);
    const scalar_t* const at_x = held.const_data_ptr<scalar_t>();
    const scalar_t* const from = moved.const_data_ptr<scalar_t>();
    const scalar_t* const at_y = y ? result.const_data_ptr<scalar_t>() : nullptr;
    scalar_t* const to = dy.data_ptr<scalar_t>();
    const acc_t* const offsets = shifts.const_data_ptr<acc_t>();
    each_chunk<scalar_t, acc_t>(tasks, [&](const Chunk& k, Buffer& a, Buffer& b, Buffer& c) {
      const acc_t* const s = factors.const_data_ptr<acc_t>() + k.sample * tasks.channels;
      const acc_t* const ds = dfactors.const_data_ptr<acc_t>() + k.sample * tasks.channels;
      const acc_t* const map = added.const_data_ptr<acc_t>() + k.sample * tasks.pixels + k.pixel;
      const acc_t* const move = a.read(from + k.at, k.size);
      const acc_t* const in = b.read(at_x + k.at, k.size);
      acc_t* const out = a.result(to + k.at);
      with_slope(at_y, k, c, act, [&](auto slopes) {
        if (tasks.last) {
          with_channels(tasks.channels, [&](auto channels) {
            shift(move, in, slopes, s, ds, map, offsets, out, k.pixels, channels);
          });
        } else {
          const int64_t i = k.channel;
          shift_plane(move, in, slopes, s[i], ds[i], map, offsets[i], out, k.pixels);
        }
      });
      a.write(to + k.at, k.size);
    });
  });
  return dy;
}

// The transpose of that: gradients to x, scale, each sample's noise (N, 1, H, W) and bias, from that
// to the result; y is the result if it was bent. Sums are made in tasks that do not depend on the
// number of threads, so the result does not either.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> modulate_act_backward(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& scale,
    const std::optional<at::Tensor>& y, double slope, double limit) {
  const at::Tensor held = dense(x, x), flow = dense(grad, held), dx = at::empty_like(held);
  const at::Tensor result = y ? dense(*y, held) : at::Tensor();
  const at::Tensor factors = scale.contiguous(), dscale = at::zeros_like(factors);
  const at::Tensor dbias = at::empty({x.size(1)}, scale.options());
  const at::Tensor dnoise = at::zeros({x.size(0), 1, x.size(2), x.size(3)}, scale.options());
  if (x.numel() == 0) return {dx, dscale, dnoise, dbias.zero_()};
  const Tasks tasks(held);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "modulate_act", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    using Buffer = Line<scalar_t, acc_t>;
    const auto act = activation<acc_t>(slope, limit);
    const int64_t channels = tasks.channels;
    const scalar_t* const at_x = held.const_data_ptr<scalar_t>();
    const scalar_t* const from = flow.const_data_ptr<scalar_t>();
    const scalar_t* const at_y = y ? result.const_data_ptr<scalar_t>() : nullptr;
    scalar_t* const to = dx.data_ptr<scalar_t>();
    std::vector<acc_t> sums(tasks.count() * 2 * channels, acc_t(0));
    each_chunk<scalar_t, acc_t>(tasks, [&](const Chunk& k, Buffer& a, Buffer& b, Buffer& c) {
      const acc_t* const s = factors.const_data_ptr<acc_t>() + k.sample * channels;
      acc_t* const map = dnoise.data_ptr<acc_t>() + k.sample * tasks.pixels + k.pixel;
      acc_t* const to_scale = sums.data() + k.task * 2 * channels;
      acc_t* const to_bias = to_scale + channels;
      const acc_t* const g = a.read(from + k.at, k.size);
      const acc_t* const in = b.read(at_x + k.at, k.size);
      acc_t* const out = a.result(to + k.at);
      with_slope(at_y, k, c, act, [&](auto slopes) {
        if (tasks.last) {
          with_channels(channels, [&](auto fixed) {
            pull(g, slopes, in, s, out, to_scale, to_bias, map, k.pixels, fixed);
          });
        } else {
          const int64_t i = k.channel;
          pull_plane(g, slopes, in, s[i], out, to_scale[i], to_bias[i], map, k.pixels);
        }
      });
      a.write(to + k.at, k.size);
    });
    acc_t* const of_scale = dscale.data_ptr<acc_t>();
    std::vector<double> of_bias(channels, 0);
    for (int64_t task = 0; task < tasks.count(); ++task) {
      const acc_t* const part = sums.data() + task * 2 * channels;
      for (int64_t c = 0; c < channels; ++c) {
        of_scale[tasks.sample(task) * channels + c] += part[c];
        of_bias[c] += part[channels + c];
      }
    }
    std::copy(of_bias.begin(), of_bias.end(), dbias.data_ptr<acc_t>());
  });
  return {dx, dscale, dnoise, dbias};
}

}  // namespace
}  // namespace dragline

TORCH_LIBRARY_IMPL(dragline, CPU, m) {
  m.impl("modulate_act", &dragline::modulate_act);
  m.impl("modulate_act_forward", &dragline::modulate_act_forward);
  m.impl("modulate_act_backward", &dragline::modulate_act_backward);
}
