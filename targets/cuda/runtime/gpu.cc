#include "gpu.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace tokensieve {
namespace {

// Holds the stream until the host has enqueued a batch, so that timed launches follow each other without launch gaps.
// It opens by itself after a while: under CUDA_LAUNCH_BLOCKING=1 or a sanitizer a launch waits for the stream, which waits for us.
class Gate {
 public:
  static void wait(void* userData) {
    const std::unique_ptr<std::shared_ptr<Gate>> gate(static_cast<std::shared_ptr<Gate>*>(userData));
    std::unique_lock lock((*gate)->mutex_);
    (*gate)->changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return (*gate)->open_; });
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

std::string list(const std::vector<uint64_t>& values) {
  std::string text;
  for (uint64_t value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return "[" + text + "]";
}

}  // namespace

void Gpu::check(CUresult result, const std::string& doing) const {
  if (result == 0) return;
  const char *name = nullptr, *text = nullptr;
  driver_.cuGetErrorName(result, &name);
  driver_.cuGetErrorString(result, &text);
  const std::string code = name ? name : "CUDA_ERROR_" + std::to_string(result);
  throw Fault(code, doing + ": " + code + (text ? " (" + std::string(text) + ")" : ""), launched_);
}

Gpu::Gpu(const Driver& driver, int ordinal) : driver_(driver) {
  check(driver_.cuInit(0), "start of the CUDA driver");
  int count = 0;
  check(driver_.cuDeviceGetCount(&count), "count of CUDA devices");
  if (ordinal >= count) throw Fault("CUDA_ERROR_INVALID_DEVICE", "CUDA device " + std::to_string(ordinal) + " of " + std::to_string(count));
  check(driver_.cuDeviceGet(&device_, ordinal), "choice of the device");

  char name[256] = "";
  check(driver_.cuDeviceGetName(name, sizeof name, device_), "device name");
  info_.name = name;
  char busId[32] = "";
  check(driver_.cuDeviceGetPCIBusId(busId, sizeof busId, device_), "PCI address");
  info_.pciBusId = busId;
  check(driver_.cuDriverGetVersion(&info_.driverVersion), "driver version");
  check(driver_.cuDeviceTotalMem_v2(&info_.totalBytes, device_), "memory size");
  const auto attribute = [&](DeviceAttribute which) {
    int value = 0;
    check(driver_.cuDeviceGetAttribute(&value, which, device_), "device attribute " + std::to_string(which));
    return value;
  };
  info_.major = attribute(kMajor);
  info_.minor = attribute(kMinor);
  info_.multiprocessors = attribute(kMultiprocessors);
  info_.l2Bytes = attribute(kL2Bytes);
  info_.maxSharedPerBlock = attribute(kMaxSharedPerBlockOptin);

  try {
    check(driver_.cuDevicePrimaryCtxRetain(&context_, device_), "creation of the context");
    check(driver_.cuCtxSetCurrent(context_), "choice of the context");
    check(driver_.cuStreamCreate(&stream_, kNonBlocking), "creation of the stream");
    check(driver_.cuEventCreate(&done_, kBlockingSyncUntimed), "creation of an event");
  } catch (...) {
    release();
    throw;
  }
}

Gpu::~Gpu() { release(); }

// Results are ignored here: after a lost device every call fails, and there is nobody left to tell.
void Gpu::release() {
  for (const auto& buffer : buffers_) driver_.cuMemFree_v2(buffer->address);
  for (const auto& kernel : kernels_) driver_.cuModuleUnload(kernel->module);
  if (done_) driver_.cuEventDestroy_v2(done_);
  if (stream_) driver_.cuStreamDestroy_v2(stream_);
  if (context_) driver_.cuDevicePrimaryCtxRelease_v2(device_);
}

void Gpu::alloc(const std::shared_ptr<Buffer>& buffer) {
  const size_t bytes = std::max<size_t>(4, (buffer->bytes + 3) / 4 * 4);
  check(driver_.cuMemAlloc_v2(&buffer->address, bytes), "allocation of " + std::to_string(buffer->bytes) + " bytes");
  buffers_.insert(buffer);
  check(driver_.cuMemsetD8Async(buffer->address, 0, bytes, stream_), "zero fill of " + std::to_string(bytes) + " bytes");
}

CUdeviceptr Gpu::addressOf(const Buffer& buffer) const {
  if (!buffer.address) throw Fault("NO_MEMORY", "a buffer of " + std::to_string(buffer.bytes) + " bytes has no memory: its alloc failed");
  return buffer.address;
}

// From pageable memory the call returns when the driver has taken its copy, so `data` may go afterwards.
void Gpu::write(const Buffer& buffer, const std::vector<uint8_t>& data) {
  const std::string doing = "copy of " + std::to_string(data.size()) + " bytes to the device";
  check(driver_.cuMemcpyHtoDAsync_v2(addressOf(buffer), data.data(), data.size(), stream_), doing);
}

void Gpu::fill(const Buffer& buffer, unsigned char byte) {
  check(driver_.cuMemsetD8Async(addressOf(buffer), byte, buffer.bytes, stream_), "fill of " + std::to_string(buffer.bytes) + " bytes");
}

void Gpu::read(const Buffer& buffer, size_t from, size_t bytes, void* to) {
  const std::string doing = "copy of " + std::to_string(bytes) + " bytes from the device";
  check(driver_.cuMemcpyDtoHAsync_v2(to, addressOf(buffer) + from, bytes, stream_), doing);
  wait();
}

void Gpu::free(const std::shared_ptr<Buffer>& buffer) {
  if (buffers_.erase(buffer) == 0) return;  // its allocation failed or was skipped
  const CUdeviceptr address = std::exchange(buffer->address, 0);
  check(driver_.cuMemFree_v2(address), "free of " + std::to_string(buffer->bytes) + " bytes");
}

std::shared_ptr<Kernel> Gpu::load(const std::string& image, const std::string& entry, int dynamicSharedBytes) {
  auto kernel = std::make_shared<Kernel>();
  kernel->name = entry;
  std::vector<char> infoLog(8192), errorLog(8192);
  JitOption options[] = {kInfoLog, kInfoLogBytes, kErrorLog, kErrorLogBytes};
  void* values[] = {infoLog.data(), reinterpret_cast<void*>(infoLog.size()), errorLog.data(), reinterpret_cast<void*>(errorLog.size())};
  const CUresult loaded = driver_.cuModuleLoadDataEx(&kernel->module, image.data(), 4, options, values);
  check(loaded, "load of " + entry + (errorLog[0] ? std::string(" (") + errorLog.data() + ")" : ""));
  kernels_.insert(kernel);
  try {
    check(driver_.cuModuleGetFunction(&kernel->function, kernel->module, entry.c_str()), "look-up of the entry \"" + entry + "\"");
    const auto attribute = [&](FunctionAttribute which) {
      int value = 0;
      check(driver_.cuFuncGetAttribute(&value, which, kernel->function), "attributes of " + entry);
      return value;
    };
    kernel->registers = attribute(kRegisters);
    kernel->localBytes = attribute(kLocalBytes);
    kernel->staticSharedBytes = attribute(kStaticSharedBytes);
    kernel->maxThreads = attribute(kMaxThreads);
    if (dynamicSharedBytes > 48 * 1024)
      check(driver_.cuFuncSetAttribute(kernel->function, kMaxDynamicSharedBytes, dynamicSharedBytes),
            std::to_string(dynamicSharedBytes) + " bytes of shared memory for " + entry);
  } catch (const Fault&) {
    driver_.cuModuleUnload(kernel->module);
    kernels_.erase(kernel);
    throw;
  }
  return kernel;
}

void Gpu::unload(const std::shared_ptr<Kernel>& kernel) {
  if (kernels_.erase(kernel)) check(driver_.cuModuleUnload(kernel->module), "unload of " + kernel->name);
}

CUtensorMap Gpu::encode(const TensorMapArg& map) const {
  if (!driver_.cuTensorMapEncodeTiled) throw Fault("CUDA_ERROR_NOT_SUPPORTED", "the driver has no tensor maps; it is older than CUDA 12.0");
  CUtensorMap encoded{};
  const std::vector<uint32_t> everyElement(map.sizes.size(), 1);
  // one dimension has no strides, but the driver wants a pointer
  std::vector<uint64_t> strides = map.strides;
  strides.resize(std::max<size_t>(1, strides.size()));
  const CUresult result = driver_.cuTensorMapEncodeTiled(
      &encoded, map.dataType, static_cast<uint32_t>(map.sizes.size()), reinterpret_cast<void*>(addressOf(*map.buffer) + map.offset),
      map.sizes.data(), strides.data(), map.box.data(), everyElement.data(), kInterleaveNone, map.swizzle, kL2Promotion256, kFillZero);
  check(result, "tensor map with sizes " + list(map.sizes) + ", byte strides " + list(map.strides) + ", box " +
                    list({map.box.begin(), map.box.end()}) + ", swizzle mode " + std::to_string(map.swizzle));
  return encoded;
}

void Gpu::launch(const LaunchRequest& request) {
  const auto& [kernel, blocks, threads, sharedBytes, awaitsPrior, arguments] = request;
  std::vector<std::variant<CUtensorMap, CUdeviceptr, int32_t>> values;
  for (const Argument& argument : arguments) {
    if (const auto* map = std::get_if<TensorMapArg>(&argument)) values.emplace_back(encode(*map));
    if (const auto* pointer = std::get_if<PointerArg>(&argument)) values.emplace_back(addressOf(*pointer->buffer) + pointer->offset);
    if (const auto* dim = std::get_if<int32_t>(&argument)) values.emplace_back(*dim);
  }
  // A pointer per argument (kernelParams) and not one packed buffer (extra): with the buffer, a tensor map passed by value made
  // its first TMA copy an illegal instruction (seen on an H200, driver 580.159). The driver copies the values before it returns.
  std::vector<void*> pointers;
  for (auto& value : values) pointers.push_back(std::visit([](auto& held) -> void* { return &held; }, value));
  if (std::find(launched_.begin(), launched_.end(), kernel->name) == launched_.end()) launched_.push_back(kernel->name);
  const std::string doing = "launch of " + kernel->name + " with " + std::to_string(blocks) + " blocks of " + std::to_string(threads) + " threads and " +
                            std::to_string(sharedBytes) + " bytes of shared memory";
  if (awaitsPrior && driver_.cuLaunchKernelEx) {
    LaunchAttribute early{kProgrammaticStreamSerialization, {}, {1}};
    const LaunchConfig config{{blocks, 1, 1}, {threads, 1, 1}, sharedBytes, stream_, &early, 1};
    check(driver_.cuLaunchKernelEx(&config, kernel->function, pointers.data(), nullptr), doing);
  } else {
    check(driver_.cuLaunchKernel(kernel->function, blocks, 1, 1, threads, 1, 1, sharedBytes, stream_, pointers.data(), nullptr), doing);
  }
}

void Gpu::wait() {
  check(driver_.cuEventRecord(done_, stream_), "wait for the device");
  check(driver_.cuEventSynchronize(done_), "wait for the device");
  launched_.clear();
}

// Pairs of timed events.
struct Gpu::Events {
  const Gpu& gpu;
  std::vector<CUevent> all;

