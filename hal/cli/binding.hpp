// SPDX-License-Identifier: Apache-2.0
// What the command line says about an entry's parameters, checked against its signature and bound to device buffers.
#pragma once

#include <string>
#include <vector>

#include "digits/npy.hpp"
#include "hal/hal.hpp"

namespace hal::cli {

// Each is "NAME=VALUE".
struct BindingOptions {
  std::vector<std::string> inputs;   // a .npy file
  std::vector<std::string> outputs;  // a .npy file to write
  std::vector<std::string> scalars;  // a number
  std::vector<std::string> shapes;   // sizes, "4,8"
};

class Binding {
 public:
  /// Reads the inputs and makes a buffer for every buffer and tensor. bf16 parameters are f32 in files.
  /// Errors  INVALID_ARGUMENT  a name that the entry does not have, one given twice, a parameter left out, a wrong type
  ///                           or size; the text shows the signature
  ///         and those of reading files and making buffers
  static Result<Binding> make(const Device& device, const Signature& signature, const BindingOptions& options);

  Result<void> upload(Queue& queue) const;
  Result<Point> download(Queue& queue);  // the host copies are whole at the point
  std::span<const Arg> args() const { return args_; }
  Result<std::uint64_t> save() const;  // how many files were written
  std::vector<std::string> summary() const;

 private:
  struct Slot {
    std::string name;
    digits::Array array;  // as the device has it
    std::string out_path;
    Buffer buffer;
    bool read = false;
  };
  std::vector<Slot> slots_;
  std::vector<Arg> args_;
};

/// "digits(in tensor pixels f32[8, 8], out tensor label i32[8])"
std::string signature_text(const Signature& signature);

}  // namespace hal::cli
