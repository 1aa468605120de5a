#include <cfloat>

#include "attention.h"
#include "common/launch.cuh"

namespace genfast {

namespace {

constexpr int kQueries = 128;  // of a thread block, one to a thread
constexpr int kTile = 32;      // keys that a thread block holds at a time

// One query per thread, in registers; the block shares keys and values. The softmax is online (Milakov and Gimelshein
// 2018): what was summed shrinks when a larger product comes. Elements past a.size are 0.
template <class T, int kSize>
__global__ void __launch_bounds__(kQueries) attention_kernel(Attention a) {
  GENFAST_SHARED(float, keys, kTile* kSize);
  GENFAST_SHARED(float, values, kTile* kSize);
  const int64_t blocks = (a.queries + kQueries - 1) / kQueries, index = blockIdx.x;
  const int64_t batch = index / blocks / a.heads, head = index / blocks % a.heads;
  const int64_t query = index % blocks * kQueries + threadIdx.x;
  const T* q = head_of<T>(a.q, a.q_strides, batch, head) + query * a.q_strides.position;
  const T* k = head_of<T>(a.k, a.k_strides, batch, head);
  const T* v = head_of<T>(a.v, a.v_strides, batch, head);

  float row[kSize], sum[kSize], total = 0.0f, largest = -FLT_MAX;
  GENFAST_UNROLL
  for (int d = 0; d < kSize; ++d) {
    row[d] = query < a.queries && d < a.size ? to_float(q[d]) * a.scale : 0.0f;
    sum[d] = 0.0f;
  }
  for (int64_t first = 0; first < a.keys; first += kTile) {
    __syncthreads();
    for (int e = threadIdx.x; e < kTile * kSize; e += kQueries) {
      const int64_t j = first + e / kSize, d = e % kSize;
      const bool exists = j < a.keys && d < a.size;
      keys[e] = exists ? to_float(k[j * a.k_strides.position + d]) : 0.0f;
      values[e] = exists ? to_float(v[j * a.v_strides.position + d]) : 0.0f;
    }
    __syncthreads();
    const int count = static_cast<int>(a.keys - first < kTile ? a.keys - first : kTile);
    for (int j = 0; j < count; ++j) {
      float s = 0.0f;
      GENFAST_UNROLL
      for (int d = 0; d < kSize; ++d) s = Scalar::fma(row[d], keys[j * kSize + d], s);
      if (s > largest) {
        const float shrink = exp2_or_zero<Scalar>(largest - s);
        largest = s;
        total *= shrink;
        GENFAST_UNROLL
        for (int d = 0; d < kSize; ++d) sum[d] *= shrink;
      }
      const float p = exp2_or_zero<Scalar>(s - largest);
      total += p;
      GENFAST_UNROLL
      for (int d = 0; d < kSize; ++d) sum[d] = Scalar::fma(p, values[j * kSize + d], sum[d]);
    }
  }
  if (query >= a.queries) return;
  T* out = static_cast<T*>(a.out) + ((batch * a.queries + query) * a.heads + head) * a.size;
  GENFAST_UNROLL
  for (int d = 0; d < kSize; ++d)
    if (d < a.size) out[d] = from_float<T>(Scalar::divide(sum[d], total));
}

template <class T, int kSize>
void start(const Attention& a, CudaStream stream) {
  const int64_t blocks = a.batch * a.heads * ((a.queries + kQueries - 1) / kQueries);
  if (blocks == 0) return;
  launch("attention", stream, attention_kernel<T, kSize>, dim3(static_cast<unsigned>(blocks)), dim3(kQueries), 0, a);
}

}  // namespace

void attention_cuda(const Attention& a, CudaStream stream) {
  if (a.size > 64) throw std::invalid_argument("attention: the CUDA kernel takes heads of up to 64 elements");
  dispatch_dtype(a.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (a.size <= 8) return start<T, 8>(a, stream);
    if (a.size <= 16) return start<T, 16>(a, stream);
    a.size <= 32 ? start<T, 32>(a, stream) : start<T, 64>(a, stream);
  });
}

}  // namespace genfast
