// SPDX-License-Identifier: Apache-2.0
#include "shared_object.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "driver_kit/errors.hpp"
#include "host.hpp"

namespace hal::host {

namespace {

#if defined(__x86_64__)
constexpr unsigned kMachine = EM_X86_64;
constexpr const char* kMachineName = "x86-64";
#elif defined(__aarch64__)
constexpr unsigned kMachine = EM_AARCH64;
constexpr const char* kMachineName = "AArch64";
#elif defined(__riscv)
constexpr unsigned kMachine = EM_RISCV;
constexpr const char* kMachineName = "RISC-V";
#else
constexpr unsigned kMachine = EM_NONE;
constexpr const char* kMachineName = "this processor";
#endif
constexpr unsigned char kByteOrder = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;

constexpr std::uint64_t kMostSymbols = 1U << 20U;
constexpr std::uint64_t kMostParts = 256;

Error bad(std::uint64_t offset, const std::string& what) {
  return kit::error(kOrigin, HAL_INVALID_IMAGE, fmt::format("host.so image, offset {}: {}", offset, what));
}

// The bytes of a file and the parts of it that are loaded.
struct Reader {
  std::span<const std::byte> image;
  std::vector<Elf64_Phdr> loads;

  template <class T>
  std::optional<T> get(std::uint64_t offset) const {
    T value;
    if (offset > image.size() || image.size() - offset < sizeof(T)) { return std::nullopt; }
    std::memcpy(&value, image.data() + offset, sizeof(T));
    return value;
  }

  // Where `bytes` bytes at a virtual address lie in the file.
  std::optional<std::uint64_t> offset_of(std::uint64_t address, std::uint64_t bytes) const {
    for (const Elf64_Phdr& part : loads) {
      if (address < part.p_vaddr || address - part.p_vaddr > part.p_filesz) { continue; }
      const std::uint64_t inside = address - part.p_vaddr;
      if (bytes <= part.p_filesz - inside) { return part.p_offset + inside; }
    }
    return std::nullopt;
  }

