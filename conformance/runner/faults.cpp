// SPDX-License-Identifier: Apache-2.0
#include "conformance/runner/faults.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <ostream>

#include "conformance/runner/process.hpp"
#include "conformance/runner/report.hpp"
#include "conformance_registry.hpp"
#include "hal/hal.h"

namespace hal::conformance {
namespace {

std::string driver_folder() {
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&hal_instance_create), &self) == 0 || self.dli_fname == nullptr) { return {}; }
  const std::string path = self.dli_fname;
  return path.substr(0, path.rfind('/')) + "/halyard/";
}

bool names_requirement(const char* list, const std::string& id) {
  const char* at = std::strstr(list, id.c_str());
  return at != nullptr;
}

// The cases of the requirements that the fault names, then all others.
std::vector<std::string> targeted(const Fault& fault, const std::vector<std::string>& names, bool others) {
  std::vector<std::string> chosen;
  for (const std::string& name : names) {
    if (names_requirement(fault.kills, name.substr(0, name.find('/'))) != others) { chosen.push_back(name); }
  }
  return chosen;
}

const Record* first_bad(const Outcome& outcome) {
  const auto bad =
      std::find_if(outcome.records.begin(), outcome.records.end(), [](const Record& r) { return r.bad(); });
  return bad == outcome.records.end() ? nullptr : &*bad;
}

// Crashes before a case began, or no driver at all: says nothing about the suite.
bool proves_nothing(const Outcome& outcome) {
  const Record* bad = first_bad(outcome);
  return bad != nullptr && bad->status == Status::not_run;
}

class FaultRun {
 public:
  FaultRun(const Options& options, const std::vector<std::string>& names, std::ostream& out, std::ostream& err)
      : options_(options), names_(names), out_(out), err_(err) {
    process_.self = options.self;
    process_.batch = 64;
    process_.case_limit_ms = static_cast<std::uint64_t>(6000 * options.time_scale);
    process_.stop_at_first_failure = true;
    worker_.device = options.device.empty() && options.driver.empty() ? "host:0" : options.device;
    worker_.deadline_ms = static_cast<std::uint64_t>(1500 * options.time_scale);
    worker_.seed = options.seed;
    inner_ = options.driver.empty() ? worker_.device.substr(0, worker_.device.find(':')) : options.driver;
    shim_ = options.shim.empty() ? driver_folder() + "halyard-fault.so" : options.shim;
  }

  int run() {
    WorkerSettings plain = worker_;
    plain.drivers = options_.driver;
    std::string why;
    if (!describe_device(process_, plain, facts_, why)) {
      err_ << "no device to seed faults in: " << why << "\n";
      return 2;
    }
    out_ << "Seeded faults in " << facts_.uri << "  " << facts_.name << (facts_.emulated ? "  (emulated)" : "")
         << "\n\n";
    const auto chosen = [&](const Fault& fault) {
      return options_.fault.empty() || matches_one(options_.fault, fault.id);
    };
    for (const std::string& glob : options_.fault) {  // judging none must not read as a pass
      if (std::ranges::none_of(kFaults, [&](const Fault& fault) { return glob_match(glob.c_str(), fault.id); })) {
        err_ << "no fault matches '" << glob << "'\n";
        return 2;
      }
    }
    worker_.drivers = shim_;
    worker_.fault_inner = inner_;
    worker_.fault = "NONE";
    if (!leaves_a_device(why)) {
      err_ << "the fault shim " << shim_ << " cannot be used: " << why << "\n";
      return 2;
    }
    // Without a fault the shim must be invisible; otherwise a kill would prove nothing.
    if (!survives("NONE", names_of_all_faults(), why)) {
      err_ << "the shim itself changes the device: " << why << "\n";
      return 2;
    }
    for (const Fault& fault : kFaults) {
      if (!chosen(fault)) { continue; }
      fault.control ? judge_control(fault) : judge_fault(fault);
    }
    if (options_.fault.empty()) { judge_null(); }
    out_ << "\nfaults: " << killed_ << " killed, " << survived_ << " survived, " << absent_
         << " need a feature that this device does not have\ncontrols: " << controls_ << " survived, " << strict_
         << " wrongly killed\n"
         << (good() ? "PASS" : "FAIL") << "\n";
    return good() ? 0 : 1;
  }

 private:
  bool good() const { return survived_ == 0 && strict_ == 0 && vacuous_ == 0; }

