// The part of the ABIs of the CUDA driver, of NVRTC and of NVML that tokensieve calls, declared here so that the addon
// builds on machines without a CUDA toolkit. The libraries are opened with dlopen at first use.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace tokensieve {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUhostFn = void (*)(void*);
using NvrtcProgram = struct _nvrtcProgram*;
using NvmlDevice = struct nvmlDevice_st*;

struct alignas(128) CUtensorMap {
  uint8_t opaque[128];
};

struct LaunchAttribute {
  int id;
  char pad[4];
  int value[16];
};
struct LaunchConfig {
  unsigned blocks[3], threads[3], sharedBytes;
  CUstream stream;
  LaunchAttribute* attributes;
  unsigned attributeCount;
};

// Enumerators by their value in cuda.h; the driver's ABI never changes them.
enum DeviceAttribute : int { kMultiprocessors = 16, kL2Bytes = 38, kMajor = 75, kMinor = 76, kMaxSharedPerBlockOptin = 97 };
enum FunctionAttribute : int { kMaxThreads = 0, kStaticSharedBytes = 1, kLocalBytes = 3, kRegisters = 4, kMaxDynamicSharedBytes = 8 };
enum JitOption : int { kInfoLog = 3, kInfoLogBytes = 4, kErrorLog = 5, kErrorLogBytes = 6 };
enum StreamFlag : unsigned { kNonBlocking = 1 };
enum EventFlag : unsigned { kTimed = 0, kBlockingSyncUntimed = 1 | 2 };
enum LaunchAttributeId : int { kProgrammaticStreamSerialization = 6 };
enum TensorMapOption : int { kInterleaveNone = 0, kL2Promotion256 = 3, kFillZero = 0 };

#define TOKENSIEVE_DRIVER(F)                                                  \
  F(cuInit, unsigned)                                                         \
  F(cuGetErrorName, CUresult, const char**)                                   \
  F(cuGetErrorString, CUresult, const char**)                                 \
  F(cuDriverGetVersion, int*)                                                 \
  F(cuDeviceGetCount, int*)                                                   \
  F(cuDeviceGet, CUdevice*, int)                                              \
  F(cuDeviceGetName, char*, int, CUdevice)                                    \
  F(cuDeviceGetAttribute, int*, DeviceAttribute, CUdevice)                    \
  F(cuDeviceTotalMem_v2, size_t*, CUdevice)                                   \
  F(cuDeviceGetPCIBusId, char*, int, CUdevice)                                \
  F(cuDevicePrimaryCtxRetain, CUcontext*, CUdevice)                           \
  F(cuDevicePrimaryCtxRelease_v2, CUdevice)                                   \
  F(cuCtxSetCurrent, CUcontext)                                               \
  F(cuStreamCreate, CUstream*, unsigned)                                      \
  F(cuStreamDestroy_v2, CUstream)                                             \
  F(cuEventCreate, CUevent*, unsigned)                                        \
  F(cuEventDestroy_v2, CUevent)                                               \
  F(cuEventRecord, CUevent, CUstream)                                         \
  F(cuEventSynchronize, CUevent)                                              \
  F(cuEventQuery, CUevent)                                                    \
  F(cuEventElapsedTime, float*, CUevent, CUevent)                             \
  F(cuLaunchHostFunc, CUstream, CUhostFn, void*)                              \
  F(cuMemAlloc_v2, CUdeviceptr*, size_t)                                      \
  F(cuMemFree_v2, CUdeviceptr)                                                \
  F(cuMemsetD8Async, CUdeviceptr, unsigned char, size_t, CUstream)            \
  F(cuMemcpyHtoDAsync_v2, CUdeviceptr, const void*, size_t, CUstream)         \
  F(cuMemcpyDtoHAsync_v2, void*, CUdeviceptr, size_t, CUstream)               \
  F(cuModuleLoadDataEx, CUmodule*, const void*, unsigned, JitOption*, void**) \
  F(cuModuleUnload, CUmodule)                                                 \
  F(cuModuleGetFunction, CUfunction*, CUmodule, const char*)                  \
  F(cuFuncGetAttribute, int*, FunctionAttribute, CUfunction)                  \
  F(cuFuncSetAttribute, CUfunction, FunctionAttribute, int)                   \
  F(cuLaunchKernel, CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**, void**)

