#include "nvrtc.h"

#include <optional>

#include "convert.h"

namespace tokensieve {
namespace {

void check(int result, const char* doing) {
  const std::string code = "NVRTC_ERROR_" + std::to_string(result);
  if (result != 0) throw Fault(code, std::string(doing) + " failed with " + code);
}

class Compile : public Napi::AsyncWorker {
 public:
  Compile(Napi::Env env, std::string text, std::string fileName, std::vector<std::string> options)
      : AsyncWorker(env),
        nvrtc_(loadNvrtc({})),  // nvrtcInfo has opened it
        deferred_(Napi::Promise::Deferred::New(env)),
        text_(std::move(text)),
        fileName_(std::move(fileName)),
        options_(std::move(options)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    NvrtcProgram program = nullptr;
    try {
      check(nvrtc_.nvrtcCreateProgram(&program, text_.c_str(), fileName_.c_str(), 0, nullptr, nullptr), "creation of the program");
      std::vector<const char*> options;
      bool toPtx = false;
      for (const std::string& option : options_) {
        options.push_back(option.c_str());
        toPtx |= option.find("compute_") != std::string::npos;
      }
      compiled_ = nvrtc_.nvrtcCompileProgram(program, static_cast<int>(options.size()), options.data()) == 0;
      log_ = fetch(program, nvrtc_.nvrtcGetProgramLogSize, nvrtc_.nvrtcGetProgramLog, "read of the log");
      log_ = log_.c_str();  // drops the final NUL
      if (compiled_)
        image_ = toPtx ? fetch(program, nvrtc_.nvrtcGetPTXSize, nvrtc_.nvrtcGetPTX, "read of the PTX")
                       : fetch(program, nvrtc_.nvrtcGetCUBINSize, nvrtc_.nvrtcGetCUBIN, "read of the cubin");
    } catch (const Fault& fault) {
      fault_ = fault;
    }
    if (program) nvrtc_.nvrtcDestroyProgram(&program);
  }

  void OnOK() override {
    if (fault_) return deferred_.Reject(toError(Env(), *fault_).Value());
    Napi::Object result = Napi::Object::New(Env());
    result.Set("ok", compiled_);
    result.Set("log", log_);
    result.Set("image", Napi::Buffer<char>::Copy(Env(), image_.data(), image_.size()));
    deferred_.Resolve(result);
  }

 private:
  using Size = int (*)(NvrtcProgram, size_t*);
  using Read = int (*)(NvrtcProgram, char*);
  static std::string fetch(NvrtcProgram program, Size sizeOf, Read read, const char* doing) {
    size_t size = 0;
    check(sizeOf(program, &size), doing);
    std::string bytes(size, '\0');
    check(read(program, bytes.data()), doing);
    return bytes;
  }

  const Nvrtc& nvrtc_;
  Napi::Promise::Deferred deferred_;
  std::string text_, fileName_, log_, image_;
  std::vector<std::string> options_;
  std::optional<Fault> fault_;
  bool compiled_ = false;
};

}  // namespace

Napi::Value compile(const Napi::CallbackInfo& info) {
  auto* job = new Compile(info.Env(), info[0].As<Napi::String>(), info[1].As<Napi::String>(), toStrings(info[2]));
  job->Queue();
  return job->promise();
}

Napi::Value nvrtcInfo(const Napi::CallbackInfo& info) {
  const Nvrtc& nvrtc = loadNvrtc(toStrings(info[0]));
  int major = 0, minor = 0, count = 0;
  check(nvrtc.nvrtcVersion(&major, &minor), "read of the version");
  check(nvrtc.nvrtcGetNumSupportedArchs(&count), "count of architectures");
  std::vector<int> supported(count);
  check(nvrtc.nvrtcGetSupportedArchs(supported.data()), "read of the architectures");
  Napi::Array architectures = Napi::Array::New(info.Env());
  for (int architecture : supported) architectures[architectures.Length()] = Napi::Number::New(info.Env(), architecture);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("version", std::to_string(major) + "." + std::to_string(minor));
  result.Set("architectures", architectures);
  return result;
}

}  // namespace tokensieve
