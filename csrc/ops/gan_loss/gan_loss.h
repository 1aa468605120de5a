// The losses of generative adversarial networks and their gradients by the logits, in one pass: every kind is a sum of
// functions of single numbers, one function for the real logits and one for the fake ones.
#pragma once

#include "common/dtype.h"
#include "common/exp.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/scalar.h"
#include "ops/diffusion_loss/diffusion_loss.h"

namespace genfast {

// In the order of FORMS and PAIRINGS of genfast/ops/gan_loss/terms.py, where the formulas are.
enum class Form : int { none = 0, logistic = 1, saturating = 2, hinge = 3, linear = 4, square = 5 };
enum class Pairing : int { none = 0, average = 1, paired = 2 };

struct Term {
  Form form;
  float direction, parameter;
};

struct GanLoss {
  // [batch, numel] in one layout.
  const void* real;      // dtype, or null
  const void* fake;      // dtype
  float* real_gradient;  // or null: not wanted
  float* fake_gradient;  // or null: not wanted
  DType dtype;
  int64_t batch, numel;
  const float* weight;  // [batch], or null: 1
  Term real_term, fake_term;
  Pairing pairing;
  Reduction reduction;
  float* loss;        // a scalar, or [batch] for Reduction::none
  float* shares;      // [2]: of real logits above 0, of fake ones below 0; or null
  double* workspace;  // of the CUDA kernel

  int64_t total() const { return batch * numel; }
  // Samples that need no sum of their own are one row.
  bool flat() const { return weight == nullptr && reduction != Reduction::none; }
  int64_t rows() const { return flat() ? 1 : batch; }
  int64_t length() const { return flat() ? batch * numel : numel; }
  bool reads_real() const { return real != nullptr; }
  GENFAST_HD float weight_of(int64_t row) const { return weight != nullptr ? weight[row] : 1.0f; }
  // What a sum of a row's terms is multiplied by, but for its weight.
  double share() const {
    return (reduction == Reduction::mean ? 1.0 / static_cast<double>(batch) : 1.0) / static_cast<double>(numel);
  }
};

// A term at x and its derivative. The form is the same for all x, so the branch costs next to nothing.
template <class S>
GENFAST_HD void term_at(const Term& term, typename S::F x, typename S::F& value, typename S::F& slope) {
  const auto zero = S::splat(0.0f);
  const float d = term.direction;
  const auto y = x * d;
  if (term.form == Form::logistic || term.form == Form::saturating) {
    // softplus(y) and its slope, exact in both tails.
    const auto e = exp<S>(-absolute<S>(y));
    const auto larger = S::divide(S::splat(1.0f), e + 1.0f);
    value = S::maximum(y, zero) + log1p<S>(e);
    slope = S::select(y > 0.0f, larger, e * larger) * d;
    if (term.form == Form::saturating) {
      value = -value;
      slope = -slope;
    } else if (term.parameter != 0.0f) {
      value = S::fma(x, S::splat(term.parameter), value);
      slope = slope + term.parameter;
    }
  } else if (term.form == Form::hinge) {
    value = S::maximum(y + 1.0f, zero);
    slope = S::select(y + 1.0f <= 0.0f, zero, S::splat(d));
  } else if (term.form == Form::linear) {
    value = y;
    slope = S::splat(d);
  } else if (term.form == Form::square) {
    slope = x - term.parameter;
    value = slope * slope * 0.5f;
  } else {
    value = zero;
    slope = zero;
  }
}

// Both terms of a pair of logits. A pair's own term gives the slopes by its two logits.
template <class S>
GENFAST_HD void terms_at(const Term& real_term, const Term& fake_term, Pairing pairing, typename S::F real,
                         typename S::F fake, float real_mean, float fake_mean, typename S::F& value,
                         typename S::F& real_slope, typename S::F& fake_slope) {
  if (pairing == Pairing::paired) {
    term_at<S>(fake_term, fake - real, value, fake_slope);
    real_slope = -fake_slope;
    return;
  }
  if (pairing == Pairing::average) {
    real = real - fake_mean;
    fake = fake - real_mean;
  }
  typename S::F real_value;
  term_at<S>(real_term, real, real_value, real_slope);
  term_at<S>(fake_term, fake, value, fake_slope);
  value = value + real_value;
}

// The CUDA kernel sums so many logits at a time; doubles of its workspace are in gan_loss_cuda.cu's order.
constexpr int64_t kGanChunk = 4096;
inline int64_t gan_chunks(int64_t length) { return (length + kGanChunk - 1) / kGanChunk; }
inline int64_t gan_loss_workspace(int64_t batch, int64_t numel, bool flat) {
  return 4 + 5 * (flat ? gan_chunks(batch * numel) : batch * gan_chunks(numel));
}

GENFAST_CPU_KERNEL(gan_loss, GanLoss)
GENFAST_CUDA_KERNEL(gan_loss, GanLoss)

}  // namespace genfast
