// The Node side: one class, Device, whose methods check handles and hand the work to the device's worker thread.
// native.ts is the typed face of what is exported here and describes every method.
#include "convert.h"
#include "handles.h"
#include "nvml.h"
#include "nvrtc.h"
#include "worker.h"

namespace tokensieve {
namespace {

double number(const Napi::Value& value) { return value.As<Napi::Number>().DoubleValue(); }

class Device : public Napi::ObjectWrap<Device> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Device",
        {InstanceMethod("open", &Device::open), InstanceMethod("alloc", &Device::alloc), InstanceMethod("write", &Device::write),
         InstanceMethod("read", &Device::read), InstanceMethod("free", &Device::free), InstanceMethod("load", &Device::load),
         InstanceMethod("unload", &Device::unload), InstanceMethod("launch", &Device::launch), InstanceMethod("sync", &Device::sync),
         InstanceMethod("time", &Device::time), InstanceMethod("measure", &Device::measure), InstanceMethod("fill", &Device::fill),
         InstanceMethod("close", &Device::close), InstanceMethod("abandon", &Device::abandon)});
  }

  explicit Device(const Napi::CallbackInfo& info) : ObjectWrap(info), worker_(Worker::start(info.Env())) {}
  ~Device() override { worker_->stop(); }

 private:
  using Slot = std::unique_ptr<Gpu>;

  Napi::Value open(const Napi::CallbackInfo& info) {
    const int ordinal = info[1].As<Napi::Number>();
    return worker_->request(Value(), [paths = toStrings(info[0]), ordinal](Slot& gpu) -> Worker::Finish {
      gpu = std::make_unique<Gpu>(loadDriver(paths), ordinal);
      return [device = gpu->info()](Napi::Env env, const Napi::Object&) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("name", device.name);
        result.Set("pciBusId", device.pciBusId);
        result.Set("major", device.major);
        result.Set("minor", device.minor);
        result.Set("multiprocessors", device.multiprocessors);
        result.Set("l2Bytes", device.l2Bytes);
        result.Set("maxSharedPerBlock", device.maxSharedPerBlock);
        result.Set("totalBytes", static_cast<double>(device.totalBytes));
        result.Set("driverVersion", device.driverVersion);
        return result;
      };
    });
  }

  Napi::Value alloc(const Napi::CallbackInfo& info) {
    auto buffer = std::make_shared<Buffer>(static_cast<size_t>(number(info[0])));
    worker_->post([buffer](Slot& gpu) { gpu->alloc(buffer); });
    return Napi::Number::New(info.Env(), buffers_.add(buffer));
  }

  void write(const Napi::CallbackInfo& info) {
    const auto buffer = bufferOf(info[0]);
    const auto from = info[1].As<Napi::Uint8Array>();
    std::vector<uint8_t> data(from.Data(), from.Data() + from.ByteLength());
    worker_->post([buffer, data = std::move(data)](Slot& gpu) { gpu->write(*buffer, data); });
  }

  void fill(const Napi::CallbackInfo& info) {
    worker_->post([buffer = bufferOf(info[0]), byte = info[1].As<Napi::Number>().Uint32Value()](Slot& gpu) {
      gpu->fill(*buffer, static_cast<unsigned char>(byte));
    });
  }

  // Copies into memory that V8 owns and the request keeps: no external ArrayBuffer, no finalizer.
  Napi::Value read(const Napi::CallbackInfo& info) {
    const auto buffer = bufferOf(info[0]);
    const auto from = static_cast<size_t>(number(info[1])), bytes = static_cast<size_t>(number(info[2]));
    auto array = Napi::Uint8Array::New(info.Env(), bytes);
    return worker_->request(array, [buffer, from, bytes, to = array.Data()](Slot& gpu) -> Worker::Finish {
      gpu->read(*buffer, from, bytes, to);
      return [](Napi::Env, const Napi::Object& kept) { return kept; };
    });
  }

  void free(const Napi::CallbackInfo& info) {
    const auto buffer = buffers_.take(number(info[0]));
    if (!buffer) throw stale(info.Env(), "buffer");
    worker_->postAlways([buffer](Slot& gpu) { gpu->free(buffer); });
  }

  Napi::Value load(const Napi::CallbackInfo& info) {
    const auto bytes = info[0].As<Napi::Uint8Array>();
    const std::string image(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()), entry = info[1].As<Napi::String>();
    const int dynamicSharedBytes = info[2].As<Napi::Number>();
    return worker_->request(Value(), [this, image, entry, dynamicSharedBytes](Slot& gpu) -> Worker::Finish {
      const auto kernel = gpu->load(image, entry, dynamicSharedBytes);
      return [this, kernel](Napi::Env env, const Napi::Object&) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("handle", kernels_.add(kernel));
        result.Set("registers", kernel->registers);
        result.Set("localBytes", kernel->localBytes);
        result.Set("staticSharedBytes", kernel->staticSharedBytes);
        result.Set("maxThreads", kernel->maxThreads);
        return result;
      };
    });
  }

  void unload(const Napi::CallbackInfo& info) {
    const auto kernel = kernels_.take(number(info[0]));
    if (!kernel) throw stale(info.Env(), "kernel");
    worker_->postAlways([kernel](Slot& gpu) { gpu->unload(kernel); });
  }

  void launch(const Napi::CallbackInfo& info) {
    worker_->post([request = toLaunch(info[0])](Slot& gpu) { gpu->launch(request); });
  }

  Napi::Value sync(const Napi::CallbackInfo&) {
    return worker_->request(Value(), [](Slot& gpu) -> Worker::Finish {
      gpu->wait();
      return [](Napi::Env env, const Napi::Object&) { return env.Undefined(); };
    });
  }

  Napi::Value time(const Napi::CallbackInfo& info) {
    const int repeats = info[1].As<Napi::Number>();
    return worker_->request(Value(), [request = toLaunch(info[0]), repeats](Slot& gpu) -> Worker::Finish {
      return [microseconds = gpu->time(request, repeats)](Napi::Env env, const Napi::Object&) { return toNumbers(env, microseconds); };
    });
  }

  Napi::Value measure(const Napi::CallbackInfo& info) {
    const auto plan = info[0].As<Napi::Object>();
    Measurement measurement{{}, std::nullopt, plan.Get("perSample").As<Napi::Number>(), plan.Get("samples").As<Napi::Number>(),
                            plan.Get("overlap").As<Napi::Boolean>()};
    const auto launches = plan.Get("launches").As<Napi::Array>();
    for (uint32_t i = 0; i < launches.Length(); i++) measurement.launches.push_back(toLaunch(launches.Get(i)));
    if (plan.Has("hold")) measurement.hold = toLaunch(plan.Get("hold"));
    return worker_->request(Value(), [measurement = std::move(measurement)](Slot& gpu) -> Worker::Finish {
      return [microseconds = gpu->measure(measurement)](Napi::Env env, const Napi::Object&) { return toNumbers(env, microseconds); };
    });
  }

  void close(const Napi::CallbackInfo&) { worker_->stop(); }

  void abandon(const Napi::CallbackInfo&) { worker_->abandon(); }

  std::shared_ptr<Buffer> bufferOf(const Napi::Value& handle) const {
    if (auto buffer = buffers_.find(number(handle))) return buffer;
    throw stale(handle.Env(), "buffer");
  }

  static Napi::Error stale(Napi::Env env, const std::string& what) {
    return toError(env, Fault("STALE_HANDLE", "this " + what + " was freed"));
  }

  LaunchRequest toLaunch(const Napi::Value& value) const {
    const auto launch = value.As<Napi::Object>();
    const auto integer = [&](const char* name) { return launch.Get(name).As<Napi::Number>().Uint32Value(); };
    LaunchRequest request{kernels_.find(number(launch.Get("kernel"))), integer("blocks"), integer("threads"), integer("sharedBytes"), launch.Get("awaitsPrior").As<Napi::Boolean>(), {}};
    if (!request.kernel) throw stale(value.Env(), "kernel");
    const auto arguments = launch.Get("arguments").As<Napi::Array>();
    for (uint32_t i = 0; i < arguments.Length(); i++) request.arguments.push_back(toArgument(arguments.Get(i).As<Napi::Object>()));
    return request;
  }

  Argument toArgument(const Napi::Object& argument) const {
    const std::string kind = argument.Get("kind").As<Napi::String>();
    if (kind == "i32") return argument.Get("value").As<Napi::Number>().Int32Value();
    auto buffer = bufferOf(argument.Get("buffer"));
    const auto offset = static_cast<uint64_t>(argument.Get("offset").As<Napi::Number>().Int64Value());
    if (kind == "pointer") return PointerArg{buffer, offset};
    return TensorMapArg{buffer,
                        offset,
                        argument.Get("dataType").As<Napi::Number>(),
                        argument.Get("swizzle").As<Napi::Number>(),
                        toIntegers<uint64_t>(argument.Get("sizes")),
                        toIntegers<uint64_t>(argument.Get("strides")),
                        toIntegers<uint32_t>(argument.Get("box"))};
  }

  std::shared_ptr<Worker> worker_;
  Handles<Buffer> buffers_;
  Handles<Kernel> kernels_;
};

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Device", Device::define(env));
  exports.Set("compile", Napi::Function::New(env, compile));
  exports.Set("nvrtcInfo", Napi::Function::New(env, nvrtcInfo));
  exports.Set("nvmlRead", Napi::Function::New(env, nvmlRead));
  return exports;
}

NODE_API_MODULE(tokensieve, init)

}  // namespace
}  // namespace tokensieve
