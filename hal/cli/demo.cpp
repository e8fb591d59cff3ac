// SPDX-License-Identifier: Apache-2.0
// halyard demo: one trained network on every device found, alone and data-parallel across light, each judged against
// the double-precision reference.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "cli/demo/classify.hpp"
#include "cli/demo/ranks.hpp"
#include "cli/demo/trace_merge.hpp"
#include "cli/files.hpp"
#include "cli/instance.hpp"
#include "cli/lent.hpp"
#include "cli/say.hpp"
#include "cli/table.hpp"
#include "graph/compare.hpp"

namespace hal::cli {
namespace {

using namespace std::chrono_literals;
using demo::Answers;
using demo::Job;
using demo::Verdict;
using Clock = std::chrono::steady_clock;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

struct Options {
  std::string samples;
  std::int64_t batch = 128;
  bool no_fabric = false;
  std::string export_folder;
};

// Prints as it goes, so that a slow device is seen to be slow.
class Report {
 public:
  Report(const Job& job, const Answers& reference) : job_(job), reference_(reference) {}

  void title() const {
    say("{:<41} {:<8} {:>8} {:>10} {:>9} {:>9} {:>9} {:>10}\n", "DEVICE", "EMULATED", "ACCURACY", "AGREE", "MAX DIFF",
        "PREPARE", "RUN", "MOVED");
  }
  void row(const std::string& what, bool emulated, const Answers& found, double prepare_ns, double run_ns,
           std::uint64_t bytes) {
    const Verdict verdict = demo::judge(job_, reference_, found);
    say("{:<41} {:<8} {:>7.2f}% {:>5}/{} {:>9.1e} {:>9} {:>9} {:>10}\n", what, emulated ? "yes" : "no",
        100.0 * static_cast<double>(verdict.right) / static_cast<double>(verdict.images), verdict.agree, verdict.images,
        verdict.largest_difference, prepare_ns > 0 ? time_text(prepare_ns) : "-", time_text(run_ns), bytes_text(bytes));
    if (verdict.pass()) {
      ++passed_;
    } else {
      fail(what, verdict.why);
    }
    std::fflush(stdout);
  }
  void fail(const std::string& what, std::string_view why) {
    ++failed_;
    say("{:<41} FAIL: {}\n", what, why);
    std::fflush(stdout);
  }
  void note(const std::string& text) const {
    say("    {}\n", text);
    std::fflush(stdout);
  }
  void skip(const std::string& what, std::string_view why) const { say("{:<41} not run: {}\n", what, why); }

  int passed() const { return passed_; }
  int failed() const { return failed_; }

 private:
  const Job& job_;
  const Answers& reference_;
  int passed_ = 0, failed_ = 0;
};

// What an emulated device modelled since it was opened, by its own account.
struct Modelled {
  double ns = 0, joules = 0;
};

Modelled modelled_by(const Device& device) {
  const Result<std::string> text = device.report();
  if (!text) { return {}; }
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("card") || !json["card"].is_object()) { return {}; }
  return {json["card"].value("modelled_ns", 0.0), json["card"].value("estimated_joules", 0.0)};
}

Result<void> on_one(const Instance& instance, const std::string& uri, const Job& job, const Options& options,
                    Report& report) {
  HAL_TRY(const Device device, instance.open(uri));
  const auto start = Clock::now();
  HAL_TRY(demo::Classifier classifier, demo::Classifier::make(device, job.weights, options.batch));
  const double prepare_ns = ns_since(start);
  Lent<Answers> answers{Answers(job.count())};
  answers.to(classifier.queue());
  const Modelled before = modelled_by(device);
  const auto first = Clock::now();
  HAL_TRY(const Point done, classifier.submit({job.digits.pixels, answers->labels, answers->probabilities}));
  HAL_CHECK(wait(done, 180s));
  const double run_ns = ns_since(first);
  const DeviceInfo info = device.info();
  report.row(fmt::format("{} {}", info.uri, info.name), info.is_emulated != 0, *answers, prepare_ns, run_ns,
             classifier.bytes_moved());
  if (const Modelled after = modelled_by(device); after.ns > before.ns) {
    report.note(fmt::format("modelled time {}, estimated energy {:.3g} mJ", time_text(after.ns - before.ns),
                            (after.joules - before.joules) * 1e3));
  }
  return {};
}

// The circuits that carried something, as the ports' reports have them.
void note_circuits(const demo::FabricAccount& account, const Report& report) {
  for (const std::string& text : account.ports) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("circuits")) { continue; }
    for (const nlohmann::json& circuit : json["circuits"]) {
      if (circuit.value("bytes", std::uint64_t{0}) == 0) { continue; }
      report.note(fmt::format(
          "emulated circuit {} {} -> {} via {}: {}, {:.1f} Gb/s, {} in {} transfers; modelled {} of "
          "light, {:.3g} uJ",
          circuit.value("circuit", ""), circuit.value("from", ""), circuit.value("to", ""), circuit.value("switch", ""),
          circuit.value("state", ""), circuit.value("gbps", 0.0), bytes_text(circuit.value("bytes", std::uint64_t{0})),
          circuit.value("transfers", std::uint64_t{0}), time_text(circuit.value("busy_seconds", 0.0) * 1e9),
          circuit.value("joules", 0.0) * 1e6));
    }
  }
}

