// SPDX-License-Identifier: Apache-2.0
#include "vm/module.hpp"

#include <fmt/format.h>

#include <charconv>
#include <new>

#include "vm/decoder.hpp"

namespace hal::emulated_cuda {
namespace {

// Plain sm_XY runs on every newer device; sm_XYf on its family; sm_XYa on that chip alone.
void check_target(const Syntax& syntax) {
  std::string_view text = syntax.target;
  unsigned number = 0;
  if (!text.starts_with("sm_")) {
    throw PtxError(2, fmt::format("unknown target '{}'", text), LoadFailure::wrong_target);
  }
  text.remove_prefix(3);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const bool runs = error == std::errc{} && (suffix.empty()                   ? number <= kComputeCapability
                                             : suffix == "a" || suffix == "f" ? number == kComputeCapability
                                                                              : false);
  if (!runs) {
    throw PtxError(2,
                   fmt::format("target '{}' does not run on the emulated device, which is sm_{}", syntax.target,
                               kComputeCapability),
                   LoadFailure::wrong_target);
  }
}

}  // namespace

std::variant<LoadedModule, LoadError> load_module(std::string_view text, const PlaceVariable& place) {
  try {
    const Syntax syntax = parse(text);
    if (syntax.version > kNewestPtxVersion) {
      throw PtxError(1,
                     fmt::format("PTX version {}.{} is newer than {}.{}", syntax.version / 10, syntax.version % 10,
                                 kNewestPtxVersion / 10, kNewestPtxVersion % 10),
                     LoadFailure::unsupported_version);
    }
    check_target(syntax);
    LoadedModule module;
    module.version = syntax.version;
    module.target = syntax.target;
    std::vector<std::uint64_t> addresses;
    for (const Symbol& s : syntax.globals) {
      std::uint64_t address = 0;
      if (s.space == Space::global || s.space == Space::constant) {
        address = place(s);
        if (address == 0) { throw std::bad_alloc(); }
        module.variables.push_back({s.name, address, s.bytes});
      }
      addresses.push_back(address);
    }
    for (const Kernel& k : syntax.kernels) { module.kernels.push_back(decode(syntax, k, addresses)); }
    return module;
  } catch (const PtxError& e) { return LoadError{e.failure(), e.line(), e.what()}; } catch (const std::bad_alloc&) {
    return LoadError{LoadFailure::no_memory, 0, "out of memory"};
  }
}

}  // namespace hal::emulated_cuda
