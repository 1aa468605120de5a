// The Python arguments that gaussian_kl and its gradient have in common.
#pragma once

#include "common/bind.h"
#include "common/direct_call.h"
#include "gaussian_kl.h"

namespace genfast {

// (mu, logvar, noise, pointers; mu_pitch, logvar_pitch, dtype, batch, numel, channels, seeds, seed, stream, free_bits)
using PosteriorTuple = std::tuple<uintptr_t, uintptr_t, uintptr_t, int64_t, int64_t, int, int64_t, int64_t, int64_t,
                                  uintptr_t, int64_t, uint32_t, double>;

template <class P>
P posterior(const PosteriorTuple& t) {
  P p{};
  uintptr_t mu, logvar, noise, seeds;
  int dtype;
  double free_bits;
  std::tie(mu, logvar, noise, p.mu_pitch, p.logvar_pitch, dtype, p.extent.batch, p.extent.numel, p.extent.channels,
           seeds, p.source.seed, p.stream, free_bits) = t;
  p.mu = as_pointer<const void>(mu);
  p.logvar = as_pointer<const void>(logvar);
  p.noise = as_pointer<const void>(noise);
  p.source.seeds = as_pointer<const int64_t>(seeds);
  p.dtype = static_cast<DType>(dtype);
  p.free_bits = static_cast<float>(free_bits);
  return p;
}

// From the Python objects (mu, logvar, noise, (seeds, stream, beta, free_bits, reduction)) on, with the numbers that
// the sum of the divergence takes; false where the call must decline.
template <class P>
bool direct_posterior(DirectArguments& direct, PyObject* const* args, P& p, LossSum& kl) {
  int64_t reduction;
  double beta, free_bits;
  if (!PyTuple_CheckExact(args[3]) || PyTuple_GET_SIZE(args[3]) != 5) return false;
  PyObject* const* draw = &PyTuple_GET_ITEM(args[3], 0);
  PyObject* const seeds = draw[0];
  if (!direct.primary(args[0], &p.mu_pitch) || !direct.beside(args[1], p.logvar, false, nullptr, &p.logvar_pitch) ||
      !direct.beside(args[2], p.noise, true, nullptr) || (args[2] == Py_None) == (seeds == Py_None) ||
      (seeds != Py_None && !direct.seeds(seeds, p.source)) || !direct.stream(draw[1], p.stream) ||
      !direct.not_negative(draw[2], beta) || !direct.not_negative(draw[3], free_bits) ||
      !direct.integer(draw[4], reduction))
    return false;
  p.mu = direct.data();
  p.dtype = direct.dtype();
  p.extent = direct.extent();
  p.free_bits = static_cast<float>(free_bits);
  kl = LossSum::of(static_cast<LossReduction>(reduction), p.extent, beta);
  return true;
}

}  // namespace genfast
