// Vectors are filled with input channels, as pixels of channels_last lie in memory, so x is read where it stands. The
// sums of an output over channels and taps wait in the lanes of one vector, which are added at the end.
#include "direct_sums.h"
#include "lane_sums.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int kMostOut = 4;
constexpr int kSums = kLanes == 16 ? 24 : 12;  // with the weights of a tap and a pixel they fill the registers
constexpr int64_t kDepth = 16;                 // channels are filled up to multiples of it

constexpr int most_pixels(int channels) { return kSums / channels; }

// As an operand in memory of several instructions, x would be loaded for each; one is loaded per cycle.
template <int kUses>
GENFAST_HD void keep_in_register([[maybe_unused]] VF& x) {
#if defined(__AVX512F__)
  if constexpr (kUses > 1) asm("" : "+v"(x));
#elif defined(__x86_64__)
  if constexpr (kUses > 1) asm("" : "+x"(x));
#endif
}

// A kernel column that meets the outputs of a column phase.
struct Tap {
  int64_t position;  // of the column of x that the phase's first output sees
  int64_t column;    // of the kernel
};

// Neighbouring outputs of a phase that see columns of x through the same taps.
struct Block {
  int64_t phase, first, count;
  size_t first_tap, tap_count;
};

struct Terms {
  std::vector<const float*> x, weight;  // of each kernel row that meets an existing row of x
  const Tap* taps;
  int64_t tap_count, depth, pixel;  // channels, filled up; from an output's input to the next one's
  const VF* start;                  // of each channel's sum
};

// out[p * R + r] = output channel r of the block's pixel p.
template <int R, int P>
void multiply(const Terms& t, int64_t first, float* out) {
  VF sum[R * P];
#pragma GCC unroll 24
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[p * R + r] = t.start[r];
  for (size_t row = 0; row < t.x.size(); ++row)
    for (int64_t k = 0; k < t.tap_count; ++k) {
      const float* x = t.x[row] + first * t.pixel + t.taps[k].position * t.depth;
      const float* w = t.weight[row] + t.taps[k].column * t.depth * R;
      for (int64_t c = 0; c < t.depth; c += kDepth, w += kDepth * R)
#pragma GCC unroll 4
        for (int part = 0; part < kDepth; part += kLanes, x += kLanes) {
          VF weight[R];
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) weight[r] = load(w + r * kDepth + part);
#pragma GCC unroll 24
          for (int p = 0; p < P; ++p) {
            VF in = load(x + p * t.pixel);
            keep_in_register<R>(in);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) sum[p * R + r] = multiply_add(in, weight[r], sum[p * R + r]);
          }
        }
    }
  store_sums<R * P>(sum, out);
}

using Multiply = void (*)(const Terms&, int64_t, float*);

template <int R, int... P>
Multiply of_pixels(int64_t pixels, std::integer_sequence<int, P...>) {
  static constexpr Multiply all[] = {multiply<R, P + 1>...};
  return all[pixels - 1];
}
Multiply multiply_of(int64_t channels, int64_t pixels) {
  switch (channels) {
    case 1:
      return of_pixels<1>(pixels, std::make_integer_sequence<int, most_pixels(1)>{});
    case 2:
      return of_pixels<2>(pixels, std::make_integer_sequence<int, most_pixels(2)>{});
    case 3:
      return of_pixels<3>(pixels, std::make_integer_sequence<int, most_pixels(3)>{});
    default:
      return of_pixels<4>(pixels, std::make_integer_sequence<int, most_pixels(4)>{});
  }
}

struct Plan {
  const ConvAct& c;
  Axis rows, columns;
  int64_t phases, step;  // of the columns of the output; from an output of a phase to the next, in columns of x
  int64_t depth;         // channels, filled up
  std::vector<Tap> taps;
  std::vector<Block> blocks;
  bool in_place;  // x is read where it stands
  int64_t ring, row_size, line_size;

  explicit Plan(const DirectConv& p)
      : c(p.conv),
        rows(rows_of(c, p.transposed)),
        columns(columns_of(c, p.transposed)),
        phases(p.transposed ? columns.stride : 1),
        step(p.transposed ? 1 : columns.stride),
        depth(ceil_divide(c.in_channels, kDepth) * kDepth),
        in_place(c.dtype == DType::f32 && depth == c.in_channels),
        ring((rows.kernel - 1) * rows.dilation / (p.transposed ? rows.stride : 1) + 2),
        row_size(in_place ? 0 : c.in_width * depth),
        line_size((columns.out + phases) * c.out_channels + 2 * kLanes) {
    for (int64_t phase = 0; phase < phases; ++phase) add_phase(phase, ceil_divide(columns.out - phase, phases));
  }
  // Rows of x, then a line of sums for each phase and one for all.
  int64_t scratch_size() const { return ring * row_size + (phases + 1) * line_size; }

 private:
  void add_phase(int64_t phase, int64_t outputs) {
    for (int64_t first = 0, end; first < outputs; first = end) {
      const size_t tap = taps.size();
      end = add_taps(phase, first, outputs);
      const int64_t blocks_here = ceil_divide(end - first, most_pixels(static_cast<int>(c.out_channels)));
      for (int64_t b = 0, from = first; b < blocks_here; ++b) {
        const int64_t to = first + (end - first) * (b + 1) / blocks_here;
        blocks.push_back({phase, from, to - from, tap, taps.size() - tap});
        from = to;
      }
    }
  }