// Absent from drivers older than CUDA 12.0, which still run every kernel without a tensor map, one after another.
#define TOKENSIEVE_DRIVER_OPTIONAL(F)                                                                                                    \
  F(cuLaunchKernelEx, const LaunchConfig*, CUfunction, void**, void**)                                                                   \
  F(cuTensorMapEncodeTiled, CUtensorMap*, int, uint32_t, void*, const uint64_t*, const uint64_t*, const uint32_t*, const uint32_t*, int, \
    int, int, int)

#define TOKENSIEVE_NVRTC(F)                                                                                   \
  F(nvrtcVersion, int*, int*)                                                                                 \
  F(nvrtcGetNumSupportedArchs, int*)                                                                          \
  F(nvrtcGetSupportedArchs, int*)                                                                             \
  F(nvrtcCreateProgram, NvrtcProgram*, const char*, const char*, int, const char* const*, const char* const*) \
  F(nvrtcCompileProgram, NvrtcProgram, int, const char* const*)                                               \
  F(nvrtcGetProgramLogSize, NvrtcProgram, size_t*)                                                            \
  F(nvrtcGetProgramLog, NvrtcProgram, char*)                                                                  \
  F(nvrtcGetCUBINSize, NvrtcProgram, size_t*)                                                                 \
  F(nvrtcGetCUBIN, NvrtcProgram, char*)                                                                       \
  F(nvrtcGetPTXSize, NvrtcProgram, size_t*)                                                                   \
  F(nvrtcGetPTX, NvrtcProgram, char*)                                                                         \
  F(nvrtcDestroyProgram, NvrtcProgram*)

#define TOKENSIEVE_NVML(F)                                  \
  F(nvmlInit_v2)                                            \
  F(nvmlSystemGetDriverVersion, char*, unsigned)            \
  F(nvmlDeviceGetHandleByPciBusId_v2, const char*, NvmlDevice*) \
  F(nvmlDeviceGetClockInfo, NvmlDevice, int, unsigned*)     \
  F(nvmlDeviceGetPowerUsage, NvmlDevice, unsigned*)         \
  F(nvmlDeviceGetEnforcedPowerLimit, NvmlDevice, unsigned*)

#define TOKENSIEVE_DECLARE(name, ...) int (*name)(__VA_ARGS__) = nullptr;
struct Driver {
  TOKENSIEVE_DRIVER(TOKENSIEVE_DECLARE)
  TOKENSIEVE_DRIVER_OPTIONAL(TOKENSIEVE_DECLARE)
};
struct Nvrtc {
  TOKENSIEVE_NVRTC(TOKENSIEVE_DECLARE)
};
struct Nvml {
  TOKENSIEVE_NVML(TOKENSIEVE_DECLARE)
};
#undef TOKENSIEVE_DECLARE

// What went wrong: `code` is the driver's name of the error (or a word of ours), `kernels` are those that may have caused it.
struct Fault : std::runtime_error {
  std::string code;
  std::vector<std::string> kernels;
  Fault(std::string code, const std::string& message, std::vector<std::string> kernels = {})
      : std::runtime_error(message), code(std::move(code)), kernels(std::move(kernels)) {}
};

// Opens the first of `paths` that dlopen takes. The library stays open for the life of the process and later calls return
// the same table; a failed call leaves nothing behind, so that the next may succeed. Throws Fault LIBRARY_NOT_FOUND.
const Driver& loadDriver(const std::vector<std::string>& paths);
const Nvrtc& loadNvrtc(const std::vector<std::string>& paths);
// As the others, and initialised; null instead of a Fault, for nothing depends on it.
const Nvml* loadNvml(const std::vector<std::string>& paths);

}  // namespace tokensieve
