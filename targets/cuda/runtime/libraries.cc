#include <dlfcn.h>

#include <mutex>
#include <optional>

#include "cuda_abi.h"

namespace tokensieve {
namespace {

class Library {
 public:
  explicit Library(const std::vector<std::string>& paths) {
    std::string reasons;
    for (const std::string& path : paths) {
      handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_) return;
      reasons += (reasons.empty() ? "" : "; ") + std::string(dlerror());
    }
    throw Fault("LIBRARY_NOT_FOUND", reasons);
  }

  template <class Function>
  void resolve(Function*& function, const char* name) {
    resolveOptional(function, name);
    if (!function)
      throw Fault("LIBRARY_NOT_FOUND", std::string("the library has no ") + name + "; it is too old or not what its name says");
  }

  template <class Function>
  void resolveOptional(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(dlsym(handle_, name));
  }

 private:
  void* handle_ = nullptr;
};

template <class Table, class Fill>
const Table& loadOnce(const std::vector<std::string>& paths, Fill fill) {
  static std::mutex mutex;  // every Node thread has its own environment, the libraries are shared
  static std::optional<Table> loaded;
  std::lock_guard lock(mutex);
  if (!loaded) {
    Library library(paths);
    Table table;
    fill(table, library);
    loaded = table;
  }
  return *loaded;
}

}  // namespace

const Driver& loadDriver(const std::vector<std::string>& paths) {
  return loadOnce<Driver>(paths, [](Driver& table, Library& library) {
#define RESOLVE(name, ...) library.resolve(table.name, #name);
#define RESOLVE_OPTIONAL(name, ...) library.resolveOptional(table.name, #name);
    TOKENSIEVE_DRIVER(RESOLVE)
    TOKENSIEVE_DRIVER_OPTIONAL(RESOLVE_OPTIONAL)
  });
}

const Nvrtc& loadNvrtc(const std::vector<std::string>& paths) {
  return loadOnce<Nvrtc>(paths, [](Nvrtc& table, Library& library) { TOKENSIEVE_NVRTC(RESOLVE) });
}

const Nvml* loadNvml(const std::vector<std::string>& paths) {
  try {
    return &loadOnce<Nvml>(paths, [](Nvml& table, Library& library) {
      TOKENSIEVE_NVML(RESOLVE)
      if (table.nvmlInit_v2() != 0) throw Fault("LIBRARY_NOT_FOUND", "NVML does not start");
    });
  } catch (const Fault&) {
    return nullptr;
  }
}

}  // namespace tokensieve
