// Runs the threads of a block as fibers on one thread of the host. A fiber takes threads one after another; only when
// a thread waits does another fiber go on with the rest, so that a kernel without barriers is a plain loop.
#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda.h"
#include "shared_array.h"

namespace genfast::emulator {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kMaxSharedBytes = 227 << 10;  // compute capability 9.0
constexpr unsigned kWarp = 32;

enum class State { unstarted, ready, in_barrier, in_exchange, in_vote, finished };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
};

struct Thread {
  State state = State::unstarted;
  Fiber* fiber = nullptr;
  Place place{};
  unsigned mask = 0, lane = 0;
  uint64_t given = 0, taken = 0;
};

struct Machine {
  std::mt19937_64 random;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  Fiber* fiber = nullptr;  // that is running
  ucontext_t scheduler;
  uint64_t launches = 0;

  // Of the block that is running.
  const std::function<void()>* body = nullptr;
  std::vector<Thread> threads;
  std::vector<unsigned> order;  // of starting
  size_t started = 0, finished = 0;
  std::vector<unsigned> ready;
  unsigned current = 0;
  std::map<const void*, SharedArray> shared;
  std::exception_ptr error;
};

std::mutex one_launch;
Machine machine;

dim3 coordinates(unsigned index) {
  return dim3(index % blockDim.x, index / blockDim.x % blockDim.y, index / blockDim.x / blockDim.y);
}
std::string describe(dim3 at) {
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}
std::string describe(Place place) { return std::string(place.file) + ":" + std::to_string(place.line); }

void become(unsigned index) {
  machine.current = index;
  threadIdx = coordinates(index);
}

void run_threads() {
  for (;;) {
    while (machine.started < machine.order.size() && !machine.error) {
      become(machine.order[machine.started++]);
      try {
        (*machine.body)();
      } catch (...) {
        machine.error = std::current_exception();
      }
      machine.threads[machine.current].state = State::finished;
      ++machine.finished;
    }
    machine.idle.push_back(machine.fiber);
    swapcontext(&machine.fiber->context, &machine.scheduler);
  }
}

void enter(Fiber* fiber) {
  machine.fiber = fiber;
  swapcontext(&machine.scheduler, &fiber->context);
}

Fiber* idle_fiber() {
  if (!machine.idle.empty()) {
    Fiber* fiber = machine.idle.back();
    machine.idle.pop_back();
    return fiber;
  }
  machine.fibers.push_back(std::make_unique<Fiber>());
  Fiber* fiber = machine.fibers.back().get();
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, run_threads, 0);
  return fiber;
}

// Lets the scheduler run others until the thread may go on.
void wait(State state, Place place) {
  const unsigned self = machine.current;
  machine.threads[self].state = state;
  machine.threads[self].place = place;
  machine.threads[self].fiber = machine.fiber;
  swapcontext(&machine.fiber->context, &machine.scheduler);
}

bool meet(const Thread& a, const Thread& b) {
  return a.state == b.state && a.place.line == b.place.line && a.mask == b.mask &&
         !std::strcmp(a.place.file, b.place.file);
}

void release(unsigned index) {
  machine.threads[index].state = State::ready;
  machine.ready.push_back(index);
}

// The lanes of `mask` in a warp, as far as the block has them.
template <class F>
void for_each_lane(unsigned first, unsigned mask, F&& f) {
  for (unsigned lane = 0; lane < kWarp && first + lane < machine.threads.size(); ++lane)
    if (mask >> lane & 1u) f(lane, machine.threads[first + lane]);
}

// Completes a shuffle or a vote for which every lane has come.
bool complete_warp(unsigned first, const Thread& caller) {
  bool whole = true;
  unsigned votes = 0;
  for_each_lane(first, caller.mask, [&](unsigned lane, const Thread& thread) {
    whole = whole && meet(thread, caller);
    votes |= static_cast<unsigned>(thread.given & 1u) << lane;
  });
  if (!whole) return false;
  const bool vote = caller.state == State::in_vote;
  const unsigned mask = caller.mask;
  for_each_lane(first, mask, [&](unsigned, Thread& thread) {
    const unsigned source = first + thread.lane;
    const bool given = mask >> thread.lane & 1u && source < machine.threads.size();
    thread.taken = vote ? votes : given ? machine.threads[source].given : ~uint64_t{0};
  });
  for_each_lane(first, mask, [&](unsigned lane, Thread&) { release(first + lane); });
  return true;
}

// Nobody can go on: completes whatever is complete, or says who keeps whom waiting.
void release_waiting() {
  const size_t n = machine.threads.size();
  for (unsigned index = 0; index < n; ++index) {
    const Thread& thread = machine.threads[index];
    if (thread.state == State::in_exchange || thread.state == State::in_vote)
      complete_warp(index / kWarp * kWarp, thread);
  }
  if (!machine.ready.empty()) return;
  const auto waiting = std::find_if(machine.threads.begin(), machine.threads.end(),
                                    [](const Thread& t) { return t.state != State::finished; });
  const auto other =
      std::find_if(machine.threads.begin(), machine.threads.end(), [&](const Thread& t) { return !meet(t, *waiting); });
  if (waiting->state == State::in_barrier && other == machine.threads.end()) {
    for (unsigned index = 0; index < n; ++index) release(index);
    return;
  }
  const auto name = [](auto thread) {
    return "thread " + describe(coordinates(static_cast<unsigned>(thread - machine.threads.begin())));
  };
  std::string message = name(waiting) + " waits at " + describe(waiting->place);
  if (other == machine.threads.end()) throw std::runtime_error(message + " for lanes that the block does not have");
  message += other->state == State::finished ? ", but " + name(other) + " has ended"
                                             : ", but " + name(other) + " waits at " + describe(other->place);
  throw std::runtime_error(message);
}

