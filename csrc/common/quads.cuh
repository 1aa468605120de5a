// How a batch is spread over a grid: a thread takes a quad, four elements of one sample whose noise is one Philox call.
#pragma once

#include <initializer_list>

#include "dtype.h"
#include "four.cuh"
#include "launch.cuh"
#include "noise_source.h"
#include "philox.h"

namespace genfast {

// Made on the host. Threads are numbered in the order of memory: by quads of adjacent elements, or for noise in
// channels_last, where a quad is one channel of four adjacent pixels, by channel first.
struct QuadPlan {
  int64_t batch, numel;
  int64_t channels, spatial;  // of channels_last; channels is 0 where memory is walked in order
  int64_t slots;              // thread numbers in a sample; some may hold no quad
  bool vector;                // a quad is one aligned load

  // tensors: all that will be accessed through Quad.
  QuadPlan(const Extent& extent, bool draws, std::initializer_list<const void*> tensors)
      : batch(extent.batch), numel(extent.numel), channels(0), spatial(numel), slots((numel + 3) / 4) {
    uintptr_t bits = numel % 4;
    for (const void* tensor : tensors) bits |= reinterpret_cast<uintptr_t>(tensor) % 16;
    vector = bits == 0;
    if (!draws || extent.channels <= 1 || extent.channels == numel) return;
    channels = extent.channels;
    spatial = numel / channels;
    slots = channels * ((spatial + 3) / 4);
    vector = false;
  }
  bool empty() const { return batch == 0 || numel == 0; }
};

// A block's threads: as many as fit side by side in a sample, then as many samples as fit.
inline dim3 quad_threads(const QuadPlan& plan) {
  unsigned across = 1;
  while (across < kBlockThreads && across < plan.slots) across *= 2;
  return dim3(across, kBlockThreads / across);
}

inline dim3 quad_blocks(int64_t across, int64_t batch, dim3 threads) {
  const int64_t rows = (batch + threads.y - 1) / threads.y, down = std::min(rows, kMaxGridSide);
  return dim3(static_cast<unsigned>(across), static_cast<unsigned>(down),
              static_cast<unsigned>((rows + down - 1) / down));
}

template <bool kChannelsLast>
struct Quad;

template <>
struct Quad<false> {
  int64_t index;  // of the quad in its sample
  int64_t first;  // element of the batch
  int count;      // of elements that exist
  bool vector;

  GENFAST_HD bool exists() const { return count > 0; }
  GENFAST_HD int64_t offset(int k) const { return first + k; }
};

template <>
struct Quad<true> {
  int64_t index;
  int64_t offsets[4];
  int count;
  static constexpr bool vector = false;