// Two unlike devices if there are two: of each driver but the host's the last one that ran, which has most units.
std::vector<std::string> rank_devices(const std::vector<std::string>& uris) {
  std::vector<std::string> picked;
  const auto driver_of = [](const std::string& uri) { return uri.substr(0, uri.find(':')); };
  for (const std::string& uri : uris) {
    if (driver_of(uri) == "host") { continue; }
    if (!picked.empty() && driver_of(picked.back()) == driver_of(uri)) { picked.pop_back(); }
    picked.push_back(uri);
  }
  picked.resize(2, "host:0");
  return picked;
}

void across_light(const std::vector<std::string>& uris, const Job& job, const Options& options, Report& report) {
  const demo::RankOptions ranks{options.samples, "", rank_devices(uris), options.batch};
  const std::string what = fmt::format("{} + {} over {}", ranks.devices[0], ranks.devices[1], demo::kPort);
  const Result<demo::FabricAccount> account = demo::run_ranks(ranks);
  if (!account) { return report.fail(what, account.error().text()); }
  if (account->answers.labels.size() != static_cast<std::size_t>(job.count()) ||
      account->answers.probabilities.size() != static_cast<std::size_t>(job.count() * digits::kClasses)) {
    return report.fail(what, "rank 0 wrote answers of another size");
  }
  report.row(what, true, account->answers, 0, account->run_ns, account->device_bytes + account->fabric_bytes);
  report.note(fmt::format("2 processes: {} and {}; {} crossed the port", account->names[0], account->names[1],
                          bytes_text(account->fabric_bytes)));
  note_circuits(*account, report);
}

// Every way to open a device that the demo shows: as it is listed, and a card with partitions as one unit and as all.
std::vector<std::string> uris_of(const Instance& instance, const DeviceInfo& info) {
  const std::string uri = info.uri;
  const Result<Device> device = instance.open(uri);
  if (!device || device->supports("partition").support == HAL_NO || uri.find('/') != std::string::npos) {
    return {uri};
  }
  const Result<std::uint64_t> units = device->number("partition.units");
  if (!units || *units < 2) { return {uri}; }
  return {uri + "/pe0", fmt::format("{}/pe0-{}", uri, std::min<std::uint64_t>(*units, 4) - 1)};
}

Result<int> verdict(const Report& report, const char* trace) {
  if (trace != nullptr) { say("\ntrace: {} (open it at https://ui.perfetto.dev)\n", trace); }
  if (report.failed() != 0 || report.passed() == 0) {
    say("\nFAIL: {} of {} runs agree with the reference\n", report.passed(), report.passed() + report.failed());
    return kFailed;
  }
  say("\nPASS: all {} runs agree with the reference\n", report.passed());
  return kOk;
}

