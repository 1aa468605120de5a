// Loops over threads by the OpenMP runtime that torch has loaded: one pool, one thread count, and no
// runtime of our own in the wheel. Its entry points are looked up at the first loop (parallel.cpp).
#pragma once

#include <algorithm>
#include <cstdint>

namespace genfast {

// How many threads a loop started here may use: torch.get_num_threads(), or 1 inside another loop.
int max_threads();

// Runs body(context, thread, threads) on every thread of a team.
void run_team(int threads, void (*body)(void* context, int thread, int threads), void* context);

// f(begin, end) over an even split of [0, n), with at least `grain` items to a thread; a small loop
// stays on the calling thread.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  const int64_t wanted = std::min<int64_t>(n / std::max<int64_t>(grain, 1), n > grain ? max_threads() : 1);
  if (wanted <= 1) {
    if (n > 0) f(int64_t{0}, n);
    return;
  }
  struct Context {
    F& f;
    int64_t n;
  } context{f, n};
  run_team(
      static_cast<int>(wanted),
      [](void* pointer, int thread, int threads) {
        auto& c = *static_cast<Context*>(pointer);
        const int64_t begin = c.n * thread / threads, end = c.n * (thread + 1) / threads;
        if (begin < end) c.f(begin, end);
      },
      &context);
}

}  // namespace genfast
