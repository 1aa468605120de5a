// An update of Adam (Kingma and Ba 2015, algorithm 1) with decoupled decay (Loshchilov and Hutter 2019, algorithm 2)
// and of the moving average of the weights, in one pass: each is a few operations on what has to be read and written
// anyway.
#pragma once

#include "common/isa.h"
#include "common/launch.h"
#include "common/macros.h"

namespace genfast {

// What numbers become in it, computed in double.
struct AdamNumbers {
  float scale;         // of the gradient
  float shrink;        // 1 - lr * decay
  float beta1, rest1;  // and 1 - beta1
  float beta2, rest2;  // and 1 - beta2
  float size;          // lr / (1 - beta1^t)
  float root;          // 1 / sqrt(1 - beta2^t)
  float eps;
  float toward;  // of the average, to the new weight
};

// float32 [numel] each, of one layout. Results may be written over what they are made of.
struct Adam {
  const float *weight, *gradient, *first, *second;
  const float* average;  // or null
  float *new_weight, *new_first, *new_second, *new_average;
  int64_t numel;
  AdamNumbers numbers;
};

// Updates of all weights of a network, whose gradients are scaled to the norm `limit` where theirs is larger.
struct AdamStep {
  Adam* each;
  int64_t count;
  double limit;  // negative: none
  double* norm;  // of all gradients; where it is not finite nothing is updated
};

template <class S>
struct AdamUpdate {
  typename S::F weight, first, second;

  GENFAST_HD AdamUpdate(const AdamNumbers& n, typename S::F w, typename S::F gradient, typename S::F m,
                        typename S::F v) {
    const auto g = gradient * n.scale;
    first = m * n.beta1 + g * n.rest1;
    second = v * n.beta2 + g * n.rest2 * g;
    const auto denominator = S::sqrt(second) * n.root + n.eps;
    weight = w * n.shrink - S::divide(first * n.size, denominator);
  }
  // As PyTorch's lerp, so that all the way leads to the weight itself.
  GENFAST_HD typename S::F average(const AdamNumbers& n, typename S::F a) const {
    const auto way = weight - a;
    return n.toward < 0.5f ? a + way * n.toward : weight - way * (1.0f - n.toward);
  }
};

GENFAST_CPU_KERNEL(adam, Adam)
GENFAST_CPU_KERNEL(adam_step, AdamStep)
GENFAST_CUDA_KERNEL(adam, Adam)

}  // namespace genfast
