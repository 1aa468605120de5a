// The part of DLPack's stable C ABI that torch offers on its tensor type (__dlpack_c_exchange_api__):
// a tensor's pointer, shape and strides in nanoseconds, without a torch header. dmlc/dlpack, version 1.
#pragma once

#include <cstdint>

namespace genfast {

struct DLDevice {
  int32_t device_type;
  int32_t device_id;
};
constexpr int32_t kDLCPU = 1;

struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
};
constexpr uint8_t kDLInt = 0, kDLFloat = 2, kDLBfloat = 4;

struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};

struct DLPackExchangeAPI {
  uint32_t major, minor;
  void* previous;
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object;
  void* managed_tensor_to_py_object;
  int (*dltensor_from_py_object)(void* object, DLTensor* out);  // may be null
  void* current_work_stream;
};

}  // namespace genfast
