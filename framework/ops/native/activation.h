// What bias_act does to one number, for both devices. Without branches, so that loops over it are
// vectorised.
#pragma once

#include "host_device.h"

namespace dragline {

// y = clamp(s * (s > 0 ? gain : gain * slope)) of a sum s; gain is positive.
template <typename acc_t>
struct Activation {
  acc_t gain, below, limit;  // below: gain of negative sums; limit: largest magnitude, NaN for none

  HOST_DEVICE acc_t value(acc_t sum) const {
    acc_t y = sum * (sum > 0 ? gain : below);
    y = y > limit ? limit : y;
    return y < -limit ? -limit : y;
  }
  // The derivative, from the result; 0 where it was clamped.
  HOST_DEVICE acc_t derivative(acc_t y) const {
    const acc_t d = y > 0 ? gain : below;
    return (y >= limit) | (y <= -limit) ? acc_t(0) : d;
  }
};

}  // namespace dragline