  std::vector<std::string> names_of_all_faults() const {
    std::vector<std::string> chosen;
    for (const std::string& name : names_) {
      const bool named = std::any_of(std::begin(kFaults), std::end(kFaults), [&](const Fault& fault) {
        return names_requirement(fault.kills, name.substr(0, name.find('/')));
      });
      if (named) { chosen.push_back(name); }
    }
    return chosen;
  }

  Outcome with_fault(const char* id, const std::vector<std::string>& names) {
    worker_.fault = id;
    return run_cases(process_, worker_, names);
  }

  bool survives(const char* id, const std::vector<std::string>& names, std::string& why) {
    const Outcome outcome = with_fault(id, names);
    const Record* bad = first_bad(outcome);
    if (bad != nullptr) { why = bad->name + ": " + bad->what; }
    return bad == nullptr;
  }

  // Where it does not, as with a shim that does not know the fault, every case fails.
  bool leaves_a_device(std::string& why) const {
    DeviceFacts ignored;
    return describe_device(process_, worker_, ignored, why);
  }

  void line(const Fault& fault, const char* verdict, const std::string& by) {
    std::string head = std::string(fault.id) + "  " + verdict;
    head.resize(std::max<std::size_t>(head.size(), 24), ' ');
    out_ << head << fault.text << "\n";
    if (!by.empty()) { out_ << std::string(24, ' ') << by.substr(0, by.find('\n')) << "\n"; }
    out_.flush();
  }

  void judge_fault(const Fault& fault) {
    if (*fault.needs != '\0' && !facts_.has(fault.needs)) {
      ++absent_;
      line(fault, "does not apply", std::string("needs ") + fault.needs);
      return;
    }
    for (const bool others : {false, true}) {
      const Outcome outcome = with_fault(fault.id, targeted(fault, names_, others));
      const Record* bad = first_bad(outcome);
      if (bad == nullptr) { continue; }
      std::string why;
      if (proves_nothing(outcome) || !leaves_a_device(why)) {
        ++survived_;
        line(fault, "NOT RUN", why.empty() ? bad->what : why);
        return;
      }
      ++killed_;
      // Another requirement's case noticed it first: the fault is found, but the clause is not proved by it.
      line(fault, others ? "killed elsewhere" : "killed",
           bad->name + "  " + status_name(bad->status) + ": " + bad->what);
      return;
    }
    ++survived_;
    line(fault, "SURVIVED", std::string("cases of ") + fault.kills + " and all others passed");
  }

  void judge_control(const Fault& fault) {
    std::string why;
    if (survives(fault.id, targeted(fault, names_, false), why)) {
      ++controls_;
      line(fault, "control, alive", "");
    } else {
      ++strict_;
      line(fault, "WRONGLY KILLED", why);
    }
  }

  void judge_null() {
    ProcessSettings process = process_;
    process.stop_at_first_failure = false;
    process.batch = 16;
    process.case_limit_ms = static_cast<std::uint64_t>(3000 * options_.time_scale);
    WorkerSettings worker = worker_;
    worker.device = "null:0";
    worker.drivers = "null";
    worker.fault.clear();
    worker.fault_inner.clear();
    worker.deadline_ms = static_cast<std::uint64_t>(500 * options_.time_scale);
    const Outcome outcome = run_cases(process, worker, names_);
    std::size_t passed = 0, allowed = 0;
    out_ << "\nThe null driver, which does nothing\n";
    for (const Verdict& verdict : verdicts_of(outcome.records)) {
      if (verdict.status == Status::not_run) {
        out_ << "  could not be tested: " << verdict.records.front()->what << "\n";
        ++vacuous_;
        return;
      }
      if (verdict.status != Status::pass || verdict.requirement->level != Level::must) { continue; }
      ++passed;
      if (verdict.requirement->null_may_pass) {
        ++allowed;
      } else {
        ++vacuous_;
        out_ << "  PASSES " << verdict.requirement->id << "  " << verdict.requirement->text << "\n";
      }
    }
    out_ << "  passes " << passed << " musts, " << allowed
         << " of them allowed: about identity, or kept by the core alone\n";
  }

  const Options& options_;
  const std::vector<std::string>& names_;
  std::ostream& out_;
  std::ostream& err_;
  ProcessSettings process_;
  WorkerSettings worker_;
  DeviceFacts facts_;
  std::string inner_, shim_;
  std::size_t killed_ = 0, survived_ = 0, absent_ = 0, controls_ = 0, strict_ = 0, vacuous_ = 0;
};

}  // namespace

int run_faults(const Options& options, const std::vector<std::string>& names, std::ostream& out, std::ostream& err) {
  return FaultRun(options, names, out, err).run();
}

}  // namespace hal::conformance
