// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/demo/classify.hpp"
#include "cli/demo/ranks.hpp"
#include "cli/fabric_error.hpp"
#include "cli/files.hpp"
#include "cli/instance.hpp"
#include "cli/lent.hpp"
#include "fabric/bootstrap/session.hpp"

namespace hal::cli::demo {
namespace {

using namespace std::chrono_literals;
using fabric::Session;

constexpr auto kMeet = 30s;   // to find each other
constexpr auto kWork = 180s;  // also for the other rank's device to be done, which may be much the slower one
constexpr std::uint64_t kImagesTag = 1, kAnswersTag = 2;

Result<void> lift(fabric::Result<void> result) {
  if (!result) { return to_error(result.error()); }
  return {};
}

Result<std::unique_ptr<Session>> join() {
  auto world = fabric::read_world([](const char* name) { return std::getenv(name); });  // NOLINT: one thread so far
  if (!world) { return to_error(world.error()); }
  if (world->size != 2) {
    return Error(HAL_INVALID_ARGUMENT, fmt::format("a rank of the demo runs in a world of 2, this one has {}: start it "
                                                   "with 'halyard demo'",
                                                   world->size));
  }
  auto session = Session::join(*world, "demo", kMeet);
  if (!session) { return to_error(session.error()); }
  return *std::move(session);
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Tells the other rank and hears what it says under the same key.
Result<std::string> swap(Session& session, const char* key, std::string_view mine, std::chrono::seconds limit = kMeet) {
  HAL_CHECK(lift(session.put(fmt::format("{}.{}", key, session.rank()), mine)));
  auto theirs = session.get(fmt::format("{}.{}", key, 1 - session.rank()), limit);
  if (!theirs) { return to_error(theirs.error()); }
  return *std::move(theirs);
}

// A port's memory as the other rank sees it, and the other's as this one does.
Result<Remote> swap_memory(Session& session, const Buffer& mine) {
  HAL_TRY(const Remote exported, mine.export_memory());
  HAL_TRY(const std::string text, swap(session, "memory", text_of(std::as_bytes(std::span(&exported, 1)))));
  Remote theirs{};
  if (text.size() != sizeof theirs) { return Error(HAL_INTERNAL, "the other rank's memory has another form"); }
  std::memcpy(&theirs, text.data(), sizeof theirs);
  return theirs;
}

// What both ranks have: a port, the way to the other one, and a device that computes.
struct Rank {
  std::unique_ptr<Session> session;
  Instance instance;
  Device port, device;
  Peer peer;
  Queue wire;
  const Job* job = nullptr;  // never freed: a device or peer that hangs may still read the digits
  std::size_t half = 0;      // images of rank 0; the rest are rank 1's

  std::size_t rest() const { return static_cast<std::size_t>(job->count()) - half; }
  std::uint64_t image_bytes() const { return rest() * digits::kPixels * sizeof(float); }
  std::uint64_t label_bytes() const { return rest() * sizeof(std::int32_t); }
  std::uint64_t answer_bytes() const { return label_bytes() + rest() * digits::kClasses * sizeof(float); }
};

template <class T>
std::span<T> as(std::span<std::byte> bytes) {
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

Result<Rank> begin(const RankOptions& options) {
  Rank rank;
  HAL_TRY(rank.session, join());
  HAL_TRY(Job loaded, load_job(options.samples));
  static const Job& kept = *new Job(std::move(loaded));
  rank.job = &kept;
  rank.half = (static_cast<std::size_t>(rank.job->count()) + 1) / 2;
  HAL_TRY(rank.instance, open_instance());
  HAL_TRY(rank.device, rank.instance.open(options.devices.at(rank.session->rank())));
  HAL_TRY(rank.port, rank.instance.open(kPort));
  HAL_TRY(const std::vector<std::byte> address, rank.port.address());
  HAL_TRY(const std::string other, swap(*rank.session, "address", text_of(address)));
  HAL_TRY(rank.peer, rank.port.connect(std::as_bytes(std::span(other)), 1 - rank.session->rank()));
  HAL_TRY(rank.wire, rank.port.queue(fmt::format("to rank {}", 1 - rank.session->rank())));
  return rank;
}

// Rank 0: images out, half of the work, answers in.
Result<FabricAccount> lead(Rank& rank, Classifier& classifier) {
  HAL_TRY(const Buffer inbox, rank.port.buffer(rank.answer_bytes()));
  HAL_TRY(const Buffer note, rank.port.buffer(8));
  HAL_TRY(Queue answers, rank.port.queue("answers"));
  HAL_TRY(const Remote images, swap_memory(*rank.session, inbox));

  Lent<FabricAccount> account{FabricAccount()};
  account.to(classifier.queue());
  account->answers = Answers(rank.job->count());
  const std::span<const float> pixels(rank.job->digits.pixels);
  const std::span<std::int32_t> labels(account->answers.labels);
  const std::span<float> probabilities(account->answers.probabilities);
  HAL_CHECK(lift(rank.session->barrier("ready", kMeet)));
  const auto start = std::chrono::steady_clock::now();

  HAL_TRY(const Point told, answers.recv(rank.peer, kAnswersTag, note));
  HAL_CHECK(rank.wire.put(host(pixels.subspan(rank.half * digits::kPixels)), rank.peer, images));
  HAL_TRY(const Point sent, rank.wire.send(host(std::span("images!", 8)), rank.peer, kImagesTag));
  HAL_TRY(const Point mine, classifier.submit({pixels.first(rank.half * digits::kPixels), labels.first(rank.half),
                                               probabilities.first(rank.half * digits::kClasses)}));
  const std::array points{mine, sent, told};
  HAL_CHECK(wait_all(points, kWork));

  const std::span<std::byte> bytes = inbox.host();
  if (bytes.empty()) { return Error(HAL_UNSUPPORTED, fmt::format("{}'s memory is not host memory", kPort)); }
  std::memcpy(labels.subspan(rank.half).data(), bytes.data(), rank.label_bytes());
  std::memcpy(probabilities.subspan(rank.half * digits::kClasses).data(), bytes.data() + rank.label_bytes(),
              rank.answer_bytes() - rank.label_bytes());
  account->run_ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  account->fabric_bytes = rank.image_bytes() + rank.answer_bytes() + 16;
  return std::move(*account);
}

// Rank 1: everything is submitted before an image has arrived; points carry it from the wire to the device and back.
Result<void> follow(Rank& rank, Classifier& classifier) {
  HAL_TRY(Buffer images, rank.port.buffer(rank.image_bytes()));
  HAL_TRY(Buffer results, rank.port.buffer(rank.answer_bytes()));
  // The device sees them as host memory, so no queue of the device keeps these buffers.
  Lent<Buffer> inbox(std::move(images)), outbox(std::move(results));
  inbox.to(classifier.queue());
  outbox.to(classifier.queue());
  HAL_TRY(const Buffer note, rank.port.buffer(8));
  HAL_TRY(const Remote answers, swap_memory(*rank.session, *inbox));
  const std::span<std::byte> out = outbox->host();
  if (inbox->host().empty() || out.empty()) {
    return Error(HAL_UNSUPPORTED, fmt::format("{}'s memory is not host memory", kPort));
  }
  HAL_CHECK(lift(rank.session->barrier("ready", kMeet)));

  HAL_TRY(const Point arrived, rank.wire.recv(rank.peer, kImagesTag, note));
  HAL_TRY(const Point done,
          classifier.submit({as<const float>(inbox->host()), as<std::int32_t>(out.first(rank.label_bytes())),
                             as<float>(out.subspan(rank.label_bytes()))},
                            {&arrived, 1}));
  HAL_CHECK(rank.wire.put(*outbox, rank.peer, answers, {.waits = {done}}));
  HAL_TRY(const Point told, rank.wire.send(host(std::span("answers", 8)), rank.peer, kAnswersTag));
  return wait(told, kWork);
}

nlohmann::json to_json(const FabricAccount& account) {
  return {{"labels", account.answers.labels},
          {"probabilities", account.answers.probabilities},
          {"names", account.names},
          {"fabric_bytes", account.fabric_bytes},
          {"device_bytes", account.device_bytes},
          {"run_ns", account.run_ns},
          {"ports", account.ports}};
}

}  // namespace

Result<int> rank_main(const RankOptions& options) {
  if (options.devices.size() != 2) { return Error(HAL_INVALID_ARGUMENT, "one device for each of the two ranks"); }
  HAL_TRY(Rank rank, begin(options));
  HAL_TRY(Classifier classifier, Classifier::make(rank.device, rank.job->weights, options.batch));
  FabricAccount account;
  if (rank.session->rank() == 0) {
    HAL_TRY(account, lead(rank, classifier));
  } else {
    HAL_CHECK(follow(rank, classifier));
  }
  HAL_TRY(const std::string port, rank.port.report());
  HAL_TRY(
      const std::string text,
      swap(*rank.session, "account",
           nlohmann::json{{"name", rank.device.info().name}, {"device_bytes", classifier.bytes_moved()}, {"port", port}}
               .dump(),
           kWork));
  if (rank.session->rank() == 0) {
    const nlohmann::json other = nlohmann::json::parse(text);
    account.names = {rank.device.info().name, other.at("name").get<std::string>()};
    account.device_bytes = classifier.bytes_moved() + other.at("device_bytes").get<std::uint64_t>();
    account.ports = {port, other.at("port").get<std::string>()};
    const std::string out = to_json(account).dump();
    HAL_CHECK(write_file(options.result, std::as_bytes(std::span(out))));
  }
  // Nobody closes a port while the other still uses it.
  HAL_CHECK(lift(rank.session->barrier("end", kWork)));
  return 0;
}

}  // namespace hal::cli::demo