  // The taps through which output `first` of a phase sees x; returns the end of the outputs that see it through them.
  int64_t add_taps(int64_t phase, int64_t first, int64_t end) {
    for (int64_t k = 0; k < columns.kernel; ++k) {
      const int64_t shift = phase + columns.pad - k * columns.dilation;
      if (columns.transposed && shift % columns.stride != 0) continue;
      const int64_t position = columns.transposed ? shift / columns.stride : k * columns.dilation - columns.pad;
      const int64_t enters = ceil_divide(-position, step), leaves = ceil_divide(c.in_width - position, step);
      if (first < enters) {
        end = std::min(end, enters);
      } else if (first < leaves) {
        end = std::min(end, leaves);
        taps.push_back({position, k});
      }
    }
    return end;
  }
};

template <class T>
class ImageRows {
 public:
  ImageRows(const Plan& plan, int64_t image, float* memory)
      : plan_(plan), c_(plan.c), image_(image), memory_(memory), lines_(memory + plan.ring * plan.row_size) {
    x_ = static_cast<const T*>(c_.x) + image * c_.in_height * c_.in_width * c_.in_channels;
    for (int r = 0; r < kMostOut; ++r)
      start_[r] = VF{r < c_.out_channels && c_.epilogue.bias ? c_.epilogue.bias[r] : 0.0f};
  }

  void compute(int64_t begin, int64_t end) {
    const int64_t channels = c_.out_channels;
    int64_t filled = 0;
    Terms t;
    t.depth = plan_.depth, t.pixel = plan_.step * plan_.depth, t.start = start_;
    for (int64_t o = begin; o < end; ++o) {
      const int64_t last = std::min(plan_.rows.last_in(o), c_.in_height - 1);
      for (filled = std::max(filled, plan_.rows.first_in(o)); !plan_.in_place && filled <= last; ++filled) fill(filled);
      find_rows(o, t);
      for (const Block& b : plan_.blocks) {
        t.taps = plan_.taps.data() + b.first_tap, t.tap_count = b.tap_count;
        float* line = lines_ + b.phase * plan_.line_size;
        multiply_of(channels, b.count)(t, b.first, line + b.first * channels);
      }
      finish(o);
    }
  }

 private:
  const T* row(int64_t i) const { return x_ + i * c_.in_width * c_.in_channels; }
  float* slot(int64_t i) const { return memory_ + i % plan_.ring * plan_.row_size; }

  void fill(int64_t i) const {
    const T* x = row(i);
    float* to = slot(i);
    for (int64_t column = 0; column < c_.in_width; ++column, x += c_.in_channels, to += plan_.depth)
      for (int64_t k = 0; k < plan_.depth; k += kLanes) {
        const int64_t some = c_.in_channels - k;
        store(to + k, some >= kLanes ? load(x + k) : some > 0 ? load_some(x + k, some) : VF{});
      }
  }

  void find_rows(int64_t o, Terms& t) const {
    const Axis& rows = plan_.rows;
    t.x.clear(), t.weight.clear();
    for (int64_t k = 0; k < rows.kernel; ++k) {
      const int64_t shifted = o + rows.pad - k * rows.dilation;
      if (rows.transposed && shifted % rows.stride != 0) continue;
      const int64_t i = rows.transposed ? shifted / rows.stride : o * rows.stride - rows.pad + k * rows.dilation;
      if (i < 0 || i >= c_.in_height) continue;
      t.x.push_back(plan_.in_place ? reinterpret_cast<const float*>(row(i)) : slot(i));
      t.weight.push_back(static_cast<const float*>(c_.weight) +
                         k * plan_.columns.kernel * plan_.depth * c_.out_channels);
    }
  }

  // Outputs of several phases alternate; what is copied too much is written over by what follows.
  const float* merged() const {
    const int64_t phases = plan_.phases, channels = c_.out_channels, width = c_.out_width, size = plan_.line_size;
    if (phases == 1) return lines_;
    float* const line = lines_ + phases * size;
    float* to = line;
    for (const float* first = lines_; to < line + width * channels; first += channels) {
      const float* from = first;
      for (int64_t phase = 0; phase < phases; ++phase, from += size, to += channels)
        std::memcpy(to, from, kMostOut * sizeof(float));
    }
    return line;
  }

  void finish(int64_t o) const {
    const int64_t n = c_.out_width * c_.out_channels, at = (image_ * c_.out_height + o) * n;
    const T* residual = static_cast<const T*>(c_.epilogue.residual);
    finish_row({static_cast<T*>(c_.out) + at, merged(), residual ? residual + at : nullptr, n, c_.dtype, &c_.epilogue});
  }

  const Plan& plan_;
  const ConvAct& c_;
  int64_t image_;
  float *memory_, *lines_;
  const T* x_;
  VF start_[kMostOut];
};

}  // namespace

void direct_channels_few_out(const DirectConv& p) {
  const Plan plan(p);
  for_rows(p.conv, p.work_per_row(), plan.scratch_size(),
           [&](auto* type, int64_t image, int64_t begin, int64_t end, float* memory, bool) {
             ImageRows<std::remove_pointer_t<decltype(type)>>(plan, image, memory).compute(begin, end);
           });
}

}  // namespace genfast::GENFAST_ISA