// The demo's graph and its first batch as files, for `halyard run` and `halyard graph`.
Result<int> export_files(const Job& job, const Options& options) {
  const std::string& folder = options.export_folder;
  const auto images = static_cast<std::size_t>(options.batch);
  HAL_TRY(const std::vector<std::byte> graph, digits::build_network(job.weights, options.batch));
  digits::Array pixels{DType::f32, {options.batch, 8, 8, 1}, {}};
  const auto bytes = std::as_bytes(std::span(job.digits.pixels).first(images * digits::kPixels));
  pixels.bytes.assign(bytes.begin(), bytes.end());
  HAL_TRY(const std::vector<std::byte> array, to_npy(pixels));
  HAL_CHECK(write_file(folder + "/digits.graph", graph));
  HAL_CHECK(write_file(folder + "/pixels.npy", array));
  say("halyard run --device host:0 --graph {0}/digits.graph --in pixels={0}/pixels.npy --out "
      "label={0}/label.npy\n",
      folder);
  return kOk;
}

Result<int> run(const Options& options) {
  HAL_TRY(Job loaded, demo::load_job(options.samples));
  static const Job& job = *new Job(std::move(loaded));  // never freed: a device that hangs may still read the digits
  if (!options.export_folder.empty()) { return export_files(job, options); }
  const auto start = Clock::now();
  HAL_TRY(const Answers reference, demo::reference_answers(job));
  const graph::Tolerance tolerance = graph::default_tolerance(DType::f32);
  say("{} handwritten digits (UCI, 8x8), batches of {}. Reference: double precision, {}.\n"
      "A device agrees if every label is the reference's and every probability p differs by at most {:g} + "
      "{:g} p.\n\n",
      job.count(), options.batch, time_text(ns_since(start)), tolerance.absolute, tolerance.relative);
  Report report(job, reference);
  report.title();
  std::vector<std::string> uris;
  bool port = false;
  {
    HAL_TRY(const Instance instance, open_instance());
    for (const DeviceInfo& info : instance.devices()) {
      if (info.usable == 0) {
        report.skip(info.uri, info.reason);
        continue;
      }
      if (std::string_view(info.driver) == "photonic") {
        port = port || std::string_view(info.uri) == demo::kPort;
        continue;
      }
      for (const std::string& uri : uris_of(instance, info)) {
        if (const Result<void> done = on_one(instance, uri, job, options, report); done) {
          uris.push_back(uri);
        } else {
          report.fail(uri, done.error().text());
        }
      }
    }
  }
  // The ranks open the same devices, so this process has closed them.
  if (options.no_fabric) {
    report.skip("two processes", "--no-fabric was given");
  } else if (!port) {
    report.skip("two processes", "there is no usable photonic:0; 'halyard doctor' says why");
  } else {
    across_light(uris, job, options, report);
  }
  const char* trace = std::getenv("HALYARD_TRACE");  // NOLINT(concurrency-mt-unsafe): nobody here calls setenv
  if (trace != nullptr && *trace == '\0') { trace = nullptr; }
  if (trace != nullptr) {
    const std::string path = trace;
    HAL_CHECK(demo::merge_traces(path, {{path + ".rank0", "rank 0: "}, {path + ".rank1", "rank 1: "}}));
  }
  return verdict(report, trace);
}

}  // namespace

void add_demo(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("demo", "Classify 1,797 handwritten digits on every device found");
  auto options = std::make_shared<Options>();
  command->add_option("--samples", options->samples, "Folder with data/ and digits/weights/");
  command->add_option("--batch", options->batch, "Images in one run of the network")
      ->capture_default_str()
      ->check(CLI::Range(1, 1797));
  command->add_flag("--no-fabric", options->no_fabric, "Leave out the run over two processes");
  command->add_option("--export", options->export_folder,
                      "Only write digits.graph and pixels.npy of one batch to this folder, for 'halyard run'");
  command->callback([&body, options] { body = [options] { return run(*options); }; });

  CLI::App* rank = app.add_subcommand("demo-rank", "One rank of the demo's run over two processes")->group("");
  auto ranks = std::make_shared<demo::RankOptions>();
  rank->add_option("--samples", ranks->samples);
  rank->add_option("--result", ranks->result)->required();
  rank->add_option("--device", ranks->devices)->required();
  rank->add_option("--batch", ranks->batch)->check(CLI::Range(1, 1797));
  rank->callback([&body, ranks] { body = [ranks] { return demo::rank_main(*ranks); }; });
}

}  // namespace hal::cli
