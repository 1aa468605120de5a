// The part of CUDA C++ that the kernels use, for a host compiler: a .cu file that includes common/launch.cuh compiles
// as C++, and its kernels run on the CPU. For tests only; emulator.cpp has the machine.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint2 {
  unsigned x, y;
};
struct float4 {
  float x, y, z, w;
};

// Of the thread that is running.
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

// The thread block's memory, filled with NaN; one array for each place in the code that asks.
#define GENFAST_SHARED(T, name, size) \
  static const char name##_place = 0; \
  T(&name)[size] = *static_cast<T(*)[size]>(genfast::emulator::shared_memory(&name##_place, sizeof(T) * (size)))
#define GENFAST_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(genfast::emulator::dynamic_shared_memory())

namespace genfast::emulator {

// Runs `thread` for every thread of the grid: blocks one after another and threads as fibers, both in an order drawn
// from the seed. Throws std::runtime_error where a GPU would hang or do as it likes: a barrier that some threads
// leave out, a shuffle with lanes missing, writes past shared memory, a grid that cannot be.
void launch(const char* op, dim3 blocks, dim3 threads, size_t shared, const std::function<void()>& thread);
void set_order(uint64_t seed);
uint64_t launches();  // so far

void check_aligned(const void* address, size_t size);  // throws std::runtime_error
void* shared_memory(const void* place, size_t bytes);
void* dynamic_shared_memory();

// Where in the code a thread waits: threads that meet must wait at one place.
struct Place {
  const char* file;
  int line;
};

void wait_for_block(Place place);
// Every lane of `mask` gives `word` and gets that of `lane`; noise if `lane` gave none.
uint64_t exchange(unsigned mask, uint64_t word, unsigned lane, Place place);
// Bit i is set where lane i of `mask` gave true.
unsigned vote(unsigned mask, bool value, Place place);
unsigned lane_of_thread();

// The lane that a shuffle reads: of the same group of `width` lanes, else the thread's own.
inline unsigned source_lane(int64_t lane, unsigned width) {
  const unsigned own = lane_of_thread(), first = own / width * width;
  return lane >= first && lane < first + width ? static_cast<unsigned>(lane) : own;
}
template <class T>
T shuffle(unsigned mask, T value, int64_t lane, unsigned width, Place place) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most eight bytes");
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  word = exchange(mask, word, source_lane(lane, width), place);
  std::memcpy(&value, &word, sizeof value);
  return value;
}

}  // namespace genfast::emulator

// Arguments that hold the place of the call.
#define GENFAST_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(GENFAST_HERE) { genfast::emulator::wait_for_block({file, line}); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, GENFAST_HERE) { genfast::emulator::vote(mask, true, {file, line}); }
inline unsigned __ballot_sync(unsigned mask, bool value, GENFAST_HERE) {
  return genfast::emulator::vote(mask, value, {file, line});
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, unsigned width = 32, GENFAST_HERE) {
  const unsigned first = genfast::emulator::lane_of_thread() / width * width;
  return genfast::emulator::shuffle(mask, value, first + lane % width, width, {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, unsigned width = 32, GENFAST_HERE) {
  return genfast::emulator::shuffle(mask, value, int64_t{genfast::emulator::lane_of_thread()} + by, width,
                                    {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, unsigned width = 32, GENFAST_HERE) {
  return genfast::emulator::shuffle(mask, value, int64_t{genfast::emulator::lane_of_thread()} - by, width,
                                    {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned bits, unsigned width = 32, GENFAST_HERE) {
  return genfast::emulator::shuffle(mask, value, genfast::emulator::lane_of_thread() ^ bits, width, {file, line});
}

// Threads take turns, so that a plain update is atomic.
template <class T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address = before + value;
  return before;
}
template <class T>
T atomicMax(T* address, T value) {
  const T before = *address;
  *address = std::max(before, value);
  return before;
}
template <class T>
T atomicCAS(T* address, T expected, T value) {
  const T before = *address;
  if (before == expected) *address = value;
  return before;
}

// A GPU faults where a vector is not aligned to its size.
template <class T>
T __ldg(const T* address) {
  genfast::emulator::check_aligned(address, sizeof(T));
  return *address;
}
template <class T>
void __stwb(T* address, T value) {
  genfast::emulator::check_aligned(address, sizeof(T));
  *address = value;
}