  Events(const Gpu& gpu, int pairs) : gpu(gpu) {
    for (int i = 0; i < 2 * pairs; i++) {
      CUevent event = nullptr;
      gpu.check(gpu.driver_.cuEventCreate(&event, kTimed), "creation of an event");
      all.push_back(event);
    }
  }
  ~Events() {
    for (CUevent event : all) gpu.driver_.cuEventDestroy_v2(event);
  }
  void begin(int pair) { gpu.check(gpu.driver_.cuEventRecord(all[2 * pair], gpu.stream_), "start of a measurement"); }
  void end(int pair) { gpu.check(gpu.driver_.cuEventRecord(all[2 * pair + 1], gpu.stream_), "end of a measurement"); }
  bool hasBegun(int pair) { return gpu.driver_.cuEventQuery(all[2 * pair]) == 0; }
  void wait(int pair) { gpu.check(gpu.driver_.cuEventSynchronize(all[2 * pair + 1]), "wait for a measurement"); }
  double microseconds(int pair) {
    float milliseconds = 0;
    gpu.check(gpu.driver_.cuEventElapsedTime(&milliseconds, all[2 * pair], all[2 * pair + 1]), "read of a measurement");
    return milliseconds * 1000.0;
  }
};

std::vector<double> Gpu::time(const LaunchRequest& request, int repeats) {
  constexpr int kBatch = 64;  // far below the depth of a stream's queue, so that no launch waits for the gate
  Events events(*this, std::min(repeats, kBatch));

  launch(request);
  wait();
  std::vector<double> microseconds;
  while (static_cast<int>(microseconds.size()) < repeats) {
    const int batch = std::min(kBatch, repeats - static_cast<int>(microseconds.size()));
    const auto gate = std::make_shared<Gate>();
    check(driver_.cuLaunchHostFunc(stream_, Gate::wait, new std::shared_ptr<Gate>(gate)), "hold of the stream");
    for (int i = 0; i < batch; i++) {
      events.begin(i);
      launch(request);
      events.end(i);
    }
    gate->open();
    wait();
    for (int i = 0; i < batch; i++) microseconds.push_back(events.microseconds(i));
  }
  return microseconds;
}

std::vector<double> Gpu::measure(const Measurement& measurement) {
  const auto& [launches, hold, perSample, samples, overlap] = measurement;
  Events events(*this, overlap ? 2 : 1);
  std::vector<double> microseconds;
  const auto finish = [&](int sample, bool ranDry) {
    const int pair = overlap ? sample % 2 : 0;
    events.wait(pair);
    microseconds.push_back(ranDry ? std::nan("") : events.microseconds(pair));
  };
  size_t next = 0;
  for (int sample = 0; sample < samples; sample++) {
    const int pair = overlap ? sample % 2 : 0;
    if (hold) launch(*hold);
    events.begin(pair);
    for (int i = 0; i < perSample; i++) launch(launches[next++ % launches.size()]);
    const bool ranDry = hold && events.hasBegun(pair);
    events.end(pair);
    if (!overlap) finish(sample, ranDry);
    if (overlap && sample > 0) finish(sample - 1, false);
  }
  if (overlap && samples > 0) finish(samples - 1, false);
  wait();
  return microseconds;
}

}  // namespace tokensieve
