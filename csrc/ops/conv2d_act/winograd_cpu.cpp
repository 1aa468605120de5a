// Blocks of tiles: transform the inputs, then per step of output channels multiply, transform back and finish, so that
// nothing of the problem's size is kept between the stages.
#include "common/parallel.h"
#include "winograd_parts.h"
#include "winograd_workspace.h"

namespace genfast::GENFAST_ISA {
namespace {

// V of a block should leave room in the second-level cache for M and the weights passing through.
constexpr int64_t kBlockBytes = 448 << 10;
// Whole sets of a product's rows; sets of 6 read the weights more often than those of 7.
constexpr int64_t kFewestRows = kLanes == 16 ? 14 : 24, kMostRows = kLanes == 16 ? 28 : 24;
// A group's last block is cut into about as many pieces.
constexpr int64_t kPieces = 8;
// Fewest multiply-adds worth a thread.
constexpr int64_t kGrain = 1 << 19;

// What the threads of a group know of each other, and the others of them.
struct Group {
  Barrier barrier;
  std::atomic<bool> at_last{false};  // V of the last block is there
  std::atomic<int64_t> taken{0};     // pieces of it
};

struct Plan {
  Tiling tiling;
  int64_t rows;     // most tiles to a block
  int64_t steps;    // of kOutputs output channels of a phase
  int64_t groups;   // of threads; each takes a share of the tiles
  int64_t members;  // of a group; each takes a share of the channels
  int64_t v_bytes, m_bytes, input_bytes, output_bytes;
  char* memory;
  Group* shared;  // [groups]

  int64_t member_bytes() const { return m_bytes + input_bytes + output_bytes; }
  int64_t group_bytes() const { return v_bytes + members * member_bytes(); }
  float* v_of(int64_t group) const { return reinterpret_cast<float*>(memory + group * group_bytes()); }
};

Tiling tiling_of(const Winograd& p) {
  const ConvAct& c = p.conv;
  const int64_t m = p.tile, alpha = m + 2, up = p.transposed ? 2 : 1, covered = m * up;
  const int64_t across = (c.out_width + covered - 1) / covered, down = (c.out_height + covered - 1) / covered;
  const int64_t channel_blocks = (c.in_channels + kLanes - 1) / kLanes;
  return {c, m, alpha, alpha * alpha, across, across * down, c.batch * across * down, channel_blocks, up};
}

int64_t block_rows(const Tiling& t) {
  const int64_t fitting = kBlockBytes / (t.points * t.channel_blocks * kLanes * static_cast<int64_t>(sizeof(float)));
  return std::clamp(fitting, kFewestRows, kMostRows);
}

// Splits the threads into groups by tiles and members by channels: few tiles are shared, and their weights split. The
// time of a thread goes with steps x tiles, and every block also waits for its weights.
void split_threads(Plan& plan, int64_t threads) {
  const auto ceil = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  int64_t best = INT64_MAX;
  for (int64_t members = 1; members <= std::min(threads, plan.steps); ++members) {
    const int64_t groups = std::min(threads / members, plan.tiling.total);
    const int64_t tiles = ceil(plan.tiling.total, groups), blocks = ceil(tiles, plan.rows);
    const int64_t cost = ceil(plan.steps, members) * (tiles + 5 * blocks) + (members > 1 ? 10 * blocks : 0);
    if (cost < best) best = cost, plan.groups = groups, plan.members = members;
  }
}

// The blocks of a group's tiles.
struct Blocks {
  int64_t begin, end, count;

  Blocks(const Plan& plan, int64_t group) {
    begin = plan.tiling.total * group / plan.groups, end = plan.tiling.total * (group + 1) / plan.groups;
    count = (end - begin + plan.rows - 1) / plan.rows;
  }
  int64_t first(int64_t block) const { return begin + (end - begin) * block / count; }
  int64_t rows(int64_t block) const { return first(block + 1) - first(block); }
};

// The memory of one thread.
struct Own {
  float* m;
  char *input, *output;

