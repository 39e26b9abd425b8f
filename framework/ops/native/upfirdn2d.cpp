// upfirdn2d on the CPU. A kernel that is a column times a row is applied in two passes over each
// result row, between which the row stays in the cache; any other kernel sample by sample.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "resampling.h"

namespace dragline {
namespace {

constexpr int64_t kGrain = 32768;  // results worth a thread
constexpr int kMaxTaps = 16;       // of a separable kernel; longer ones go sample by sample

// N images of C interleaved features (channels last), or N * C planes of one.
struct Planes {
  int64_t count, channels;
  Axis rows, columns;
};

// Where a sum takes its terms from, and with which weights.
template <typename in_t, typename acc_t>
struct Terms {
  int count = 0;
  std::array<const in_t*, kMaxTaps> from;
  std::array<acc_t, kMaxTaps> weight;
  void add(const in_t* place, acc_t w) {
    from[count] = place;
    weight[count++] = w;
  }
};

// For m < count and c < channels: out[m * out_step + c] = sum of in[m * in_step + c] * weight.
struct Walk {
  int64_t count, channels, out_step, in_step;
};

template <typename value_t, typename out_t>
void walk_over(out_t* __restrict out, const Walk& walk, const value_t& value) {
  if (walk.out_step == walk.channels && walk.in_step == walk.channels) {
    const int64_t length = walk.count * walk.channels;
    for (int64_t t = 0; t < length; ++t) out[t] = value(t);
  } else if (walk.channels == 1) {
    for (int64_t m = 0; m < walk.count; ++m) out[m * walk.out_step] = value(m * walk.in_step);
  } else {
    for (int64_t m = 0; m < walk.count; ++m) {
      for (int64_t c = 0; c < walk.channels; ++c) {
        out[m * walk.out_step + c] = value(m * walk.in_step + c);
      }
    }
  }
}

// The number of terms known to the compiler: unrolled, so that the loops outside are vectorised.
template <int N, typename out_t, typename in_t, typename acc_t>
void sum_of(out_t* out, const Terms<in_t, acc_t>& terms, const Walk& walk) {
  std::array<const in_t*, N> from;
  std::array<acc_t, N> weight;
  std::copy_n(terms.from.begin(), N, from.begin());
  std::copy_n(terms.weight.begin(), N, weight.begin());
  walk_over(out, walk, [&](int64_t t) {
    acc_t sum = 0;
    for (int k = 0; k < N; ++k) sum += weight[k] * static_cast<acc_t>(from[k][t]);
    return static_cast<out_t>(sum);
  });
}

template <typename out_t, typename in_t, typename acc_t>
void weighted_sum(out_t* out, const Terms<in_t, acc_t>& terms, const Walk& walk) {
  switch (terms.count) {
    case 0: return walk_over(out, walk, [](int64_t) { return out_t(0); });
    case 1: return sum_of<1>(out, terms, walk);
    case 2: return sum_of<2>(out, terms, walk);
    case 3: return sum_of<3>(out, terms, walk);
    case 4: return sum_of<4>(out, terms, walk);
  }
  walk_over(out, walk, [&](int64_t t) {
    acc_t sum = 0;
    for (int k = 0; k < terms.count; ++k) {
      sum += terms.weight[k] * static_cast<acc_t>(terms.from[k][t]);
    }
    return static_cast<out_t>(sum);
  });
}

// What a result row needs of the source: columns [first, last), some of them outside.
struct Reach {
  int first, last;
};

// The source rows that result row `i` reads, summed into `line`; zeros outside of the picture.
template <typename scalar_t, typename acc_t>
void sum_rows(acc_t* line, const Reach& reach, const scalar_t* plane, const Planes& p,
              const acc_t* weights, int i) {
  const int from = std::clamp(0, reach.first, reach.last);
  const int to = std::clamp(p.columns.source, from, reach.last);
  Terms<scalar_t, acc_t> terms;
  const int64_t row = int64_t(p.columns.source) * p.channels;
  const int tap = p.rows.first_tap(i);
  int y = p.rows.sample(i, tap);
  for (int a = tap; a < p.rows.taps; a += p.rows.up, ++y) {
    if (y < 0 || y >= p.rows.source) continue;
    terms.add(plane + y * row + from * p.channels, weights[a]);
  }
  acc_t* const inside = line + (from - reach.first) * p.channels;
  acc_t* const outside = line + (to - reach.first) * p.channels;
  const int64_t length = outside - inside;
  std::fill(line, inside, acc_t(0));
  weighted_sum(inside, terms, {1, length, length, length});
  std::fill(outside, line + (reach.last - reach.first) * p.channels, acc_t(0));
}

// A result row from its line; one phase of the upsampling after another.
template <typename scalar_t, typename acc_t>
void sum_columns(scalar_t* out, const acc_t* line, const Reach& reach, const Planes& p,
                 const acc_t* weights) {
  const Axis& axis = p.columns;
  for (int j = 0; j < std::min(axis.up, axis.result); ++j) {
    Terms<acc_t, acc_t> terms;
    const int tap = axis.first_tap(j);
    const acc_t* place = line + (axis.sample(j, tap) - reach.first) * p.channels;
    for (int b = tap; b < axis.taps; b += axis.up, place += p.channels) {
      terms.add(place, weights[b]);
    }
    const int64_t count = (axis.result - j + axis.up - 1) / axis.up;
    weighted_sum(out + j * p.channels, terms,
                 {count, p.channels, axis.up * p.channels, axis.down * p.channels});
  }
}

int floor_div(int a, int b) { return (a >= 0 ? a : a - b + 1) / b; }

Reach reach_of(const Axis& axis) {
  const int last = (axis.result - 1) * axis.down + axis.taps - 1 - axis.before;
  return {floor_div(-axis.before, axis.up), floor_div(last, axis.up) + 1};
}

// Column and row whose product the kernel is; empty where it is none.
template <typename acc_t>
std::array<std::vector<acc_t>, 2> separated(const std::vector<acc_t>& kernel, int64_t width) {
  const int64_t height = kernel.size() / width;
  const auto smaller = [](acc_t a, acc_t b) { return std::abs(a) < std::abs(b); };
  const int64_t peak = std::max_element(kernel.begin(), kernel.end(), smaller) - kernel.begin();
  std::vector<acc_t> column(height), row(width);
  for (int64_t a = 0; a < height; ++a) column[a] = kernel[a * width + peak % width];
  for (int64_t b = 0; b < width; ++b) row[b] = kernel[peak - peak % width + b] / kernel[peak];
  const acc_t rounding = 4 * std::numeric_limits<acc_t>::epsilon() * std::abs(kernel[peak]);
  for (size_t t = 0; t < kernel.size(); ++t) {
    const acc_t product = column[t / width] * row[t % width];
    if (!(std::abs(kernel[t] - product) <= rounding)) return {};
  }
  return {column, row};
}

// The kernel as the sum reads it: correlation, with the gain, in the precision of the sums.
template <typename acc_t>
std::vector<acc_t> weights(const at::Tensor& kernel, bool flip, double gain) {
  const at::Tensor held = kernel.to(at::kCPU, at::kDouble).contiguous();
  const double* const first = held.const_data_ptr<double>();
  std::vector<acc_t> values(first, first + held.numel());
  for (acc_t& value : values) value *= gain;
  if (flip) std::reverse(values.begin(), values.end());
  return values;
}

template <typename scalar_t>
void filter(const at::Tensor& x, const at::Tensor& y, const at::Tensor& kernel, const Planes& p,
            bool flip, double gain) {
  using acc_t = at::opmath_type<scalar_t>;
  const std::vector<acc_t> all = weights<acc_t>(kernel, flip, gain);
  const auto lines = separated(all, kernel.size(1));
  const acc_t *const column = lines[0].data(), *const row = lines[1].data();
  const scalar_t* const in = x.const_data_ptr<scalar_t>();
  scalar_t* const out = y.data_ptr<scalar_t>();
  const int64_t in_plane = p.channels * p.rows.source * p.columns.source;
  const int64_t out_row = p.channels * p.columns.result, out_plane = out_row * p.rows.result;
  const Reach reach = reach_of(p.columns);
  const bool fast = !lines[0].empty() && p.rows.taps <= kMaxTaps && p.columns.taps <= kMaxTaps;
  at::parallel_for(0, p.count * p.rows.result, kGrain / out_row + 1, [&](int64_t r, int64_t end) {
    std::vector<acc_t> line(fast ? (reach.last - reach.first) * p.channels : 0);
    while (r < end) {
      const int64_t plane = r / p.rows.result, i = r % p.rows.result;
      const int64_t stop = std::min<int64_t>(p.rows.result, i + end - r);
      const scalar_t* const from = in + plane * in_plane;
      scalar_t* const to = out + plane * out_plane;
      if (fast) {
        for (int64_t t = i; t < stop; ++t) {
          sum_rows(line.data(), reach, from, p, column, t);
          sum_columns(to + t * out_row, line.data(), reach, p, row);
        }
      } else {
        for (int64_t t = i * out_row; t < stop * out_row; ++t) {
          to[t] = static_cast<scalar_t>(filtered(
              from + t % p.channels, p.columns.source * p.channels, p.channels, all.data(), p.rows,
              p.columns, t / out_row, t % out_row / p.channels));
        }
      }
      r += stop - i;
    }
  });
}

// The arguments are explained where the operation is declared, in framework/ops/compiled.py.
at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& kernel, int64_t up, int64_t down,
                     int64_t top, int64_t left, int64_t height, int64_t width, bool flip,
                     double gain) {
  TORCH_CHECK(x.dim() == 4 && kernel.dim() == 2 && kernel.numel() > 0, "upfirdn2d: shapes");
  TORCH_CHECK(up >= 1 && down >= 1 && height >= 0 && width >= 0, "upfirdn2d: sizes");
  const bool last = x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
  const auto layout = last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const at::Tensor held = x.contiguous(layout);
  const at::Tensor y = at::empty({x.size(0), x.size(1), height, width},
                                 x.options().memory_format(layout));
  if (y.numel() == 0) return y;
  const auto axis = [&](int dim, int64_t before) {
    return Axis{narrow(x.size(dim)), narrow(y.size(dim)), narrow(kernel.size(dim - 2)),
                narrow(up),          narrow(down),        narrow(before)};
  };
  const Planes planes{last ? x.size(0) : x.size(0) * x.size(1), last ? x.size(1) : 1, axis(2, top),
                      axis(3, left)};
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "upfirdn2d", [&] {
    filter<scalar_t>(held, y, kernel, planes, flip, gain);
  });
  return y;
}

}  // namespace
}  // namespace dragline

TORCH_LIBRARY_IMPL(dragline, CPU, m) { m.impl("upfirdn2d", &dragline::upfirdn2d); }
