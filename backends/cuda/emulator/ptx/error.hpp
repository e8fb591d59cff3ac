// SPDX-License-Identifier: Apache-2.0
// What goes wrong while PTX is loaded. Thrown inside the loader only; load_module() turns it into a value.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace hal::emulated_cuda {

enum class LoadFailure : std::uint8_t {
  invalid_ptx,          // not PTX, or PTX that the emulator cannot run
  unsupported_version,  // a newer .version than the emulator knows
  wrong_target,         // a .target that the emulated device does not run
  no_memory,            // of the host, or of the device for a variable
};

class PtxError : public std::exception {
 public:
  PtxError(std::uint32_t line, std::string message, LoadFailure failure = LoadFailure::invalid_ptx)
      : line_(line), failure_(failure), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  std::uint32_t line() const { return line_; }
  LoadFailure failure() const { return failure_; }

 private:
  std::uint32_t line_;
  LoadFailure failure_;
  std::string message_;
};

}  // namespace hal::emulated_cuda