  Own(const Plan& plan, int64_t group, int64_t member) {
    char* const memory = plan.memory + group * plan.group_bytes() + plan.v_bytes + member * plan.member_bytes();
    m = reinterpret_cast<float*>(memory);
    input = memory + plan.m_bytes;
    output = input + plan.input_bytes;
  }
};

// Step `step` of some rows of a block; `later` is the step after it.
void compute(const Plan& plan, const Own& own, int64_t group, int64_t first, const Rows& rows, int64_t step,
             int64_t later) {
  const Tiling& t = plan.tiling;
  const ConvAct& c = t.conv;
  const int64_t of_phase = plan.steps / (t.up * t.up), phase = step / of_phase, channel = step % of_phase * kOutputs;
  const int64_t width = c.out_channels - channel > kPanel ? kOutputs : kPanel;
  const auto weights = [&](int64_t step) {
    const int64_t before = step / of_phase * packed_channels(c.out_channels) + step % of_phase * kOutputs;
    return static_cast<const float*>(c.weight) + before * t.products() * c.in_channels;
  };
  multiply_panels(t, rows, phase, width, plan.v_of(group), weights(step), weights(later), own.m);
  transform_output(t, first + rows.begin, rows.count, phase, channel, own.m, own.output);
}

// The last block of a group, in pieces, which whoever comes takes: processors that others use, too, are seldom equally
// fast.
void compute_last(const Plan& plan, const Own& own, int64_t group) {
  const Blocks blocks(plan, group);
  const int64_t block = blocks.count - 1, rows = blocks.rows(block), threads = plan.groups * plan.members;
  const int64_t wanted = threads == 1 ? 1 : (kPieces + plan.steps - 1) / plan.steps;
  const int64_t parts = std::min(wanted, (rows + kMaxRows - 1) / kMaxRows), pieces = plan.steps * parts;
  for (int64_t piece; (piece = plan.shared[group].taken.fetch_add(1, std::memory_order_relaxed)) < pieces;) {
    const int64_t part = piece % parts, begin = rows * part / parts, count = rows * (part + 1) / parts - begin;
    compute(plan, own, group, blocks.first(block), {rows, begin, count}, piece / parts,
            std::min(piece + 1, pieces - 1) / parts);
  }
}

void run_member(const Plan& plan, int64_t group, int64_t member) {
  const Tiling& t = plan.tiling;
  const Own own(plan, group, member);
  const Blocks blocks(plan, group);
  Group& shared = plan.shared[group];
  const auto share = [&](int64_t n, int64_t k) { return n * k / plan.members; };
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t first = blocks.first(block), rows = blocks.rows(block);
    // V is shared: nobody overwrites it before, or reads it after, all have come here.
    if (block > 0) shared.barrier.wait(plan.members);
    transform_input(t, first, rows, share(t.channel_blocks, member), share(t.channel_blocks, member + 1),
                    plan.v_of(group), own.input);
    shared.barrier.wait(plan.members);
    if (block + 1 == blocks.count) break;
    const int64_t from = share(plan.steps, member), to = share(plan.steps, member + 1);
    for (int64_t step = from; step < to; ++step)
      compute(plan, own, group, first, {rows, 0, rows}, step, step + 1 < to ? step + 1 : from);
  }
  shared.at_last.store(true, std::memory_order_release);
  compute_last(plan, own, group);
  for (int64_t k = 1; k < plan.groups; ++k) {
    const int64_t other = (group + k) % plan.groups;
    if (plan.shared[other].at_last.load(std::memory_order_acquire)) compute_last(plan, own, other);
  }
}

constexpr int64_t to_line(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

void winograd(const Winograd& p) {
  Plan plan{};
  plan.tiling = tiling_of(p);
  const Tiling& t = plan.tiling;
  const ConvAct& c = t.conv;
  if (t.total == 0 || c.out_channels == 0) return;
  plan.steps = t.up * t.up * ((c.out_channels + kOutputs - 1) / kOutputs);
  plan.rows = block_rows(t);
  const int64_t work = t.total * t.points * (c.in_channels + 16) * (c.out_channels + 16) * t.up * t.up;
  split_threads(plan, std::clamp<int64_t>(work / kGrain, 1, max_threads()));
  plan.v_bytes = to_line(t.points * v_stride(t, plan.rows) * sizeof(float));
  plan.m_bytes = to_line(t.points * m_stride(plan.rows) * sizeof(float));
  plan.input_bytes = to_line(input_scratch(t, plan.rows));
  plan.output_bytes = to_line(output_scratch(t));
  plan.memory = workspace(plan.groups * plan.group_bytes());
  const std::unique_ptr<Group[]> shared(new Group[plan.groups]);
  plan.shared = shared.get();
  const int wanted = static_cast<int>(plan.groups * plan.members);
  if (wanted == 1) return run_member(plan, 0, 0);
  run_team(
      wanted,
      [](void* context, int thread, int threads) {
        const Plan& plan = *static_cast<const Plan*>(context);
        const int64_t members = plan.groups * plan.members;
        // The runtime may give fewer threads than asked for; a barrier needs all of a group's.
        if (threads == members) return run_member(plan, thread / plan.members, thread % plan.members);
        if (thread > 0) return;
        Plan alone = plan;
        alone.groups = alone.members = 1;
        run_member(alone, 0, 0);
      },
      &plan);
}

}  // namespace genfast::GENFAST_ISA
