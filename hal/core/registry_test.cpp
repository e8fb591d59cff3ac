// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <halyard_catch.hpp>
#include <string>

#include "hal/hal.hpp"

extern "C" [[gnu::weak]] void __lsan_disable();  // NOLINT: of the leak sanitizer, where there is one

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
  CHECK(report_of(bad("bad_name")).find("no device URI can have") != std::string::npos);
  CHECK(report_of(bad("count_throws")).find("device_count() threw a C++ exception; no") != std::string::npos);
  CHECK(report_of(bad("counts_wrongly")).find("device_count() says 4294967295; at most 4096") != std::string::npos);
  CHECK(report_of(bad("describe_throws")).find("device_describe() threw a C++ exception (no such card)") !=
        std::string::npos);
}

TEST_CASE("registry: a plug-in that throws while it opens a device gives an error that names it") {
  hal::Instance instance = hal::Instance::create(bad("open_throws")).value();
  REQUIRE(instance.devices().size() == 1);
  CHECK(std::string(instance.devices()[0].uri) == "bad:0");
  const auto device = instance.open("bad:0");
  CHECK(device.error().code() == HAL_INTERNAL);
  CHECK(device.error().text().find("bad-open_throws.so threw a C++ exception (the card is on fire)") !=
        std::string_view::npos);
}

TEST_CASE("registry: a driver named twice is loaded once; two that share a name do not share devices") {
  const std::string once = report_of("host:host"),
                    path = report_of("null:" + std::string(DRIVER_DIR) + "/halyard-null.so");
  CHECK(once.find("host: loaded") == once.rfind("host: loaded"));
  CHECK(path.find("null: loaded") == path.rfind("null: loaded"));
  const std::string missing = report_of("nosuch:nosuch");
  CHECK(missing.find("nosuch: unavailable") == missing.rfind("nosuch: unavailable"));
  const std::string copy = std::string(BAD_DRIVER_DIR) + "/second.so";
  std::filesystem::copy_file(bad("open_throws"), copy, std::filesystem::copy_options::overwrite_existing);
  const std::string both = report_of(bad("open_throws") + ":" + copy);
  CHECK(both.find("calls itself 'bad' as") != std::string::npos);
  CHECK(both.find("bad: loaded from") != std::string::npos);
  std::filesystem::remove(copy);
}

TEST_CASE("registry: a driver that ends the process is named on the way out", "[fork]") {
  const auto [file, when, code] =
      GENERATE(std::tuple("exits", "while it was loaded", 3), std::tuple("open_exits", "in device_open()", 3),
               std::tuple("calls_exit", "in lane_create()", 0));
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    (void)dup2(ends[1], STDERR_FILENO);
    if (__lsan_disable != nullptr) { __lsan_disable(); }  // it ends in the middle of everything
    const auto instance = hal::Instance::create(bad(file));
    if (instance) {
      if (const auto device = instance->open("bad:0")) { (void)device->queue(); }
    }
    _exit(99);
  }
  close(ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<std::size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == code);
  CHECK(said.find(std::string("bad-") + file + ".so called exit() " + when) != std::string::npos);
}

TEST_CASE("registry: entries that belong together are there together, and half an entry is none") {
  CHECK(report_of(bad("half_virtual")).find("offers range_map() without range_reserve(); of \"virtual-memory\"") !=
        std::string::npos);
  CHECK(report_of(bad("half_import")).find("offers memory_import() without memory_unimport()") != std::string::npos);
  CHECK(report_of(bad("half_share")).find("offers physical_import_fd() without physical_export_fd()") !=
        std::string::npos);
  const hal::Device device = hal::Instance::create(bad("cut_entry")).value().open("bad:0").value();
  std::uint64_t number = 0;
  CHECK(hal::check(hal_device_number(device.get(), "colour", &number)).error().code() == HAL_NOT_FOUND);
}

TEST_CASE("registry: what a device's functions throw, and what they say they have made, are errors that name them") {
  const auto said = [](const auto& result, const char* part) {
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == HAL_INTERNAL);
    INFO(result.error().text());
    CHECK(result.error().text().find(part) != std::string_view::npos);
  };
  {
    hal::Device device = hal::Instance::create(bad("calls_throw")).value().open("bad:0").value();
    said(device.buffer(64), "memory_allocate() of driver");
    said(device.buffer(64), "bad-calls_throw.so threw a C++ exception (the card is on fire)");
    said(device.queue("q"), "lane_create() of driver");
    const int code = 0;
    const hal_image image{"x", &code, sizeof code, "entry a kernel group=1,1,1 shared=0\n", nullptr, 0};
    hal_program* program = nullptr;
    said(hal::check(hal_program_load(device.get(), &image, &program)), "program_load() of driver");
    char* report = nullptr;
    said(hal::check(hal_device_report(device.get(), &report)), "report() of driver");
    hal_buffer* imported = nullptr;
    said(hal::check(hal_buffer_import_host(device.get(), &report, sizeof report, nullptr, nullptr, &imported)),
         "memory_import() of driver");
    const void* address = nullptr;
    std::uint64_t size = 0;
    said(hal::check(hal_device_address(device.get(), &address, &size)), "address() of driver");
    hal_peer* peer = nullptr;
    said(hal::check(hal_peer_connect(device.get(), &code, sizeof code, 0, &peer)), "peer_connect() of driver");
    const hal_verdict verdict = hal_device_check(device.get(), &image);
    CHECK(verdict.support == HAL_NO);
    CHECK(std::string(verdict.why).find("program_check() of driver") != std::string::npos);
  }
  hal::Device device = hal::Instance::create(bad("no_lane")).value().open("bad:0").value();
  said(device.queue("q"), "lane_create() of driver");
  said(device.queue("q"), "reported success but gave no lane");
}

TEST_CASE("registry: settings with values that will be ignored are named with what is taken") {
  std::string said;
  const auto log = [](void* user, hal_log_level level, const char*, const char* text) {
    if (level == HAL_LOG_WARNING) { *static_cast<std::string*>(user) += std::string(text) + "\n"; }
  };
  setenv("HALYARD_EMULATED", "maybe", 1);
  setenv("HALYARD_EMULATED_CUDA_MEMORY", "4GiB", 1);
  setenv("HALYARD_EMULATED_CUDA_THREADS", "\x01\xff", 1);
  hal_instance_desc desc{};
  desc.struct_size = sizeof desc;
  desc.drivers = "host";
  desc.log = log;
  desc.log_user = &said;
  hal_instance* instance = nullptr;
  CHECK(hal::check(hal_instance_create(&desc, &instance)));
  hal_release(instance);
  for (const char* name : {"HALYARD_EMULATED", "HALYARD_EMULATED_CUDA_MEMORY", "HALYARD_EMULATED_CUDA_THREADS"}) {
    unsetenv(name);
  }
  CHECK(said.find("HALYARD_EMULATED is 'maybe' and is ignored: 0 or 1 is taken") != std::string::npos);
  CHECK(said.find("HALYARD_EMULATED_CUDA_MEMORY is '4GiB' and is ignored: a number of MiB") != std::string::npos);
  CHECK(said.find("HALYARD_EMULATED_CUDA_THREADS is '?\?' and is ignored") != std::string::npos);
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
