#include "gan_loss.h"

#include "common/quads.cuh"
#include "common/reduce.cuh"

namespace genfast {
namespace {

constexpr int kWarps = kBlockThreads / 32;
constexpr int kSums = 5;
// Where in the workspace: the means of real and fake logits; then those of the slopes; then the partial sums, each
// quantity's side by side: values, slopes (or logits) of real and fake, logits above and below 0.
constexpr int64_t kSlopes = 2, kPartial = 4;

// Made on the host: rows of logits, cut into chunks of which a row of threads sums one.
struct ChunkPlan {
  int64_t rows, length, chunks, total;
  float share;
  double exact_share;

  GENFAST_HD int64_t items() const { return rows * chunks; }
};

// Calls f(row, first, last) for this thread's chunk, and gives its item; -1 past the last.
template <class F>
__device__ __forceinline__ int64_t for_chunk(const ChunkPlan& plan, F&& f) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (item >= plan.items()) return -1;
  const int64_t row = item / plan.chunks, begin = item % plan.chunks * kGanChunk;
  const int64_t end = begin + kGanChunk < plan.length ? begin + kGanChunk : plan.length;
  f(row, row * plan.length + begin, row * plan.length + end);
  return item;
}

// Every thread of the block calls this.
__device__ __forceinline__ void keep_sum(const GanLoss& p, const ChunkPlan& plan, int64_t item, int quantity,
                                         double value, double* sums) {
  const double total = sum_row(value, sums);
  if (threadIdx.x == 0 && item >= 0) p.workspace[kPartial + quantity * plan.items() + item] = total;
}

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    logit_sums_kernel(const __grid_constant__ GanLoss p, const __grid_constant__ ChunkPlan plan) {
  GENFAST_SHARED(double, sums, kWarps);
  double real = 0.0, fake = 0.0;
  const int64_t item = for_chunk(plan, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
      real += load_one(static_cast<const T*>(p.real) + i);
      fake += load_one(static_cast<const T*>(p.fake) + i);
    }
  });
  keep_sum(p, plan, item, 1, real, sums);
  keep_sum(p, plan, item, 2, fake, sums);
}

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    terms_kernel(const __grid_constant__ GanLoss p, const __grid_constant__ ChunkPlan plan) {
  GENFAST_SHARED(double, sums, kWarps);
  const bool average = p.pairing == Pairing::average;
  const float real_mean = average ? static_cast<float>(p.workspace[0]) : 0.0f;
  const float fake_mean = average ? static_cast<float>(p.workspace[1]) : 0.0f;
  double found[kSums] = {};
  const int64_t item = for_chunk(plan, [&](int64_t row, int64_t begin, int64_t end) {
    const float weight = p.weight_of(row), scale = weight * plan.share;
    float values = 0.0f, reals = 0.0f, fakes = 0.0f;  // of at most kGanChunk / blockDim.x logits
    int above = 0, below = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
      const float r = p.real != nullptr ? load_one(static_cast<const T*>(p.real) + i) : 0.0f;
      const float f = load_one(static_cast<const T*>(p.fake) + i);
      float value, real_slope, fake_slope;
      terms_at<Scalar>(p.real_term, p.fake_term, p.pairing, r, f, real_mean, fake_mean, value, real_slope, fake_slope);
      values += value;
      reals += real_slope;
      fakes += fake_slope;
      above += r > 0.0f;
      below += f < 0.0f;
      if (p.real_gradient != nullptr) p.real_gradient[i] = real_slope * scale;
      if (p.fake_gradient != nullptr) p.fake_gradient[i] = fake_slope * scale;
    }
    found[0] = static_cast<double>(values) * weight;
    found[1] = static_cast<double>(reals) * weight;
    found[2] = static_cast<double>(fakes) * weight;
    found[3] = above;
    found[4] = below;
  });
  GENFAST_UNROLL
  for (int k = 0; k < kSums; ++k) keep_sum(p, plan, item, k, found[k], sums);
}

