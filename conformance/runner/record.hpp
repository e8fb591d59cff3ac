// SPDX-License-Identifier: Apache-2.0
// What became of a case.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hal::conformance {

// In the order of gravity: a requirement's verdict is the worst of its cases.
enum class Status : std::uint8_t { pass, unsupported, fail, timeout, crash, not_run };

const char* status_name(Status status);

struct Record {
  std::string name;         // of the case
  std::string requirement;  // its ID
  Status status = Status::not_run;
  std::string what;  // why; empty for pass
  std::string file;
  unsigned line = 0;
  std::uint64_t checks = 0;
  double ms = 0;

  bool bad() const { return status >= Status::fail; }
};

// The device as the workers saw it.
struct DeviceFacts {
  std::string uri, name, driver, vendor;
  bool emulated = false;
  std::vector<std::string> features;

  bool has(const std::string& feature) const {
    for (const std::string& each : features) {
      if (each == feature) { return true; }
    }
    return false;
  }
};

struct Outcome {
  DeviceFacts device;
  std::vector<Record> records;
};

}  // namespace hal::conformance
