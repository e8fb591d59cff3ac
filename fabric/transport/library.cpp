// SPDX-License-Identifier: Apache-2.0
#include "fabric/transport/library.hpp"

#include <dlfcn.h>
#include <rdma/fi_errno.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <optional>

namespace hal::fabric {
namespace {

// libfabric's own names for the errors that its providers give in practice; the rest are errno's.
const char* name_of_error(int error) {
  switch (error) {
    case FI_EOTHER:
      return "FI_EOTHER";
    case FI_ETOOSMALL:
      return "FI_ETOOSMALL";
    case FI_EOPBADSTATE:
      return "FI_EOPBADSTATE";
    case FI_EAVAIL:
      return "FI_EAVAIL";
    case FI_EBADFLAGS:
      return "FI_EBADFLAGS";
    case FI_ENOEQ:
      return "FI_ENOEQ";
    case FI_EDOMAIN:
      return "FI_EDOMAIN";
    case FI_ENOCQ:
      return "FI_ENOCQ";
    case FI_ETRUNC:
      return "FI_ETRUNC";
    case FI_ENOKEY:
      return "FI_ENOKEY";
    case FI_ENOAV:
      return "FI_ENOAV";
    case FI_EOVERRUN:
      return "FI_EOVERRUN";
    default:
      break;
  }
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "FI_UNKNOWN";
}

// Debian's libfabric brings libpsm along, whose constructor takes over the program's fatal signals to write backtraces
// into the current folder. Loading a library must not change how a program ends, so what was there before is put back.
class SignalActionsKept {
 public:
  SignalActionsKept() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) { ::sigaction(kSignals[i], nullptr, &before_[i]); }
  }
  ~SignalActionsKept() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) { ::sigaction(kSignals[i], &before_[i], nullptr); }
  }
  SignalActionsKept(const SignalActionsKept&) = delete;
  SignalActionsKept& operator=(const SignalActionsKept&) = delete;

 private:
  static constexpr std::array kSignals{SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGFPE, SIGINT, SIGTERM};
  std::array<struct sigaction, kSignals.size()> before_{};
};

struct Opened {
  FabricLibrary library;
  std::optional<Failure> failure;
};

Opened open_library() {
  Opened opened;
  const SignalActionsKept kept;
  void* handle = ::dlopen("libfabric.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    opened.failure =
        fail(HAL_UNAVAILABLE, "libfabric cannot be opened ({}); on Debian it is package libfabric1", ::dlerror())
            .error();
    return opened;
  }
  const auto find = [&](auto& function, const char* name, const char* version) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlvsym(handle, name, version));
    if (function == nullptr && !opened.failure) {
      opened.failure = fail(HAL_UNAVAILABLE, "libfabric has no {}@{}", name, version).error();
    }
  };
  find(opened.library.getinfo, "fi_getinfo", "FABRIC_1.3");
  find(opened.library.freeinfo, "fi_freeinfo", "FABRIC_1.3");
  find(opened.library.dupinfo, "fi_dupinfo", "FABRIC_1.3");
  find(opened.library.fabric, "fi_fabric", "FABRIC_1.1");
  find(opened.library.strerror, "fi_strerror", "FABRIC_1.0");
  find(opened.library.version, "fi_version", "FABRIC_1.0");
  return opened;
}

}  // namespace

std::unexpected<Failure> FabricLibrary::fail(hal_code code, std::int64_t status, const std::string& what) const {
  const int error = static_cast<int>(std::abs(status));
  return std::unexpected(Failure{code, fmt::format("{}: {}", what, strerror(error)), name_of_error(error), status});
}

Result<const FabricLibrary*> fabric_library() {
  static const Opened opened = open_library();
  if (opened.failure) { return std::unexpected(*opened.failure); }
  return &opened.library;
}

}  // namespace hal::fabric
