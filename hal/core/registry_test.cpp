// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <halyard_catch.hpp>
#include <string>

#include "hal/hal.hpp"

namespace {

std::string report_of(const std::string& drivers) { return hal::Instance::create(drivers).value().report(); }
std::string bad(const std::string& fault) { return std::string(BAD_DRIVER_DIR) + "/bad-" + fault + ".so"; }

}  // namespace

TEST_CASE("registry: every way for a plug-in to be wrong is a reason, never a crash") {
  CHECK(report_of(bad("no_entry")).find("exports no function hal_driver_entry") != std::string::npos);
  CHECK(report_of(bad("wrong_major")).find("speaks border version 2.") != std::string::npos);
  CHECK(report_of(bad("short_table")).find("table of 16 bytes") != std::string::npos);
  CHECK(report_of(bad("null_slot")).find("required entry device_count() empty") != std::string::npos);
  CHECK(report_of(bad("throws")).find("threw a C++ exception") != std::string::npos);
  CHECK(report_of(bad("no_driver")).find("gave no driver") != std::string::npos);
  CHECK(report_of(bad("fails")).find("libchip.so.1 is not installed") != std::string::npos);
}

TEST_CASE("registry: a file that is no shared object and one that is not there are reasons") {
  const std::string path = std::string(BAD_DRIVER_DIR) + "/text.so";
  std::FILE* file = std::fopen(path.c_str(), "w");
  REQUIRE(file != nullptr);
  std::fputs("not a library", file);
  std::fclose(file);
  CHECK(report_of(path).find("cannot be loaded") != std::string::npos);
  CHECK(report_of("/nowhere/x.so").find("cannot be loaded") != std::string::npos);
  CHECK(report_of("nosuch").find("no file halyard-nosuch.so") != std::string::npos);
}

TEST_CASE("registry: a pipe is a reason, not a wait; a library that was cut short is a reason, not a signal") {
  const std::string pipe = std::string(BAD_DRIVER_DIR) + "/pipe.so", cut = std::string(BAD_DRIVER_DIR) + "/cut.so";
  (void)std::remove(pipe.c_str());
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(report_of(pipe).find("no regular file") != std::string::npos);
  (void)std::remove(pipe.c_str());
  namespace fs = std::filesystem;
  fs::copy_file(bad("no_entry"), cut, fs::copy_options::overwrite_existing);
  fs::resize_file(cut, 200);  // behind the header, before the last of what it describes
  CHECK(report_of(cut).find("cut short") != std::string::npos);
  fs::resize_file(cut, 40);
  CHECK(report_of(cut).find("cannot be loaded") != std::string::npos);
  fs::remove(cut);
}

TEST_CASE("registry: unknown drivers and devices are named with what there is") {
  hal::Instance instance = hal::Instance::create("host:" + bad("fails")).value();
  CHECK(instance.open("nosuch:0").error().code() == HAL_NOT_FOUND);
  CHECK(instance.open("host:99").error().code() == HAL_NOT_FOUND);
  CHECK(instance.open("host:0?colour=red").error().code() == HAL_INVALID_ARGUMENT);
  CHECK(instance.open("host:0/nopart").error().code() != HAL_OK);
}

TEST_CASE("registry: opening a URI twice gives one device, and a closed one can be opened again") {
  hal::Instance instance = hal::Instance::create("host").value();
  {
    hal::Device a = instance.open("host:0").value(), b = instance.open("host:0").value();
    CHECK(a.get() == b.get());
  }
  for (int i = 0; i < 20; ++i) { CHECK(instance.open("host:0")); }
}

TEST_CASE("registry: NULL arguments are refused, not followed") {
  CHECK(hal::check(hal_instance_create(nullptr, nullptr)).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(hal::check(hal_device_open(nullptr, "host:0", nullptr)).error().code() == HAL_INVALID_ARGUMENT);
  CHECK(hal::check(hal_queue_submit(nullptr, nullptr, 0, nullptr, nullptr)).error().code() == HAL_INVALID_ARGUMENT);
  hal_instance_desc desc{};
  hal_instance* out = nullptr;
  CHECK(hal::check(hal_instance_create(&desc, &out)).error().code() == HAL_INVALID_ARGUMENT);
  hal_release(nullptr);
}