// The sum of quantity `from + blockIdx.x` over all items, by one block, to where it is wanted. `last` follows the
// terms; before them the means of the logits are made.
__global__ void __launch_bounds__(kBlockThreads)
    finish_kernel(const __grid_constant__ GanLoss p, const __grid_constant__ ChunkPlan plan, int from, bool last) {
  GENFAST_SHARED(double, sums, kWarps);
  const int quantity = from + static_cast<int>(blockIdx.x);
  const double* partial = p.workspace + kPartial + quantity * plan.items();
  double total = 0.0;
  for (int64_t i = threadIdx.x; i < plan.items(); i += blockDim.x) total += partial[i];
  total = sum_row(total, sums);
  if (threadIdx.x != 0) return;
  const double mean = total / static_cast<double>(plan.total);
  if (quantity == 0) {
    if (p.reduction != Reduction::none) p.loss[0] = static_cast<float>(total * plan.exact_share);
  } else if (quantity <= 2) {
    p.workspace[(last ? kSlopes : 0) + quantity - 1] = last ? mean * plan.exact_share : mean;
  } else if (p.shares != nullptr) {
    p.shares[quantity - 3] =
        quantity == 3 && p.real == nullptr ? float_from_bits(0x7FC00000u) : static_cast<float>(mean);
  }
}

// The loss of every row, for Reduction::none.
__global__ void __launch_bounds__(kBlockThreads)
    row_losses_kernel(const __grid_constant__ GanLoss p, const __grid_constant__ ChunkPlan plan) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= plan.rows) return;
  double total = 0.0;
  for (int64_t k = 0; k < plan.chunks; ++k) total += p.workspace[kPartial + row * plan.chunks + k];
  p.loss[row] = static_cast<float>(total * plan.exact_share);
}

// A logit moves the average that the other side's logits are taken from.
__global__ void __launch_bounds__(kBlockThreads)
    correct_kernel(const __grid_constant__ GanLoss p, const __grid_constant__ ChunkPlan plan) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= plan.total) return;
  if (p.real_gradient != nullptr) p.real_gradient[i] -= static_cast<float>(p.workspace[kSlopes + 1]);
  if (p.fake_gradient != nullptr) p.fake_gradient[i] -= static_cast<float>(p.workspace[kSlopes]);
}

ChunkPlan chunk_plan(const GanLoss& p, int64_t rows, int64_t length) {
  return {rows, length, gan_chunks(length), p.total(), static_cast<float>(p.share()), p.share()};
}

unsigned blocks_of(int64_t n, unsigned each) { return static_cast<unsigned>((n + each - 1) / each); }

// A block's threads: as many as fit side by side in a row, then as many rows as fit.
dim3 chunk_threads(const ChunkPlan& plan) {
  unsigned across = 1;
  while (across < kBlockThreads && across < plan.length) across *= 2;
  return dim3(across, kBlockThreads / across);
}

}  // namespace

void gan_loss_cuda(const GanLoss& p, CudaStream stream) {
  const char* const op = "gan_loss";
  const bool average = p.pairing == Pairing::average;
  const ChunkPlan plan = chunk_plan(p, p.rows(), p.length()), flat = chunk_plan(p, 1, p.total());
  const dim3 threads = chunk_threads(plan), flat_threads = chunk_threads(flat);
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (average && flat.items() > 0) {
      launch(op, stream, logit_sums_kernel<T>, blocks_of(flat.items(), flat_threads.y), flat_threads, 0, p, flat);
      launch(op, stream, finish_kernel, 2, kBlockThreads, 0, p, flat, 1, false);
    }
    if (plan.items() > 0) launch(op, stream, terms_kernel<T>, blocks_of(plan.items(), threads.y), threads, 0, p, plan);
  });
  launch(op, stream, finish_kernel, kSums, kBlockThreads, 0, p, plan, 0, true);
  if (p.reduction == Reduction::none && plan.rows > 0)
    launch(op, stream, row_losses_kernel, blocks_of(plan.rows, kBlockThreads), kBlockThreads, 0, p, plan);
  if (average && p.total() > 0 && (p.real_gradient != nullptr || p.fake_gradient != nullptr))
    launch(op, stream, correct_kernel, blocks_of(p.total(), kBlockThreads), kBlockThreads, 0, p, plan);
}

}  // namespace genfast
