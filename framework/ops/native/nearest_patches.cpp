// Nearest-neighbour fields of patches on the CPU: PatchMatch (Barnes et al. 2009), in scan order.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>

namespace dragline {
namespace {

constexpr int64_t kBand = 32;  // rows that one thread scans: fixed, so the result is

// Numbers that depend on their place alone, whatever the number of threads (splitmix64's mixing).
uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

int64_t between(uint64_t bits, int64_t low, int64_t high) {
  const uint64_t count = static_cast<uint64_t>(high - low + 1);
  return low + static_cast<int64_t>((bits & 0xffffffffull) * count >> 32);
}

// Patches of a picture (height, width, channels), by their top left corners.
struct Patches {
  const float* first;
  int64_t rows, columns, step, channels;  // corners down and across; numbers from line to line
  const float* at(int64_t y, int64_t x) const { return first + y * step + x * channels; }
};

Patches patches_of(const at::Tensor& x, int64_t side) {
  return {x.const_data_ptr<float>(), x.size(0) - side + 1, x.size(1) - side + 1,
          x.size(1) * x.size(2), x.size(2)};
}

struct Search {
  Patches target, source;
  const bool *active, *allowed;
  const int32_t* before;  // the field of the last iteration
  int32_t* field;
  float* cost;
  int64_t side;
  uint64_t seed;

  // Square distance of two patches, or more than `most`; usual lines are known to the compiler.
  float distance(int64_t y, int64_t x, int64_t v, int64_t u, float most) const {
    const float *const a = target.at(y, x), *const b = source.at(v, u);
    const int64_t line = side * target.channels;
    return line == 21 ? lines<21>(a, b, line, most) : lines<0>(a, b, line, most);
  }

  template <int64_t known>
  float lines(const float* a, const float* b, int64_t line, float most) const {
    if constexpr (known > 0) line = known;
    float sum = 0;
    for (int64_t i = 0; i < side && sum < most; ++i, a += target.step, b += source.step) {
      float part = 0;
#pragma omp simd reduction(+ : part)
      for (int64_t t = 0; t < line; ++t) {
        const float d = a[t] - b[t];
        part += d * d;
      }
      sum += part;
    }
    return sum;
  }

  void attempt(int64_t y, int64_t x, int64_t v, int64_t u) const {
    if (v < 0 || u < 0 || v >= source.rows || u >= source.columns) return;
    if (!allowed[v * source.columns + u]) return;
    const int64_t place = y * target.columns + x;
    const float d = distance(y, x, v, u, cost[place]);
    if (d >= cost[place]) return;
    cost[place] = d;
    field[2 * place] = static_cast<int32_t>(v);
    field[2 * place + 1] = static_cast<int32_t>(u);
  }

  // Rows outside the band are another thread's: of them only the last iteration's are read.
  void propagate(int64_t y, int64_t x, int64_t dy, int64_t dx, int64_t top, int64_t bottom) const {
    const int64_t ny = y - dy, nx = x - dx;
    if (ny < 0 || nx < 0 || ny >= target.rows || nx >= target.columns) return;
    const int64_t place = ny * target.columns + nx;
    if (!active[place]) return;
    const int32_t* const held = (ny < top || ny >= bottom ? before : field) + 2 * place;
    attempt(y, x, held[0] + dy, held[1] + dx);
  }

  void scatter(int64_t y, int64_t x, uint64_t iteration) const {
    const int64_t place = y * target.columns + x;
    uint64_t bits = mixed(seed ^ mixed(iteration ^ mixed(static_cast<uint64_t>(place))));
    for (int64_t reach = std::max(source.rows, source.columns); reach >= 1;
         reach = reach * 2 / 3) {
      const int64_t v = field[2 * place], u = field[2 * place + 1];
      bits = mixed(bits);
      const int64_t to_v = between(bits, std::max<int64_t>(0, v - reach),
                                   std::min(source.rows - 1, v + reach));
      const int64_t to_u = between(bits >> 32, std::max<int64_t>(0, u - reach),
                                   std::min(source.columns - 1, u + reach));
      attempt(y, x, to_v, to_u);
    }
  }

  void scan(int64_t band, int64_t iteration) const {
    const int64_t top = band * kBand, bottom = std::min(target.rows, top + kBand);
    const int64_t turn = iteration % 2 ? -1 : 1;
    for (int64_t i = 0; i < bottom - top; ++i) {
      const int64_t y = turn > 0 ? top + i : bottom - 1 - i;
      for (int64_t j = 0; j < target.columns; ++j) {
        const int64_t x = turn > 0 ? j : target.columns - 1 - j;
        if (!active[y * target.columns + x]) continue;
        propagate(y, x, 0, turn, top, bottom);
        propagate(y, x, turn, 0, top, bottom);
        propagate(y, x, 0, -turn, top, bottom);
        propagate(y, x, -turn, 0, top, bottom);
        scatter(y, x, iteration);
      }
    }
  }
};

std::tuple<at::Tensor, at::Tensor> nearest_patches(const at::Tensor& target,
                                                   const at::Tensor& source,
                                                   const at::Tensor& active,
                                                   const at::Tensor& allowed,
                                                   const at::Tensor& start, int64_t side,
                                                   int64_t iterations, int64_t seed) {
  const at::Tensor a = target.contiguous(), b = source.contiguous();
  const at::Tensor wanted = active.contiguous(), usable = allowed.contiguous();
  at::Tensor field = start.contiguous().clone(), before = field;
  at::Tensor cost = at::empty(active.sizes(), target.options());
  Search search{patches_of(a, side),
                patches_of(b, side),
                wanted.const_data_ptr<bool>(),
                usable.const_data_ptr<bool>(),
                nullptr,
                field.data_ptr<int32_t>(),
                cost.data_ptr<float>(),
                side,
                mixed(static_cast<uint64_t>(seed))};
  const int64_t rows = search.target.rows, columns = search.target.columns;
  at::parallel_for(0, rows, kBand, [&](int64_t from, int64_t to) {
    for (int64_t place = from * columns; place < to * columns; ++place) {
      const int32_t* const held = search.field + 2 * place;
      search.cost[place] =
          search.active[place]
              ? search.distance(place / columns, place % columns, held[0], held[1],
                                std::numeric_limits<float>::infinity())
              : 0.0f;
    }
  });
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    before = field.clone();
    search.before = before.const_data_ptr<int32_t>();
    at::parallel_for(0, (rows + kBand - 1) / kBand, 1, [&](int64_t from, int64_t to) {
      for (int64_t band = from; band < to; ++band) search.scan(band, iteration);
    });
  }
  return {field, cost};
}

}  // namespace
}  // namespace dragline

TORCH_LIBRARY_IMPL(dragline, CPU, m) { m.impl("nearest_patches", &dragline::nearest_patches); }
