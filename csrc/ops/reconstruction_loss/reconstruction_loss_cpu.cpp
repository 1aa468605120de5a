#include "reconstruction_loss.h"

#include <vector>

#include "common/elementwise.h"
#include "common/loss_sum_cpu.h"

namespace genfast::GENFAST_ISA {
namespace {

template <Reconstruction kKind, class P, class T>
void run(const ReconstructionLoss& p) {
  const int64_t numel = p.extent.numel, batch = p.extent.batch;
  const RunPlan plan(numel, kBuffer);
  const bool streaming = p.gradient != nullptr && past_caches(p.gradient, p.extent, sizeof(P), false);
  const int64_t grain = (kKind == Reconstruction::bce_logits ? kNoiseGrain : kElementwiseGrain);
  std::vector<double> partial(batch * plan.pieces);
  parallel_for(batch * plan.pieces, grain / std::max<int64_t>(std::min(kBuffer, numel), 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t sample = item / plan.pieces, first = item % plan.pieces * kBuffer;
                   const int64_t at = sample * numel + first, n = std::min(kBuffer, numel - first);
                   const P* prediction = static_cast<const P*>(p.prediction) + at;
                   const T* target = static_cast<const T*>(p.target) + at;
                   if (p.gradient == nullptr) {
                     partial[item] = sum_vectors(n, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
                       return reconstruction<Simd, false>(kKind, io.load(prediction + i), io.load(target + i)).loss;
                     });
                     continue;
                   }
                   P* gradient = static_cast<P*>(p.gradient) + at;
                   const float scale = p.gradient_scale(sample);
                   partial[item] = sum_vectors(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
                     const auto l = reconstruction<Simd, true>(kKind, io.load(prediction + i), io.load(target + i));
                     io.store(gradient + i, l.slope * scale);
                     return l.loss;
                   });
                 }
                 finish_streaming();
               });
  finish_loss(partial.data(), batch, plan.pieces, p.weight, p.loss);
}

template <class P, class T>
void run(const ReconstructionLoss& p) {
  switch (p.kind) {
    case Reconstruction::mse:
      return run<Reconstruction::mse, P, T>(p);
    case Reconstruction::l1:
      return run<Reconstruction::l1, P, T>(p);
    case Reconstruction::bce_logits:
      return run<Reconstruction::bce_logits, P, T>(p);
  }
}

}  // namespace

void reconstruction_loss(const ReconstructionLoss& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    dispatch_dtype(p.target_dtype, [&](auto* target_type) {
      run<std::remove_pointer_t<decltype(type)>, std::remove_pointer_t<decltype(target_type)>>(p);
    });
  });
}

}  // namespace genfast::GENFAST_ISA
