// Sixteen bytes of a tensor in a thread, and the biases beside them.
#pragma once

#include "bias_act.h"
#include "common/quads.cuh"

namespace genfast {

template <class T>
struct Vector {
  static constexpr int kFours = 4 / sizeof(T), kCount = 4 * kFours;
  Four::F v[kFours];
};

// What a thread works on: `count` elements from `first`. `aligned`: all sixteen bytes exist, and are one access.
struct VectorAt {
  int64_t first;
  int count;
  bool aligned;
};

inline bool aligned16(std::initializer_list<const void*> tensors) {
  uintptr_t bits = 0;
  for (const void* tensor : tensors) bits |= reinterpret_cast<uintptr_t>(tensor) % 16;
  return bits == 0;
}

// Not past the coherent path: an op in place reads what it writes.
template <class T>
__device__ __forceinline__ Vector<T> load_vector(const void* tensor, const VectorAt& at) {
  const T* p = static_cast<const T*>(tensor) + at.first;
  T elements[Vector<T>::kCount] = {};
  if (at.aligned) {
    const float4 words = *reinterpret_cast<const float4*>(p);
    memcpy(elements, &words, sizeof words);
  } else {
    GENFAST_UNROLL
    for (int k = 0; k < Vector<T>::kCount; ++k)
      if (k < at.count) elements[k] = p[k];
  }
  Vector<T> r;
  GENFAST_UNROLL
  for (int k = 0; k < Vector<T>::kCount; ++k) r.v[k / 4].v[k % 4] = to_float(elements[k]);
  return r;
}

template <class T>
__device__ __forceinline__ void store_vector(void* tensor, const VectorAt& at, const Vector<T>& x) {
  T* p = static_cast<T*>(tensor) + at.first;
  T elements[Vector<T>::kCount];
  GENFAST_UNROLL
  for (int k = 0; k < Vector<T>::kCount; ++k) elements[k] = from_float<T>(x.v[k / 4].v[k % 4]);
  if (at.aligned) {
    float4 words;
    memcpy(&words, elements, sizeof words);
    __stwb(reinterpret_cast<float4*>(p), words);
    return;
  }
  GENFAST_UNROLL
  for (int k = 0; k < Vector<T>::kCount; ++k)
    if (k < at.count) p[k] = elements[k];
}

// x += the residual.
template <class T>
__device__ __forceinline__ void add_residual(Vector<T>& x, const void* residual, const VectorAt& at) {
  if (residual == nullptr) return;
  const Vector<T> r = load_vector<T>(residual, at);
  GENFAST_UNROLL
  for (int k = 0; k < Vector<T>::kFours; ++k) x.v[k] = x.v[k] + r.v[k];
}

// x += b(k), k counting the vector's elements.
template <class T, class Bias>
__device__ __forceinline__ void add_bias(Vector<T>& x, int count, Bias&& b) {
  GENFAST_UNROLL
  for (int k = 0; k < Vector<T>::kCount; ++k)
    if (k < count) x.v[k / 4].v[k % 4] += b(k);
}

}  // namespace genfast