  template <class T>
  std::optional<T> at(std::uint64_t address) const {
    const auto offset = offset_of(address, sizeof(T));
    return offset ? get<T>(*offset) : std::nullopt;
  }
};

// How many symbols there are; the table itself does not say. Nothing if the hash table is damaged.
std::optional<std::uint64_t> count_symbols(const Reader& in, std::uint64_t hash, std::uint64_t gnu_hash) {
  if (hash != 0) {
    const auto chains = in.at<std::uint32_t>(hash + 4);
    return chains ? std::optional<std::uint64_t>(*chains) : std::nullopt;
  }
  const auto buckets = in.at<std::uint32_t>(gnu_hash), first = in.at<std::uint32_t>(gnu_hash + 4),
             bloom = in.at<std::uint32_t>(gnu_hash + 8);
  if (!buckets || !first || !bloom) { return std::nullopt; }
  const std::uint64_t table = gnu_hash + 16 + std::uint64_t{*bloom} * 8;
  const std::uint64_t chains = table + std::uint64_t{*buckets} * 4;
  if (!in.offset_of(table, std::uint64_t{*buckets} * 4)) { return std::nullopt; }
  std::uint64_t last = 0;
  for (std::uint64_t i = 0; i < *buckets; ++i) {
    last = std::max<std::uint64_t>(last, *in.at<std::uint32_t>(table + i * 4));
  }
  if (last < *first) { return *first; }  // nothing is exported
  for (;; ++last) {
    const auto link = in.at<std::uint32_t>(chains + (last - *first) * 4);
    if (!link) { return std::nullopt; }
    if ((*link & 1U) != 0) { return last + 1; }
  }
}

}  // namespace

Result<SharedObject> SharedObject::read(std::span<const std::byte> image) {
  Reader in{image, {}};
  const auto head = in.get<Elf64_Ehdr>(0);
  if (image.size() < SELFMAG || std::memcmp(image.data(), ELFMAG, SELFMAG) != 0) {
    return bad(0,
               "the bytes are no ELF file; compile the kernels as a shared object (hal_host_kernels() in CMake, "
               "or cc -shared -fPIC)");
  }
  if (!head) { return bad(0, fmt::format("{} bytes are fewer than an ELF header has", image.size())); }
  const auto other = [](const std::string& what) {
    return kit::error(kOrigin, HAL_INCOMPATIBLE,
                      fmt::format("host.so image: {}; compile the kernels for this machine, {}", what, kMachineName));
  };
  if (head->e_ident[EI_CLASS] != ELFCLASS64) {
    return other(fmt::format("class at offset 4 is {}, expected 64 bit", head->e_ident[EI_CLASS]));
  }
  if (head->e_ident[EI_DATA] != kByteOrder) {
    return other(fmt::format("byte order at offset 5 is {}", head->e_ident[EI_DATA]));
  }
  if (head->e_machine != kMachine) {
    return other(fmt::format("machine at offset 18 is {}, expected {}", head->e_machine, kMachine));
  }
  if (head->e_type != ET_DYN) {
    return bad(16, fmt::format("type is {}, expected {}, a shared object", head->e_type, ET_DYN));
  }
  if (head->e_phentsize != sizeof(Elf64_Phdr)) {
    return bad(54, fmt::format("a program header has {} bytes, expected {}", head->e_phentsize, sizeof(Elf64_Phdr)));
  }
  if (head->e_phnum > kMostParts) {
    return bad(56, fmt::format("{} program headers; at most {}", head->e_phnum, kMostParts));
  }

  std::optional<Elf64_Phdr> dynamic;
  for (std::uint64_t i = 0; i < head->e_phnum; ++i) {
    const std::uint64_t at = head->e_phoff + i * sizeof(Elf64_Phdr);
    const auto part = at < head->e_phoff ? std::nullopt : in.get<Elf64_Phdr>(at);
    if (!part) { return bad(at, "a program header lies behind the end: the file was cut short"); }
    // The loader maps the file; reading past its end there is a signal, not an error.
    if (part->p_offset > image.size() || part->p_filesz > image.size() - part->p_offset) {
      return bad(at, fmt::format("a part of {} bytes at {} ends behind the file's {} bytes: it was cut short",
                                 part->p_filesz, part->p_offset, image.size()));
    }
    if (part->p_type == PT_LOAD) { in.loads.push_back(*part); }
    if (part->p_type == PT_DYNAMIC) { dynamic = *part; }
  }
  if (!dynamic) { return bad(head->e_phoff, "there is no dynamic part: this is no shared object"); }

  std::uint64_t symbols = 0, strings = 0, string_bytes = 0, hash = 0, gnu_hash = 0;
  for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic->p_filesz; at += sizeof(Elf64_Dyn)) {
    const auto entry = *in.get<Elf64_Dyn>(dynamic->p_offset + at);
    if (entry.d_tag == DT_NULL) { break; }
    if (entry.d_tag == DT_SYMTAB) { symbols = entry.d_un.d_ptr; }
    if (entry.d_tag == DT_STRTAB) { strings = entry.d_un.d_ptr; }
    if (entry.d_tag == DT_STRSZ) { string_bytes = entry.d_un.d_val; }
    if (entry.d_tag == DT_HASH) { hash = entry.d_un.d_ptr; }
    if (entry.d_tag == DT_GNU_HASH) { gnu_hash = entry.d_un.d_ptr; }
  }
  const auto names = strings != 0 ? in.offset_of(strings, string_bytes) : std::nullopt;
  if (symbols == 0 || !names || (hash == 0 && gnu_hash == 0)) {
    return bad(dynamic->p_offset, "the dynamic part names no symbols, strings or hash table inside the file");
  }
  const auto count = count_symbols(in, hash, gnu_hash);
  if (!count || *count > kMostSymbols) { return bad(dynamic->p_offset, "the hash table of symbols is damaged"); }

