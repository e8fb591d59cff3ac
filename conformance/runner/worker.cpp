// SPDX-License-Identifier: Apache-2.0
#include "conformance/runner/worker.hpp"

#include <sys/prctl.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>

#include "conformance/cases/case.hpp"
#include "conformance/cases/probes.hpp"
#include "conformance/runner/stream.hpp"

namespace hal::conformance {
namespace {

std::uint64_t seed_of(const std::string& name, std::uint64_t seed) {
  std::uint64_t hash = 1469598103934665603ULL ^ seed;  // FNV-1a: the same on every machine
  for (const char c : name) { hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL; }
  return hash;
}

void report_device(hal_device* device, const std::string& uri) {
  const hal_device_info info = hal_device_describe(device);
  std::string features;
  for (const char* feature : kFeatures) {
    if (hal_device_supports(device, feature).support == HAL_NO) { continue; }
    features += (features.empty() ? "" : ",") + quoted(feature);
  }
  stream_line("{\"kind\":\"device\",\"uri\":" + quoted(uri) + ",\"name\":" + quoted(info.name) +
              ",\"driver\":" + quoted(info.driver) + ",\"vendor\":" + quoted(info.vendor) +
              ",\"emulated\":" + (info.is_emulated != 0 ? "true" : "false") + ",\"features\":[" + features + "]}");
}

// Empty if there is none; then `why` says so.
std::string first_device(hal_instance* instance, std::string& why) {
  hal_device_info info{};
  for (std::uint32_t i = 0; i < hal_instance_device_count(instance); ++i) {
    hal_error* error = hal_instance_device(instance, i, &info);
    if (error == nullptr && info.usable != 0) { return info.uri; }
    hal_release(error);
  }
  why = std::string("no usable device; ") + hal_instance_report(instance);
  return {};
}

// The whole life of one case. Does not return if it fails.
void run_case(const CaseInfo& info, hal_instance* instance, const std::string& uri, const WorkerSettings& settings,
              bool& described) {
  const std::string name = info.name();
  stream_begin_case(name);
  static_cast<void>(checks_made());
  {
    Owned<hal_device> device;
    if (hal_error* error = open_device(instance, uri, settings.deadline_ms * 1'000'000U, device.out())) {
      fail_case({info.file, info.line}, "the device cannot be opened: " + text_of(error));
    }
    if (!described) {
      report_device(device, uri);
      described = true;
    }
    Case t({instance, &device, uri, settings.drivers, seed_of(name, settings.seed), settings.deadline_ms * 1'000'000U});
    const char* feature = info.requirement->condition;
    if (*feature != '\0' && !t.supports(feature)) {
      const std::string why = hal_device_supports(device, feature).why;
      probe_absent(t, feature);
      stream_end_case("unsupported", std::string(feature) + ": " + why, "", 0, checks_made());
      return;
    }
    info.body(t);
  }
  // Closing the device belongs to the case: a crash or a hang in there is its crash or hang.
  const std::uint64_t made = checks_made();
  if (made == 0) {
    stream_end_case("fail", "the case checked nothing; this is a mistake of the suite", info.file, info.line, 0);
    stream_exit();
  }
  stream_end_case("pass", "", "", 0, made);
}

}  // namespace

int run_worker(const WorkerSettings& settings) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  stream_open(kStreamDescriptor);
  if (!settings.fault.empty()) {
    setenv("HALYARD_FAULT", settings.fault.c_str(), 1);
    setenv("HALYARD_FAULT_INNER", settings.fault_inner.c_str(), 1);
  }
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = settings.drivers.empty() ? nullptr : settings.drivers.c_str();
  Owned<hal_instance> instance;
  std::string why;
  if (hal_error* error = hal_instance_create(&desc, instance.out())) { why = text_of(error); }
  const std::string uri = !why.empty() ? "" : settings.device.empty() ? first_device(instance, why) : settings.device;
  if (!why.empty()) {
    stream_line("{\"kind\":\"fatal\",\"what\":" + quoted(why) + "}");
    return 2;
  }
  bool described = false;
  for (std::string name; std::getline(std::cin, name);) {
    if (name == "-") {  // only say what the device is
      Owned<hal_device> device;
      if (hal_error* error = open_device(instance, uri, settings.deadline_ms * 1'000'000U, device.out())) {
        stream_line("{\"kind\":\"fatal\",\"what\":" + quoted(text_of(error)) + "}");
        return 2;
      }
      report_device(device, uri);
      continue;
    }
    for (const CaseInfo& info : all_cases()) {
      if (info.name() == name) { run_case(info, instance, uri, settings, described); }
    }
  }
  return 0;
}

}  // namespace hal::conformance
