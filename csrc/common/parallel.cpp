#include "parallel.h"

#include <dlfcn.h>
#include <link.h>

#include <cstring>
#include <string>

#include "runtime.h"

namespace genfast {
namespace {

struct OpenMP {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*max_threads)() = nullptr;
  int (*thread)() = nullptr;
  int (*threads)() = nullptr;
  int (*in_parallel)() = nullptr;
  std::string path;

  OpenMP() {
    // The runtime is already in the process, under whatever file name torch's wheel gave it.
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* self) {
          const char* name = info->dlpi_name;
          if (name == nullptr) return 0;
          const char* base = std::strrchr(name, '/');
          base = base ? base + 1 : name;
          const bool openmp = !std::strncmp(base, "libgomp", 7) || !std::strncmp(base, "libomp", 6) ||
                              !std::strncmp(base, "libiomp5", 8);
          return openmp && static_cast<OpenMP*>(self)->load(name) ? 1 : 0;
        },
        this);
  }

  bool load(const char* name) {
    void* handle = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) return false;
    const bool found = find(handle, "GOMP_parallel", parallel) && find(handle, "omp_get_max_threads", max_threads) &&
                       find(handle, "omp_get_thread_num", thread) && find(handle, "omp_get_num_threads", threads) &&
                       find(handle, "omp_in_parallel", in_parallel);
    if (found) path = name;
    return found;
  }

  template <class Function>
  static bool find(void* handle, const char* symbol, Function& function) {
    function = reinterpret_cast<Function>(dlsym(handle, symbol));
    return function != nullptr;
  }
};

const OpenMP& openmp() {
  static const OpenMP runtime;
  return runtime;
}

}  // namespace

const std::string& openmp_path() { return openmp().path; }

int max_threads() {
  const OpenMP& runtime = openmp();
  return runtime.path.empty() || runtime.in_parallel() ? 1 : runtime.max_threads();
}

void run_team(int threads, void (*body)(void*, int, int), void* context) {
  struct Team {
    void (*body)(void*, int, int);
    void* context;
  } team{body, context};
  if (openmp().path.empty()) return body(context, 0, 1);
  openmp().parallel(
      [](void* pointer) {
        auto& t = *static_cast<Team*>(pointer);
        t.body(t.context, openmp().thread(), openmp().threads());
      },
      &team, static_cast<unsigned>(threads), 0);
}

}  // namespace genfast
