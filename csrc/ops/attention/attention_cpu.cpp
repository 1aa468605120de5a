#include "attention.h"

#include <cmath>
#include <limits>
#include <memory>

#include "common/parallel.h"
#include "head.h"

namespace genfast::GENFAST_ISA {

namespace {

constexpr int64_t kBlock = 64;  // keys whose probabilities are held at a time
constexpr int kUnroll = 8;      // keys, or elements of the sums, that are worked on side by side
// Products up to this, in powers of two, need no maximum subtracted: no sum overflows, and none loses what it weighs.
constexpr float kSafe = 24.0f;

// The products of N keys with a vector of queries, less `shift`.
template <int N, int kSize>
GENFAST_HD void multiply(VF (&s)[N], const float* q, const float* k, int64_t any_size, VF shift) {
  const int64_t size = kSize ? kSize : any_size;
  for (int n = 0; n < N; ++n) s[n] = -shift;
  for (int64_t d = 0; d < size; ++d) {
    const VF qd = load(q + d * kLanes);
    for (int n = 0; n < N; ++n) s[n] = Simd::fma(qd, Simd::splat(k[n * size + d]), s[n]);
  }
}

template <int kSize>
VF largest_products(const HeadMemory& at, int64_t keys, int64_t size) {
  VF m = Simd::splat(-std::numeric_limits<float>::infinity());
  int64_t j = 0;
  for (; j + kUnroll <= keys; j += kUnroll) {
    VF s[kUnroll];
    multiply<kUnroll, kSize>(s, at.q, at.k + j * size, size, VF{});
    for (VF x : s) m = Simd::select(x > m, x, m);
  }
  for (; j < keys; ++j) {
    VF s[1];
    multiply<1, kSize>(s, at.q, at.k + j * size, size, VF{});
    m = Simd::select(s[0] > m, s[0], m);
  }
  return m;
}

// Stores 2^(product - shift) of N keys.
template <int N, int kSize, bool kShifted>
GENFAST_HD void exponentials(const float* q, const float* k, int64_t size, VF shift, float* p) {
  VF s[N];
  multiply<N, kSize>(s, q, k, size, shift);
  for (int n = 0; n < N; ++n) {
    // Without a shift, no product is so small that its exponential is none, and none is NaN.
    store(p + n * kLanes, kShifted ? exp2_or_zero<Simd>(s[n]) : exp2_bounded<Simd>(s[n]));
  }
}

// Adds the values of `count` keys, each times its probability, to N of the sums, and the probabilities to `total`.
template <int N>
GENFAST_HD void weigh(const float* p, const float* v, int64_t count, int64_t size, float* sum, float* total) {
  VF acc[N] = {}, all{};
  for (int64_t j = 0; j < count; ++j) {
    const VF pj = load(p + j * kLanes);
    all += pj;
    for (int n = 0; n < N; ++n) acc[n] = Simd::fma(pj, Simd::splat(v[j * size + n]), acc[n]);
  }
  // The sums of blocks are added, rather than all keys one by one, for their rounding errors.
  for (int n = 0; n < N; ++n) store(sum + n * kLanes, load(sum + n * kLanes) + acc[n]);
  if (total) store(total, load(total) + all);
}

// The sums over all keys, not yet divided by the last row of at.sum, the sum of the probabilities.
template <int kSize, bool kShifted>
void attend(const HeadMemory& at, int64_t keys, int64_t any_size, VF shift) {
  const int64_t size = kSize ? kSize : any_size;
  float* const total = at.sum + size * kLanes;
  for (int64_t d = 0; d <= size; ++d) store(at.sum + d * kLanes, VF{});
  for (int64_t first = 0; first < keys; first += kBlock) {
    const int64_t count = std::min(kBlock, keys - first);
    const float *k = at.k + first * size, *v = at.v + first * size;
    int64_t j = 0;
    for (; j + kUnroll <= count; j += kUnroll)
      exponentials<kUnroll, kSize, kShifted>(at.q, k + j * size, size, shift, at.p + j * kLanes);
    for (; j < count; ++j) exponentials<1, kSize, kShifted>(at.q, k + j * size, size, shift, at.p + j * kLanes);
    int64_t d = 0;
    for (; d + kUnroll <= size; d += kUnroll)
      weigh<kUnroll>(at.p, v + d, count, size, at.sum + d * kLanes, d ? nullptr : total);
    for (; d < size; ++d) weigh<1>(at.p, v + d, count, size, at.sum + d * kLanes, d ? nullptr : total);
  }
}

// A vector of queries from `first`, `count` of which exist.
template <class T, int kSize>
void attend_queries(const Attention& a, const HeadMemory& at, int64_t batch, int64_t head, int64_t first, int64_t count,
                    float largest_key) {
  const int64_t size = kSize ? kSize : a.size;
  const T* q = head_of<T>(a.q, a.q_strides, batch, head) + first * a.q_strides.position;
  VF squares{};
  read_rows(q, a.q_strides.position, count, size, at.rows, [&](int64_t d, VF x) GENFAST_INLINE_LAMBDA {
    x *= a.scale;
    squares = Simd::fma(x, x, squares);
    store(at.q + d * kLanes, x);
  });
  bool safe = true;  // by the inequality of Cauchy and Schwarz
  for (int lane = 0; lane < kLanes; ++lane) safe &= squares[lane] * largest_key <= kSafe * kSafe;
  if (safe)
    attend<kSize, false>(at, a.keys, size, VF{});
  else
    attend<kSize, true>(at, a.keys, size, largest_products<kSize>(at, a.keys, size));
  T* out = static_cast<T*>(a.out) + ((batch * a.queries + first) * a.heads + head) * size;
  const VF total = load(at.sum + size * kLanes);
  write_rows(out, a.heads * size, count, size, at.rows,
             [&](int64_t d) GENFAST_INLINE_LAMBDA { return load(at.sum + d * kLanes) / total; });
}

template <class T, int kSize>
void run(const Attention& a) {
  const int64_t blocks = (a.queries + kLanes - 1) / kLanes, items = a.batch * a.heads * blocks;
  const int64_t work = items * a.keys * a.size, workers = std::clamp<int64_t>(work / 8192, 1, max_threads());
  const int64_t floats = HeadMemory::floats(a.keys, a.size, kBlock);
  const std::unique_ptr<float[]> memory(new float[workers * floats]);
  parallel_for(workers, 1, [&](int64_t first_worker, int64_t end_worker) {
    for (int64_t w = first_worker; w < end_worker; ++w) {
      const HeadMemory at(memory.get() + w * floats, a.keys, a.size, kBlock);
      int64_t gathered = -1;
      float largest_key = 0;
      for (int64_t i = items * w / workers; i < items * (w + 1) / workers; ++i) {
        const int64_t batch = i / blocks / a.heads, head = i / blocks % a.heads, first = i % blocks * kLanes;
        if (i / blocks != gathered) {
          largest_key = largest_square(copy_rows(head_of<T>(a.k, a.k_strides, batch, head), a.k_strides.position,
                                                 a.keys, kSize ? kSize : a.size, at.k),
                                       a.keys, kSize ? kSize : a.size);
          copy_rows(head_of<T>(a.v, a.v_strides, batch, head), a.v_strides.position, a.keys, kSize ? kSize : a.size,
                    at.v);
          gathered = i / blocks;
        }
        attend_queries<T, kSize>(a, at, batch, head, first, std::min<int64_t>(kLanes, a.queries - first), largest_key);
      }
    }
  });
}

}  // namespace

void attention(const Attention& a) {
  dispatch_dtype(a.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    a.size == 8 ? run<T, 8>(a) : run<T, 0>(a);
  });
}

}  // namespace genfast::GENFAST_ISA