  SharedObject object;
  object.image_ = image;
  for (std::uint64_t i = 1; i < *count; ++i) {
    const auto symbol = in.at<Elf64_Sym>(symbols + i * sizeof(Elf64_Sym));
    if (!symbol) { return bad(dynamic->p_offset, fmt::format("symbol {} lies outside the file", i)); }
    if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol->st_info) == STB_LOCAL) { continue; }
    if (symbol->st_name >= string_bytes) {
      return bad(dynamic->p_offset,
                 fmt::format("the name of symbol {} lies outside the {} bytes of names", i, string_bytes));
    }
    const auto* name = reinterpret_cast<const char*>(image.data() + *names + symbol->st_name);
    const std::size_t length = strnlen(name, string_bytes - symbol->st_name);
    const unsigned type = ELF64_ST_TYPE(symbol->st_info);
    Symbol& made = object.symbols_[std::string(name, length)];
    made.function = type == STT_FUNC || type == STT_GNU_IFUNC;
    made.size = symbol->st_size;
    // From here on addresses are places in the file.
    made.address = in.offset_of(symbol->st_value, symbol->st_size).value_or(UINT64_MAX);
  }
  return object;
}

std::optional<std::uint32_t> SharedObject::constant(const std::string& name) const {
  const auto found = symbols_.find(name);
  if (found == symbols_.end() || found->second.function || found->second.size != sizeof(std::uint32_t)) {
    return std::nullopt;
  }
  return Reader{image_, {}}.get<std::uint32_t>(found->second.address);
}

bool SharedObject::has_function(const std::string& name) const {
  const auto found = symbols_.find(name);
  return found != symbols_.end() && found->second.function;
}

std::string SharedObject::functions(const std::string& prefix) const {
  std::string out;
  int shown = 0;
  for (auto at = symbols_.lower_bound(prefix); at != symbols_.end() && at->first.starts_with(prefix); ++at) {
    if (!at->second.function) { continue; }
    if (++shown > 20) { return out + ", ..."; }
    out += (out.empty() ? "" : ", ") + at->first.substr(prefix.size());
  }
  return out.empty() ? "none" : out;
}

// ------------------------------------------------------------------------------------------------------------- loading

namespace {

hal_error* write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) { continue; }
    if (written <= 0) {
      return fail(HAL_UNAVAILABLE, "the host.so image cannot be written to a file of its own", errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return nullptr;
}

}  // namespace

Result<LoadedObject> LoadedObject::load(std::span<const std::byte> image) {
  const int file = ::memfd_create("halyard-host-kernels", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) {
    return Error::adopt(fail(HAL_UNAVAILABLE, "no file in memory can be made for a host.so image", errno));
  }
  if (hal_error* error = write_all(file, image)) {
    ::close(file);
    return Error::adopt(error);
  }
  // Nobody changes code under those who run it.
  (void)::fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  std::string path = fmt::format("/proc/self/fd/{}", file);
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    Error error = kit::error(
        kOrigin, HAL_UNAVAILABLE,
        fmt::format("the system's loader refuses a host.so image: {}", why != nullptr ? why : "it does not say why"));
    ::close(file);
    return error;
  }
  return LoadedObject(handle, file, std::move(path));
}

LoadedObject::LoadedObject(LoadedObject&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)),
      file_(std::exchange(other.file_, -1)),
      path_(std::move(other.path_)) {}

LoadedObject::~LoadedObject() {
  if (handle_ == nullptr) { return; }
  ::dlclose(handle_);
  // An object that cannot be unloaded keeps its path, and so its descriptor: another image must not be taken for it.
  if (::dlopen(path_.c_str(), RTLD_NOLOAD | RTLD_NOW) == nullptr) { ::close(file_); }
}

void* LoadedObject::symbol(const std::string& name) const { return ::dlsym(handle_, name.c_str()); }

}  // namespace hal::host
