#include "vectors.cuh"

namespace genfast {
namespace {

// Which bias an element has. A division in 64 bits is slow, and mostly not needed.
__device__ __forceinline__ int64_t channel_of(const BiasShape& shape, int64_t element, bool narrow) {
  if (narrow)
    return static_cast<uint32_t>(element) / static_cast<uint32_t>(shape.inner) % static_cast<uint32_t>(shape.channels);
  return element / shape.inner % shape.channels;
}

template <Activation A, class T>
__global__ void __launch_bounds__(kBlockThreads)
    bias_act_kernel(const __grid_constant__ BiasAct p, int64_t numel, bool aligned) {
  constexpr int kCount = Vector<T>::kCount;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCount;
  if (first >= numel) return;
  const int count = static_cast<int>(numel - first < kCount ? numel - first : kCount);
  const VectorAt at{first, count, aligned && count == kCount};
  Vector<T> x = load_vector<T>(p.x, at);
  const float* bias = p.epilogue.bias;
  if (bias != nullptr) {
    const bool narrow = numel <= int64_t{1} << 32;
    const int64_t channel = channel_of(p.shape, first, narrow);
    if (p.shape.inner % kCount == 0) {
      const float b = __ldg(bias + channel);
      add_bias<T>(x, kCount, [&](int) { return b; });
    } else if (p.shape.inner == 1 && channel + kCount <= p.shape.channels) {
      add_bias<T>(x, count, [&](int k) { return __ldg(bias + channel + k); });
    } else {
      add_bias<T>(x, count, [&](int k) { return __ldg(bias + channel_of(p.shape, first + k, narrow)); });
    }
  }
  add_residual<T>(x, p.epilogue.residual, at);
  GENFAST_UNROLL
  for (int k = 0; k < Vector<T>::kFours; ++k) x.v[k] = finish<A, Four>(x.v[k], p.epilogue);
  store_vector<T>(p.out, at, x);
}

}  // namespace

void bias_act_cuda(const BiasAct& p, CudaStream stream) {
  const int64_t numel = p.shape.numel();
  if (numel == 0) return;
  const bool aligned = aligned16({p.x, p.out, p.epilogue.residual});
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t block = kBlockThreads * Vector<T>::kCount;
    const dim3 blocks(static_cast<unsigned>((numel + block - 1) / block));
    dispatch_activation(p.epilogue.act, [&](auto act) {
      launch("bias_act", stream, bias_act_kernel<decltype(act)::value, T>, blocks, kBlockThreads, 0, p, numel, aligned);
    });
  });
}

}  // namespace genfast