void run_block() {
  const size_t n = size_t{blockDim.x} * blockDim.y * blockDim.z;
  machine.threads.assign(n, Thread{});
  machine.order.resize(n);
  std::iota(machine.order.begin(), machine.order.end(), 0u);
  std::shuffle(machine.order.begin(), machine.order.end(), machine.random);
  machine.started = machine.finished = 0;
  while (machine.finished < n) {
    if (machine.error) std::rethrow_exception(std::exchange(machine.error, nullptr));
    if (!machine.ready.empty()) {
      const unsigned index = machine.ready.back();
      machine.ready.pop_back();
      become(index);
      enter(machine.threads[index].fiber);
    } else if (machine.started < n) {
      enter(idle_fiber());
    } else {
      release_waiting();
      std::shuffle(machine.ready.begin(), machine.ready.end(), machine.random);
    }
  }
  if (machine.error) std::rethrow_exception(std::exchange(machine.error, nullptr));
  for (const auto& [place, array] : machine.shared)
    if (!array.intact()) throw std::runtime_error("a thread wrote past an array of shared memory");
}

void check_grid(dim3 blocks, dim3 threads, size_t shared) {
  const size_t n = size_t{threads.x} * threads.y * threads.z;
  if (n == 0 || n > 1024 || threads.z > 64)
    throw std::runtime_error("a block cannot have threads " + describe(threads));
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0 || blocks.x > 0x7FFFFFFFu || blocks.y > 65535 || blocks.z > 65535)
    throw std::runtime_error("a grid cannot have blocks " + describe(blocks));
  if (shared > kMaxSharedBytes) throw std::runtime_error("a block cannot have so much shared memory");
}

void run_grid(dim3 blocks, size_t shared, const std::function<void()>& thread) {
  machine.body = &thread;
  std::vector<uint64_t> order(uint64_t{blocks.x} * blocks.y * blocks.z);
  std::iota(order.begin(), order.end(), uint64_t{0});
  std::shuffle(order.begin(), order.end(), machine.random);
  for (const uint64_t block : order) {
    blockIdx = dim3(static_cast<unsigned>(block % blocks.x), static_cast<unsigned>(block / blocks.x % blocks.y),
                    static_cast<unsigned>(block / blocks.x / blocks.y));
    machine.shared.clear();
    machine.shared.emplace(&machine, SharedArray(shared));
    run_block();
  }
}

}  // namespace

void set_order(uint64_t seed) { machine.random.seed(seed); }
uint64_t launches() { return machine.launches; }

void check_aligned(const void* address, size_t size) {
  if (reinterpret_cast<uintptr_t>(address) % size != 0)
    throw std::runtime_error("a thread reads or writes " + std::to_string(size) +
                             " bytes at an address that is no multiple");
}

void* shared_memory(const void* place, size_t bytes) {
  return machine.shared.try_emplace(place, bytes).first->second.start();
}
void* dynamic_shared_memory() { return machine.shared.at(&machine).start(); }

unsigned lane_of_thread() { return machine.current % kWarp; }

void wait_for_block(Place place) { wait(State::in_barrier, place); }

static Thread& join_warp(unsigned mask, uint64_t given) {
  Thread& thread = machine.threads[machine.current];
  if (!(mask >> lane_of_thread() & 1u)) throw std::runtime_error("a thread is not in the mask it gives to its warp");
  thread.mask = mask;
  thread.given = given;
  return thread;
}

uint64_t exchange(unsigned mask, uint64_t word, unsigned lane, Place place) {
  Thread& thread = join_warp(mask, word);
  thread.lane = lane;
  wait(State::in_exchange, place);
  return thread.taken;
}

unsigned vote(unsigned mask, bool value, Place place) {
  Thread& thread = join_warp(mask, value);
  wait(State::in_vote, place);
  return static_cast<unsigned>(thread.taken);
}

void launch(const char* op, dim3 blocks, dim3 threads, size_t shared, const std::function<void()>& thread) {
  const std::lock_guard<std::mutex> lock(one_launch);
  ++machine.launches;
  gridDim = blocks;
  blockDim = threads;
  try {
    check_grid(blocks, threads, shared);
    run_grid(blocks, shared, thread);
  } catch (const std::exception& error) {
    // Threads that wait are dropped with their stacks.
    machine.fibers.clear();
    machine.idle.clear();
    machine.ready.clear();
    machine.error = nullptr;
    throw std::runtime_error(std::string(op) + ": emulated CUDA: " + error.what());
  }
}

}  // namespace genfast::emulator