  GENFAST_HD bool exists() const { return count > 0; }
  GENFAST_HD int64_t offset(int k) const { return offsets[k]; }
};

template <bool kChannelsLast>
GENFAST_HD Quad<kChannelsLast> quad_at(const QuadPlan& plan, int64_t sample, int64_t slot) {
  Quad<kChannelsLast> quad;
  const int64_t base = sample * plan.numel;
  int64_t left;
  if constexpr (kChannelsLast) {
    const int64_t channel = slot % plan.channels, start = channel * plan.spatial;
    quad.index = (start + 3) / 4 + slot / plan.channels;
    int64_t pixel = 4 * quad.index - start, c = channel;
    left = pixel < plan.spatial ? plan.numel - 4 * quad.index : 0;  // else the quad starts in the next channel
    GENFAST_UNROLL
    for (int k = 0; k < 4; ++k) {
      quad.offsets[k] = base + pixel * plan.channels + c;
      if (++pixel == plan.spatial) {
        pixel = 0;
        ++c;
      }
    }
  } else {
    quad.index = slot;
    quad.first = base + 4 * slot;
    quad.vector = plan.vector;
    left = plan.numel - 4 * slot;
  }
  quad.count = static_cast<int>(left < 4 ? left : 4);
  return quad;
}

// What a load of four elements is made of.
template <class T>
struct Packed {
  using Words = uint2;
  static __device__ __forceinline__ Four::F unpack(uint2 w) {
    const uint32_t half[4] = {w.x & 0xFFFFu, w.x >> 16, w.y & 0xFFFFu, w.y >> 16};
    return Four::each<Four::F>([&](int k) { return to_float(T{static_cast<uint16_t>(half[k])}); });
  }
  static __device__ __forceinline__ uint2 pack(const Four::F& x) {
    uint32_t half[4];
    GENFAST_UNROLL
    for (int k = 0; k < 4; ++k) half[k] = from_float<T>(x.v[k]).bits;
    return {half[0] | half[1] << 16, half[2] | half[3] << 16};
  }
};
template <>
struct Packed<float> {
  using Words = float4;
  static __device__ __forceinline__ Four::F unpack(float4 w) { return {{w.x, w.y, w.z, w.w}}; }
  static __device__ __forceinline__ float4 pack(const Four::F& x) { return {x.v[0], x.v[1], x.v[2], x.v[3]}; }
};

// Inputs are read past the coherent path: no kernel here writes what it reads.
__device__ __forceinline__ float load_one(const float* p) { return __ldg(p); }
template <class T>
__device__ __forceinline__ float load_one(const T* p) {
  return to_float(T{__ldg(reinterpret_cast<const unsigned short*>(p))});
}

// The quad's elements of a tensor of T; those past the sample's end are 0.
template <class T, class Q>
__device__ __forceinline__ Four::F load_quad(const void* tensor, const Q& quad) {
  const T* p = static_cast<const T*>(tensor);
  if (quad.vector)
    return Packed<T>::unpack(__ldg(reinterpret_cast<const typename Packed<T>::Words*>(p + quad.offset(0))));
  return Four::each<Four::F>([&](int k) { return k < quad.count ? load_one(p + quad.offset(k)) : 0.0f; });
}

template <class T, class Q>
__device__ __forceinline__ void store_quad(void* tensor, const Q& quad, const Four::F& x) {
  T* p = static_cast<T*>(tensor);
  if (quad.vector) {
    // An assignment may be taken apart by the compiler; this stays one store.
    __stwb(reinterpret_cast<typename Packed<T>::Words*>(p + quad.offset(0)), Packed<T>::pack(x));
    return;
  }
  GENFAST_UNROLL
  for (int k = 0; k < 4; ++k)
    if (k < quad.count) p[quad.offset(k)] = from_float<T>(x.v[k]);
}

template <bool kNormal, class Q>
__device__ __forceinline__ Four::F draw_quad(uint64_t seed, uint32_t stream, const Q& quad) {
  Four::F z;
  noise_quad(noise_counter(stream, static_cast<uint64_t>(quad.index)), seed, kNormal, z.v);
  return z;
}

// What this thread works on. Threads at the edges of the grid find no sample (it is past the batch) or no quad.
// There is no loop over the grid: it would hold twice the registers.
__device__ __forceinline__ int64_t thread_sample() {
  const int64_t row = static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  return row * blockDim.y + threadIdx.y;
}
template <bool kChannelsLast>
__device__ __forceinline__ Quad<kChannelsLast> thread_quad(const QuadPlan& plan, int64_t sample) {
  return quad_at<kChannelsLast>(plan, sample, static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x);
}

// Launches kernel(params, plan) over the plan's quads; the kernel is a choice of dense and channels_last.
template <class Params>
void launch_quads(const char* op, CudaStream stream, void (*dense)(Params, QuadPlan),
                  void (*channels_last)(Params, QuadPlan), const Params& params, const QuadPlan& plan) {
  if (plan.empty()) return;
  const dim3 threads = quad_threads(plan);
  const dim3 blocks = quad_blocks((plan.slots + threads.x - 1) / threads.x, plan.batch, threads);
  launch(op, stream, plan.channels ? channels_last : dense, blocks, threads, 0, params, plan);
}

}  // namespace genfast
