// What one sample of upfirdn2d is: for the CPU's rare cases, and for each thread of the GPU's.
#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <limits>

#include "host_device.h"

namespace dragline {

// One axis: result sample o sums, over taps t, source sample (o * down + t - before) / up, where
// that is a whole number and inside of the picture, times the tap.
struct Axis {
  int source, result;  // sizes in samples
  int taps, up, down, before;

  // First tap that meets a source sample, whether inside or not; the next one lies `up` further.
  HOST_DEVICE int first_tap(int o) const {
    const int rest = up == 1 ? 0 : (before - o * down) % up;
    return rest < 0 ? rest + up : rest;
  }
  // The source sample that `tap` meets; the next tap meets the next sample.
  HOST_DEVICE int sample(int o, int tap) const {
    const int place = o * down + tap - before;
    return up == 1 ? place : place / up;
  }
};

// Sizes and places are counted in 32 bits, with room for a factor or two.
inline int narrow(int64_t value) {
  constexpr int64_t limit = std::numeric_limits<int>::max() / 4;
  TORCH_CHECK(-limit <= value && value <= limit, "upfirdn2d: ", value, " is too large");
  return static_cast<int>(value);
}

// One result sample of a plane: the kernel, row-major and oriented as a correlation, times samples.
template <typename scalar_t, typename acc_t>
HOST_DEVICE acc_t filtered(const scalar_t* plane, int64_t row_stride, int64_t column_stride,
                           const acc_t* kernel, const Axis& rows, const Axis& columns, int i,
                           int j) {
  const int top = rows.first_tap(i), left = columns.first_tap(j);
  const int first_column = columns.sample(j, left);
  int y = rows.sample(i, top);
  acc_t sum = 0;
  for (int a = top; a < rows.taps; a += rows.up, ++y) {
    if (y < 0 || y >= rows.source) continue;
    int x = first_column;
    for (int b = left; b < columns.taps; b += columns.up, ++x) {
      if (x < 0 || x >= columns.source) continue;
      sum += kernel[a * columns.taps + b] *
             static_cast<acc_t>(plane[y * row_stride + x * column_stride]);
    }
  }
  return sum;
}

}  // namespace dragline
