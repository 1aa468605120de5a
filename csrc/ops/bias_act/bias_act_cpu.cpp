#include "bias_rows.h"

namespace genfast::GENFAST_ISA {
namespace {

template <Activation A, class T>
void run(const BiasAct& p, const BiasRows& rows) {
  const bool shared = rows.channels > 0, resides = p.epilogue.residual != nullptr;
  const T* x = static_cast<const T*>(p.x);
  const T* residual = static_cast<const T*>(p.epilogue.residual);
  T* out = static_cast<T*>(p.out);
  const int64_t bytes = sizeof(T);
  const bool streaming = p.x != p.out && rows.numel * bytes >= kPastCaches && rows.length * bytes % 64 == 0 &&
                         reinterpret_cast<uintptr_t>(out) % 64 == 0;
  parallel_for(rows.pieces(), rows.grain(), [&](int64_t begin, int64_t end) {
    // By value, so that the compiler knows that no store changes it.
    const Epilogue e = p.epilogue;
    for (int64_t index = begin; index < end; ++index) {
      rows.for_each_row(rows.piece(index), [&](int64_t, int64_t offset, int64_t n, const float* bias) {
        const T* from = x + offset;
        const T* beside = resides ? residual + offset : nullptr;
        T* to = out + offset;
        for_each_vector(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
          const VF z = biased(from + i, resides ? beside + i : nullptr, shared ? bias : bias + i, shared, io);
          io.store(to + i, finish<A, Simd>(z, e));
        });
      });
    }
    finish_streaming();
  });
}

}  // namespace

void bias_act(const BiasAct& p) {
  const BiasRows rows(p.shape, p.epilogue.bias);
  dispatch_dtype(p.dtype, [&](auto* type) {
    dispatch_activation(p.epilogue.act, [&](auto act) { run<act(), std::remove_pointer_t<decltype(type)>>(p, rows); });
  });
}

}  // namespace genfast::GENFAST_ISA
