// Memory of a thread that starts convolutions, and barriers for the threads that help it.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/isa.h"

namespace genfast {

// At least `bytes`, aligned to a cache line, of the calling thread until its next call.
char* workspace(int64_t bytes);

namespace GENFAST_ISA {

// Waits in a loop for as long as a stage takes, then lets others run: there may be more threads than processors.
class alignas(64) Barrier {
 public:
  void wait(int64_t members) {
    if (members == 1) return;
    const int64_t turn = turn_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      return;
    }
    for (int64_t spins = 0; turn_.load(std::memory_order_acquire) == turn; ++spins) {
      if (spins > kSpins) sched_yield();
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }

 private:
  static constexpr int64_t kSpins = 2000;
  std::atomic<int64_t> arrived_{0}, turn_{0};
};

}  // namespace GENFAST_ISA
}  // namespace genfast
