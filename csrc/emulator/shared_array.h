// An array of a block's shared memory, between two guards that tell of writes past it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace genfast::emulator {

class SharedArray {
 public:
  explicit SharedArray(size_t size) : bytes_(size + 2 * kGuardBytes, kPoison) {
    std::fill_n(bytes_.begin(), kGuardBytes, kGuard);
    std::fill_n(bytes_.end() - kGuardBytes, kGuardBytes, kGuard);
  }
  void* start() { return bytes_.data() + kGuardBytes; }
  bool intact() const {
    const auto good = [](unsigned char byte) { return byte == kGuard; };
    return std::all_of(bytes_.begin(), bytes_.begin() + kGuardBytes, good) &&
           std::all_of(bytes_.end() - kGuardBytes, bytes_.end(), good);
  }

 private:
  static constexpr size_t kGuardBytes = 64;
  static constexpr unsigned char kPoison = 0xFF;  // a NaN in every floating point type
  static constexpr unsigned char kGuard = 0xA5;

  std::vector<unsigned char> bytes_;
};

}  // namespace genfast::emulator
