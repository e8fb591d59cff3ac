// SPDX-License-Identifier: Apache-2.0
#include "program_symbols.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace hal::test {
namespace {

struct Function {
  std::uint64_t begin, end;
  Symbol of;
};

const std::vector<Function>* functions = nullptr;  // by `begin`; never deleted, threads may outlive main()

// By its mangled name: `hal` and `rngd` are the project's namespaces, `hal::test` is its tests'.
Symbol kind_of(std::string_view name) {
  if (name.starts_with("_GLOBAL__sub_I_") || name.find("__static_initialization_and_destruction_") != name.npos) {
    return Symbol::start;
  }
  if (!name.starts_with("_Z")) { return Symbol::others; }
  name.remove_prefix(2);
  while (name.starts_with('Z')) { name.remove_prefix(1); }  // local to a function: what that is
  if (name.starts_with("St")) { return Symbol::language; }
  if (!name.starts_with('N')) { return Symbol::others; }
  name.remove_prefix(1);
  while (!name.empty() && std::string_view("rVKRO").find(name.front()) != name.npos) { name.remove_prefix(1); }
  if (name.starts_with('S') || name.starts_with("3fmt") || name.starts_with("9__gnu_cxx")) { return Symbol::language; }
  if (name.starts_with("3hal4test")) { return Symbol::others; }
  return name.starts_with("3hal") || name.starts_with("4rngd") ? Symbol::ours : Symbol::others;
}

std::vector<Function> read(const char* file, std::size_t size) {
  std::vector<Function> found;
  const auto* head = reinterpret_cast<const Elf64_Ehdr*>(file);
  if (size < sizeof *head || head->e_shoff == 0 || head->e_shoff + head->e_shnum * sizeof(Elf64_Shdr) > size) {
    return found;
  }
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(file + head->e_shoff);
  for (const Elf64_Shdr* table = sections; table != sections + head->e_shnum; ++table) {
    if (table->sh_type != SHT_SYMTAB || table->sh_link >= head->e_shnum) { continue; }
    const char* names = file + sections[table->sh_link].sh_offset;
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(file + table->sh_offset);
    for (std::size_t i = 0; i < table->sh_size / sizeof *symbols; ++i) {
      const Elf64_Sym& symbol = symbols[i];
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_size == 0) { continue; }
      found.push_back({symbol.st_value, symbol.st_value + symbol.st_size, kind_of(names + symbol.st_name)});
    }
  }
  std::sort(found.begin(), found.end(), [](const Function& a, const Function& b) { return a.begin < b.begin; });
  return found;
}

}  // namespace

void read_program_symbols() {
  const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  struct stat about{};
  if (fd < 0) { return; }
  if (::fstat(fd, &about) == 0) {
    const auto size = static_cast<std::size_t>(about.st_size);
    if (void* file = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0); file != MAP_FAILED) {
      functions = new std::vector<Function>(read(static_cast<const char*>(file), size));
      ::munmap(file, size);
    }
  }
  ::close(fd);
}

Symbol program_symbol(std::uint64_t offset) {
  if (functions == nullptr) { return Symbol::others; }
  auto at = std::upper_bound(functions->begin(), functions->end(), offset,
                             [](std::uint64_t value, const Function& one) { return value < one.begin; });
  if (at == functions->begin()) { return Symbol::others; }
  --at;
  return offset < at->end ? at->of : Symbol::others;
}

}  // namespace hal::test
