// Blocks of tiles: transform the inputs, then per step of output channels multiply, transform back and finish, so that
// nothing of the problem's size is kept between the stages.
#include "common/parallel.h"
#include "winograd_parts.h"
#include "winograd_workspace.h"

namespace genfast::GENFAST_ISA {
namespace {

// V of a block should leave room in the second-level cache for M and the weights passing through.
constexpr int64_t kBlockBytes = 448 << 10;
// Whole sets of a product's rows: 7 at a time with AVX-512, else 6, which read the weights more often.
constexpr int64_t kFewestRows = kLanes == 16 ? 14 : 24, kMostRows = kLanes == 16 ? 28 : 24;
// Fewest multiply-adds worth a thread.
constexpr int64_t kGrain = 1 << 19;

struct Plan {
  Tiling tiling;
  int64_t rows;     // most tiles to a block
  int64_t steps;    // of kOutputs output channels of a phase
  int64_t groups;   // of threads; each takes a share of the tiles
  int64_t members;  // of a group; each takes a share of the channels
  int64_t v_bytes, m_bytes, input_bytes, output_bytes;
  char* memory;
  Barrier* barriers;  // [groups]

  int64_t group_bytes() const { return v_bytes + members * (m_bytes + input_bytes + output_bytes); }
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

void run_member(const Plan& plan, int64_t group, int64_t member) {
  const Tiling& t = plan.tiling;
  const ConvAct& c = t.conv;
  char* memory = plan.memory + group * plan.group_bytes();
  float* const v = reinterpret_cast<float*>(memory);
  memory += plan.v_bytes + member * (plan.m_bytes + plan.input_bytes + plan.output_bytes);
  float* const m = reinterpret_cast<float*>(memory);
  char* const input = memory + plan.m_bytes;
  char* const output = input + plan.input_bytes;

  const int64_t begin = t.total * group / plan.groups, end = t.total * (group + 1) / plan.groups;
  const int64_t blocks = (end - begin + plan.rows - 1) / plan.rows;
  const auto share = [&](int64_t n, int64_t k) { return n * k / plan.members; };
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = begin + (end - begin) * block / blocks;
    const int64_t rows = begin + (end - begin) * (block + 1) / blocks - first;
    // V is shared: nobody overwrites it before, or reads it after, all have come here.
    if (block > 0) plan.barriers[group].wait(plan.members);
    transform_input(t, first, rows, share(t.channel_blocks, member), share(t.channel_blocks, member + 1), v, input);
    plan.barriers[group].wait(plan.members);
    const int64_t last = share(plan.steps, member + 1), of_phase = plan.steps / (t.up * t.up);
    for (int64_t step = share(plan.steps, member); step < last; ++step) {
      const int64_t phase = step / of_phase, channel = step % of_phase * kOutputs;
      const int64_t width = c.out_channels - channel > kPanel ? kOutputs : kPanel;
      const auto weights = [&](int64_t step) {
        const int64_t before = step / of_phase * packed_channels(c.out_channels) + step % of_phase * kOutputs;
        return static_cast<const float*>(c.weight) + before * t.products() * c.in_channels;
      };
      const float* const later = weights(step + 1 < last ? step + 1 : share(plan.steps, member));
      multiply_panels(t, rows, phase, width, v, weights(step), later, m);
      transform_output(t, first, rows, phase, channel, m, output);
    }
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
  const std::unique_ptr<Barrier[]> barriers(new Barrier[plan.groups]);
  plan.barriers = barriers.get();
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
