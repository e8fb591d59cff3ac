// SPDX-License-Identifier: Apache-2.0
// halyard conformance: the suite's own command line, worker processes included.
#include "cli/command.hpp"
#include "conformance/runner/runner.hpp"

namespace hal::cli {

void add_conformance(CLI::App& app, Body& body) {
  CLI::App* command = app.add_subcommand("conformance", "Judge a device or a driver by requirement");
  command->set_help_flag();  // the suite explains its options itself
  command->prefix_command();
  command->callback([&body, command] {
    body = [words = command->remaining()]() -> Result<int> {
      std::vector<const char*> arguments{"halyard conformance"};
      for (const std::string& word : words) { arguments.push_back(word.c_str()); }
      return conformance::command(static_cast<int>(arguments.size()), arguments.data(),
                                  {"/proc/self/exe", "conformance"});
    };
  });
}

}  // namespace hal::cli
