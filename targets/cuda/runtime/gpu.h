// One GPU: its primary context, one stream, its memory and its kernels. Lives on the worker thread alone.
#pragma once
#include <memory>
#include <optional>
#include <unordered_set>
#include <variant>

#include "cuda_abi.h"

namespace tokensieve {

struct GpuInfo {
  std::string name, pciBusId;
  int major = 0, minor = 0, multiprocessors = 0, l2Bytes = 0, maxSharedPerBlock = 0, driverVersion = 0;
  size_t totalBytes = 0;
};

// `address` belongs to the worker thread and is 0 before allocation, after a failed one and after free.
struct Buffer {
  const size_t bytes;
  CUdeviceptr address = 0;
  explicit Buffer(size_t bytes) : bytes(bytes) {}
};

struct Kernel {
  std::string name;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  int registers = 0, localBytes = 0, staticSharedBytes = 0, maxThreads = 0;
};

struct PointerArg {
  std::shared_ptr<Buffer> buffer;
  uint64_t offset;  // bytes from the buffer's start
};

// A tiled tensor map over a buffer, encoded at launch when the address is known. Dimension 0 is innermost.
struct TensorMapArg {
  std::shared_ptr<Buffer> buffer;
  uint64_t offset;                       // bytes from the buffer's start
  int dataType, swizzle;                 // CUtensorMapDataType, CUtensorMapSwizzle
  std::vector<uint64_t> sizes, strides;  // elements; bytes of dimensions 1 and up
  std::vector<uint32_t> box;
};
using Argument = std::variant<TensorMapArg, PointerArg, int32_t>;

struct LaunchRequest {
  std::shared_ptr<Kernel> kernel;
  unsigned blocks, threads, sharedBytes;
  bool awaitsPrior;  // by itself: it may come up while the launch before it runs
  std::vector<Argument> arguments;
};

// What to time: `launches` one after another, over and over, `perSample` of them between two events.
struct Measurement {
  std::vector<LaunchRequest> launches;
  std::optional<LaunchRequest> hold;  // runs before each sample, so that all of it is enqueued before it begins
  int perSample, samples;
  bool overlap;  // a sample is enqueued while the one before it still runs
};

class Gpu {
 public:
  Gpu(const Driver& driver, int ordinal);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  const GpuInfo& info() const { return info_; }
  void alloc(const std::shared_ptr<Buffer>& buffer);  // zero-filled
  void write(const Buffer& buffer, const std::vector<uint8_t>& data);
  void fill(const Buffer& buffer, unsigned char byte);
  void read(const Buffer& buffer, size_t from, size_t bytes, void* to);  // waits for what was enqueued before
  void free(const std::shared_ptr<Buffer>& buffer);
  // `image` is a cubin, or PTX with its final NUL.
  std::shared_ptr<Kernel> load(const std::string& image, const std::string& entry, int dynamicSharedBytes);
  void unload(const std::shared_ptr<Kernel>& kernel);
  void launch(const LaunchRequest& request);
  void wait();
  // Microseconds of each of `repeats` launches, after one that is not counted.
  std::vector<double> time(const LaunchRequest& request, int repeats);
  // Microseconds of each sample; NaN where `hold` ended before the sample was enqueued.
  std::vector<double> measure(const Measurement& measurement);

 private:
  void check(CUresult result, const std::string& doing) const;
  CUdeviceptr addressOf(const Buffer& buffer) const;
  CUtensorMap encode(const TensorMapArg& map) const;
  void release();
  struct Events;

  const Driver& driver_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  CUevent done_ = nullptr;
  GpuInfo info_;
  std::unordered_set<std::shared_ptr<Buffer>> buffers_;
  std::unordered_set<std::shared_ptr<Kernel>> kernels_;
  std::vector<std::string> launched_;  // distinct kernels since the last wait: the suspects of an asynchronous error
};

}  // namespace tokensieve
