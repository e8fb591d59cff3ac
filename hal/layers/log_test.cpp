// SPDX-License-Identifier: Apache-2.0
#include "core/log.hpp"

#include <halyard_catch.hpp>
#include <string>
#include <vector>

namespace {

using hal::core::Log;

struct Lines {
  std::vector<std::string> all;
  static void write(void* user, hal_log_level, const char* origin, const char* text) {
    static_cast<Lines*>(user)->all.push_back(std::string(origin) + ": " + text);
  }
};

}  // namespace

TEST_CASE("log: levels hold by subsystem, the rest has its own") {
  Lines lines;
  Log log("core=debug,cuda=error,info", Lines::write, &lines);
  CHECK(log.problem().empty());
  log.write(HAL_LOG_DEBUG, "core", "a");
  log.write(HAL_LOG_DEBUG, "host", "b");
  log.write(HAL_LOG_INFO, "host", "c");
  log.write(HAL_LOG_WARNING, "cuda", "d");
  log.write(HAL_LOG_ERROR, "cuda", "e");
  CHECK(lines.all == std::vector<std::string>{"core: a", "host: c", "cuda: e"});
}

TEST_CASE("log: what is no level is said, and the rest still holds") {
  Lines lines;
  Log log("core=loud,=debug,error", Lines::write, &lines);
  CHECK(log.problem().find("'core=loud'") != std::string::npos);
  CHECK(log.problem().find("'=debug'") != std::string::npos);
  log.write(HAL_LOG_WARNING, "core", "a");
  CHECK(lines.all.empty());
  CHECK(Log(nullptr, Lines::write, &lines).problem().empty());
}

TEST_CASE("log: a level for what logs nothing is said, with what does") {
  const std::vector<std::string> known{"core", "cuda"};
  CHECK(Log("core=debug,cuda=info,error", nullptr, nullptr).unknown(known).empty());
  const std::string text = Log("zork=debug,core=info,x=error", nullptr, nullptr).unknown(known);
  CHECK(text.find("gives a level to 'zork', 'x', and") != std::string::npos);
  CHECK(text.find("the subsystems are: core, cuda") != std::string::npos);
}

TEST_CASE("log: texts that differ in numbers only are bounded within a second and counted") {
  Lines lines;
  Log log("warning", Lines::write, &lines);
  const Log::Clock::time_point start{};
  for (int i = 0; i < 50; ++i) { log.write(HAL_LOG_WARNING, "x", ("call " + std::to_string(i)).c_str(), start); }
  CHECK(lines.all.size() == Log::kMostPerSecond);
  log.write(HAL_LOG_WARNING, "x", "another", start);
  CHECK(lines.all.back() == "x: another");
  log.write(HAL_LOG_WARNING, "x", "call 99", start + std::chrono::seconds(1));
  CHECK(lines.all[lines.all.size() - 2].find("30 more times") != std::string::npos);
  CHECK(lines.all.back() == "x: call 99");
  for (int i = 0; i < 30; ++i) { log.write(HAL_LOG_WARNING, "y", "again", start); }
  log.finish();
  CHECK(lines.all.back().find("10 more messages") != std::string::npos);
}
