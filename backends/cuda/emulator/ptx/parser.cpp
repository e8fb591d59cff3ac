// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "ptx/error.hpp"
#include "ptx/lexer.hpp"
#include "ptx/syntax.hpp"

namespace hal::emulated_cuda {
namespace {

constexpr std::uint64_t kLargestVariable = 1ull << 28;
constexpr std::size_t kMostRegisters = 1u << 16;
constexpr std::size_t kMostStatements = 1u << 20;
constexpr int kDeepestScope = 64;

struct Name {
  enum class Kind : std::uint8_t { reg, reg_range, variable, parameter, global } kind = Kind::reg;
  Type type = Type::none;
  std::uint32_t index = 0;
  std::uint32_t count = 0;  // reg_range
};

class Parser {
 public:
  explicit Parser(std::string_view text) : tokens_(tokenize(text)) {}

  Syntax run() {
    header();
    while (!at_end()) { module_item(); }
    return std::move(syntax_);
  }

 private:
  // ---- tokens ----
  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool at_end() const { return peek().kind == TokenKind::end; }
  bool is(std::string_view text) const { return peek().kind != TokenKind::string && peek().text == text && !at_end(); }
  bool accept(std::string_view text) {
    if (!is(text)) { return false; }
    ++at_;
    return true;
  }
  [[noreturn]] void fail(std::string message) const { throw PtxError(peek().line, std::move(message)); }
  std::string found() const {
    return at_end() ? std::string("the end of the text") : fmt::format("'{}'", peek().text.substr(0, 60));
  }
  void expect(std::string_view text) {
    if (!accept(text)) { fail(fmt::format("expected '{}', found {}", text, found())); }
  }
  std::string_view word(std::string_view what) {
    if (peek().kind != TokenKind::word) { fail(fmt::format("expected {}, found {}", what, found())); }
    return tokens_[at_++].text;
  }
  std::uint64_t integer(std::string_view what) {
    if (peek().kind != TokenKind::integer) { fail(fmt::format("expected {}, found {}", what, found())); }
    return tokens_[at_++].bits;
  }
  void skip_line() {
    const std::uint32_t line = peek().line;
    while (!at_end() && peek().line == line) { ++at_; }
  }
  void skip_to(std::string_view text) {
    while (!at_end() && !is(text)) { ++at_; }
    expect(text);
  }
  void skip_braces() {
    expect("{");
    for (int depth = 1; depth > 0; ++at_) {
      if (at_end()) { fail("a '{' is never closed"); }
      if (is("{")) { ++depth; }
      if (is("}")) { --depth; }
    }
  }

  // ---- module ----
  void header() {
    expect(".version");
    const Token version = peek();
    if (version.kind != TokenKind::floating) { fail(fmt::format("expected a version such as 7.0, found {}", found())); }
    ++at_;
    const double value = std::bit_cast<double>(version.bits);
    if (!(value >= 1.0 && value < 100.0)) { throw PtxError(version.line, "the PTX version is out of range"); }
    syntax_.version = static_cast<std::uint32_t>(value * 10.0 + 0.5);
    expect(".target");
    syntax_.target = std::string(word("a target such as sm_80"));
    while (accept(",")) { word("a target option"); }
    if (accept(".address_size")) {
      const std::uint32_t line = peek().line;
      if (integer("an address size") != 64) { throw PtxError(line, "only .address_size 64 is supported"); }
    }
  }

  void module_item() {
    if (is(".file") || is(".loc")) {
      skip_line();
    } else if (is(".section")) {
      ++at_;
      word("a section name");
      skip_braces();
    } else if (accept(".pragma")) {
      skip_to(";");
    } else {
      bool external = false;
      while (is(".visible") || is(".weak") || is(".extern") || is(".common")) {
        external = external || is(".extern");
        ++at_;
      }
      if (accept(".entry")) {
        kernel();
      } else if (accept(".func")) {
        function();
      } else if (is(".global") || is(".const") || is(".shared")) {
        variable(external, nullptr);
      } else {
        fail(fmt::format("{} does not start anything that a PTX module may contain here", found()));
      }
    }
  }

  // Device functions are read over; a call to one is refused where it stands.
  void function() {
    while (!at_end() && !is("{") && !is(";")) { ++at_; }
    if (!accept(";")) { skip_braces(); }
  }

  struct Declaration {
    Type type = Type::none;
    std::uint32_t align = 0;
    std::uint32_t vector = 1;
  };

  Declaration declaration() {
    Declaration d;
    for (;;) {
      if (accept(".align")) {
        const std::uint64_t align = integer("an alignment");
        if (!std::has_single_bit(align) || align > 4096) { fail("an alignment must be a power of two up to 4096"); }
        d.align = static_cast<std::uint32_t>(align);
      } else if (accept(".v2")) {
        d.vector = 2;
      } else if (accept(".v4")) {
        d.vector = 4;
      } else if (accept(".ptr")) {
        for (;;) {  // .ptr .global .align 4: a hint about what the pointer points to
          if (accept(".align")) {
            integer("an alignment");
          } else if (!(accept(".global") || accept(".shared") || accept(".const") || accept(".local"))) {
            break;
          }
        }
        return d;
      } else if (is(".attribute")) {
        fail("variable attributes (managed, unified) are not supported");
      } else if (peek().kind == TokenKind::word && peek().text.starts_with('.')) {
        d.type = type_named(peek().text.substr(1));
        if (d.type == Type::none) { fail(fmt::format("unknown type {}", found())); }
        ++at_;
      } else {
        if (d.type == Type::none) { fail(fmt::format("expected a type, found {}", found())); }
        return d;
      }
    }
  }

  std::uint64_t dimensions(bool& open) {
    std::uint64_t count = 1;
    while (accept("[")) {
      if (accept("]")) {
        open = true;
        continue;
      }
      const std::uint64_t n = integer("an array length");
      if (n == 0 || n > kLargestVariable || count > kLargestVariable / n) { fail("an array length is out of range"); }
      count *= n;
      expect("]");
    }
    return count;
  }

  // One declaration statement of variables; `kernel` null: module scope.
  void variable(bool external, Kernel* kernel) {
    const std::string_view directive = word("a state space");
    const Space space = directive == ".global"   ? Space::global
                        : directive == ".const"  ? Space::constant
                        : directive == ".shared" ? Space::shared
                                                 : Space::local;
    const Declaration d = declaration();
    do {
      Symbol symbol;
      const std::uint32_t line = peek().line;
      symbol.name = std::string(word("a variable name"));
      symbol.space = space;
      symbol.type = d.type;
      bool open = false;
      symbol.count = dimensions(open) * d.vector;
      const std::uint64_t size = size_of(d.type);
      if (size == 0) { fail("a variable cannot have this type"); }
      if (symbol.count > kLargestVariable / size) { fail("a variable is larger than 256 MiB"); }
      symbol.bytes = symbol.count * size;
      symbol.align = std::max(d.align, static_cast<std::uint32_t>(size * d.vector));
      if (accept("=")) {
        open = false;
        initializer(symbol, static_cast<std::uint32_t>(size));
      }
      if (open) {
        if (!(external && space == Space::shared)) { throw PtxError(line, "only extern .shared arrays may be open"); }
        symbol.bytes = 0;
        symbol.external = true;
      } else if (external) {
        throw PtxError(line, fmt::format("'{}' is defined in another module; linking is not supported", symbol.name));
      }
      Name name;
      if (kernel != nullptr) {
        name = {Name::Kind::variable, d.type, static_cast<std::uint32_t>(kernel->variables.size()), 0};
        kernel->variables.push_back(symbol);
      } else {
        name = {Name::Kind::global, d.type, static_cast<std::uint32_t>(syntax_.globals.size()), 0};
        syntax_.globals.push_back(symbol);
      }
      define(line, symbol.name, name);
    } while (accept(","));
    expect(";");
  }

  void initializer(Symbol& symbol, std::uint32_t size) {
    int depth = 0;
    do {
      while (accept("{")) { ++depth; }
      const bool minus = accept("-");
      const Token value = peek();
      std::uint64_t bits = value.bits;
      if (value.kind == TokenKind::integer) {
        bits = minus ? 0 - bits : bits;
      } else if (value.kind == TokenKind::floating) {
        const double number = minus ? -std::bit_cast<double>(bits) : std::bit_cast<double>(bits);
        bits =
            size == 4 ? std::bit_cast<std::uint32_t>(static_cast<float>(number)) : std::bit_cast<std::uint64_t>(number);
      } else {
        fail(fmt::format("expected a number in an initializer, found {} (addresses are not supported)", found()));
      }
      ++at_;
      if (symbol.initial.size() + size > symbol.bytes) { fail("an initializer is longer than its variable"); }
      const std::size_t end = symbol.initial.size();
      symbol.initial.resize(end + size);
      std::memcpy(symbol.initial.data() + end, &bits, size);
      while (depth > 0 && accept("}")) { --depth; }
    } while (depth > 0 && accept(","));
    if (depth != 0) { fail(fmt::format("expected '}}' at the end of an initializer, found {}", found())); }
  }

  // ---- kernels ----
  void kernel() {
    Kernel kernel;
    kernel.line = peek().line;
    kernel.name = std::string(word("a kernel name"));
    for (const Kernel& other : syntax_.kernels) {
      if (other.name == kernel.name) { fail(fmt::format("kernel '{}' is defined twice", kernel.name)); }
    }
    scopes_.emplace_back();
    if (accept("(")) {
      while (!is(")")) {
        parameter(kernel);
        if (!accept(",")) { break; }
      }
      expect(")");
    }
    performance_directives(kernel);
    if (accept(";")) {  // a declaration
      scopes_.pop_back();
      return;
    }
    expect("{");
    labels_.clear();
    while (!is("}")) { body_item(kernel, 1); }
    expect("}");
    scopes_.pop_back();
    for (const auto& [label, entry] : labels_) {
      if (!entry.defined) {
        throw PtxError(entry.line, fmt::format("label '{}' of kernel '{}' is never defined", label, kernel.name));
      }
    }
    syntax_.kernels.push_back(std::move(kernel));
  }

  void parameter(Kernel& kernel) {
    expect(".param");
    const Declaration d = declaration();
    Symbol symbol;
    const std::uint32_t line = peek().line;
    symbol.name = std::string(word("a parameter name"));
    symbol.space = Space::param;
    symbol.type = d.type;
    bool open = false;
    symbol.count = dimensions(open);
    const std::uint64_t size = size_of(d.type);
    symbol.bytes = symbol.count * size;
    if (size == 0 || open || symbol.bytes > 32764) {
      fail("a kernel parameter must have a size of at most 32764 bytes");
    }
    symbol.align = std::max(d.align, static_cast<std::uint32_t>(size));
    symbol.offset = (kernel.parameter_bytes + symbol.align - 1) / symbol.align * symbol.align;
    kernel.parameter_bytes = symbol.offset + symbol.bytes;
    if (kernel.parameter_bytes > 32764) { fail("the kernel's parameters are larger than 32764 bytes"); }
    define(line, symbol.name, {Name::Kind::parameter, d.type, static_cast<std::uint32_t>(kernel.parameters.size()), 0});
    kernel.parameters.push_back(std::move(symbol));
  }

  void performance_directives(Kernel& kernel) {
    while (peek().kind == TokenKind::word && peek().text.starts_with('.')) {
      const std::string_view name = word("a directive");
      if (name == ".maxntid" || name == ".reqntid") {
        kernel.exact_threads = name == ".reqntid";
        std::uint32_t limits[3] = {1, 1, 1};
        std::size_t i = 0;
        do {
          const std::uint64_t n = integer("a thread count");
          if (i == 3 || n == 0 || n > 1024) { fail("a thread count is out of range"); }
          limits[i++] = static_cast<std::uint32_t>(n);
        } while (accept(","));
        std::copy(limits, limits + 3, kernel.max_threads);
      } else if (name == ".minnctapersm" || name == ".maxnreg" || name == ".maxnctapersm") {
        integer("a number");
      } else if (name == ".noreturn") {
        continue;
      } else {
        fail(fmt::format("kernel directive '{}' is not supported", name));
      }
    }
  }

  void body_item(Kernel& kernel, int depth) {
    if (at_end()) { fail(fmt::format("kernel '{}' is never closed with '}}'", kernel.name)); }
    if (accept("{")) {
      if (depth >= kDeepestScope) { fail("scopes are nested too deeply"); }
      scopes_.emplace_back();
      while (!is("}")) { body_item(kernel, depth + 1); }
      expect("}");
      scopes_.pop_back();
    } else if (accept(".reg")) {
      registers(kernel);
    } else if (is(".shared") || is(".local")) {
      variable(false, &kernel);
    } else if (is(".loc") || is(".file")) {
      skip_line();
    } else if (accept(".pragma")) {
      skip_to(";");
    } else if (peek().kind == TokenKind::word && peek(1).text == ":" && peek(1).kind == TokenKind::punctuation) {
      Label& label = label_named(peek().text, kernel);
      if (label.defined) { fail(fmt::format("label '{}' is defined twice", peek().text)); }
      label.defined = true;
      kernel.labels[label.number] = static_cast<std::uint32_t>(kernel.statements.size());
      const std::uint32_t number = label.number;
      at_ += 2;
      if (accept(".branchtargets")) {
        std::vector<std::uint32_t>& targets = kernel.tables[number];
        do { targets.push_back(label_named(word("a label"), kernel).number); } while (accept(","));
        expect(";");
      }
    } else {
      statement(kernel);
    }
  }

  void registers(Kernel& kernel) {
    if (is(".v2") || is(".v4")) { fail("vector registers are not supported"); }
    const std::string_view type_word = word("a register type");
    const Type type = type_named(type_word.substr(type_word.starts_with('.') ? 1 : 0));
    if (type == Type::none || size_of(type) == 1) { fail(fmt::format("unknown register type '{}'", type_word)); }
    do {
      const std::uint32_t line = peek().line;
      const std::string name(word("a register name"));
      Name entry{Name::Kind::reg, type, static_cast<std::uint32_t>(kernel.registers.size()), 1};
      std::uint64_t count = 1;
      if (accept("<")) {
        count = integer("a register count");
        entry.kind = Name::Kind::reg_range;
        expect(">");
      }
      if (kernel.registers.size() + count > kMostRegisters) { fail("a kernel has more than 65536 registers"); }
      entry.count = static_cast<std::uint32_t>(count);
      for (std::uint64_t i = 0; i < count; ++i) {
        kernel.registers.push_back({entry.kind == Name::Kind::reg ? name : name + std::to_string(i), type});
      }
      define(line, name, entry);
    } while (accept(","));
    expect(";");
  }

  void statement(Kernel& kernel) {
    Statement s;
    s.line = peek().line;
    if (accept("@")) {
      s.guarded = true;
      s.guard_negated = accept("!");
      const std::string_view name = word("a predicate");
      const Name* entry = find(name);
      std::uint32_t index = 0;
      if (!register_index(name, entry, index) || kernel.registers[index].type != Type::pred) {
        fail(fmt::format("the guard '{}' is not a predicate register", name));
      }
      s.guard = index;
    }
    s.opcode = word("an instruction");
    if (s.opcode.starts_with('.')) { fail(fmt::format("'{}' is not supported inside a kernel", s.opcode)); }
    if (s.opcode.starts_with("call")) {
      fail("'call' is not supported: the emulator runs kernels whose device functions were inlined");
    }
    while (!is(";")) {
      s.operands.push_back(operand(kernel));
      if (accept("|")) {  // d|p: two results
        Operand both;
        both.kind = OperandKind::vector;
        both.pair = true;
        both.elements.push_back(std::move(s.operands.back()));
        both.elements.push_back(operand(kernel));
        s.operands.back() = std::move(both);
      }
      if (!accept(",")) { break; }
    }
    expect(";");
    if (kernel.statements.size() >= kMostStatements) { fail("a kernel has more than a million instructions"); }
    kernel.statements.push_back(std::move(s));
  }

  Operand operand(Kernel& kernel, bool inside_vector = false) {
    Operand o;
    o.text = peek().text;
    if (!inside_vector && accept("{")) {
      o.kind = OperandKind::vector;
      do { o.elements.push_back(operand(kernel, true)); } while (accept(","));
      expect("}");
      if (o.elements.size() > 8) { fail("a vector operand has more than eight elements"); }
      return o;
    }
    if (!inside_vector && accept("[")) {
      o = primary(kernel);
      if (o.kind != OperandKind::reg && o.kind != OperandKind::symbol && o.kind != OperandKind::integer) {
        fail("an address must start with a register, a variable or a number");
      }
      Operand address;
      address.kind = OperandKind::address;
      address.base = o.kind;
      address.index = o.index;
      address.module_scope = o.module_scope;
      address.parameter = o.parameter;
      address.text = o.text;
      address.bits = o.bits;
      address.bits += offset();
      expect("]");
      return address;
    }
    o.negated = accept("!");
    const bool negated = o.negated;
    o = primary(kernel);
    o.negated = negated;
    if (o.kind == OperandKind::symbol) { o.bits += offset(); }
    return o;
  }

  std::uint64_t offset() {
    std::uint64_t sum = 0;
    while (is("+") || is("-")) {
      const bool minus = is("-");
      ++at_;
      const bool also_minus = accept("-");
      const std::uint64_t n = integer("an offset");
      sum += minus != also_minus ? 0 - n : n;
    }
    return sum;
  }

  Operand primary(Kernel& kernel) {
    Operand o;
    const bool minus = accept("-");
    const Token token = peek();
    o.text = token.text;
    if (token.kind == TokenKind::integer) {
      ++at_;
      o.kind = OperandKind::integer;
      o.bits = minus ? 0 - token.bits : token.bits;
      return o;
    }
    if (token.kind == TokenKind::floating) {
      ++at_;
      o.kind = OperandKind::floating;
      o.single = token.single;
      o.bits = minus ? token.bits ^ (1ull << 63) : token.bits;
      return o;
    }
    if (minus || token.kind != TokenKind::word) { fail(fmt::format("expected an operand, found {}", found())); }
    ++at_;
    if (token.text == "_") { return o; }
    const Name* entry = find(token.text);
    if (register_index(token.text, entry, o.index)) {
      o.kind = OperandKind::reg;
    } else if (entry != nullptr && entry->kind == Name::Kind::reg_range) {
      fail(fmt::format("'{}' names {} registers; one of them is needed", token.text, entry->count));
    } else if (entry != nullptr) {
      o.kind = OperandKind::symbol;
      o.index = entry->index;
      o.module_scope = entry->kind == Name::Kind::global;
      o.parameter = entry->kind == Name::Kind::parameter;
    } else if (token.text.starts_with('%')) {
      o.kind = OperandKind::special;
    } else {
      o.kind = OperandKind::label;
      o.index = label_named(token.text, kernel).number;
    }
    return o;
  }

  // ---- names ----
  struct Label {
    std::uint32_t number = 0;
    std::uint32_t line = 0;
    bool defined = false;
  };

  Label& label_named(std::string_view name, Kernel& kernel) {
    auto [it, fresh] = labels_.try_emplace(name);
    if (fresh) {
      it->second = {static_cast<std::uint32_t>(kernel.labels.size()), peek().line, false};
      kernel.labels.push_back(0);
    }
    return it->second;
  }

  void define(std::uint32_t line, const std::string& name, const Name& entry) {
    auto& scope = scopes_.empty() ? module_names_ : scopes_.back();
    if (!scope.emplace(name, entry).second) { throw PtxError(line, fmt::format("'{}' is defined twice", name)); }
  }

  const Name* find(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto it = scope->find(std::string(name)); it != scope->end()) { return &it->second; }
    }
    const auto it = module_names_.find(std::string(name));
    return it == module_names_.end() ? nullptr : &it->second;
  }

  // "%r12" belongs to a range declared as "%r<40>".
  bool register_index(std::string_view name, const Name* entry, std::uint32_t& index) const {
    if (entry != nullptr && entry->kind == Name::Kind::reg) {
      index = entry->index;
      return true;
    }
    std::size_t digits = name.size();
    while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9') { --digits; }
    if (digits == name.size() || name.size() - digits > 6) { return false; }
    const Name* range = find(name.substr(0, digits));
    if (range == nullptr || range->kind != Name::Kind::reg_range) { return false; }
    std::uint32_t number = 0;
    for (const char c : name.substr(digits)) { number = number * 10 + static_cast<std::uint32_t>(c - '0'); }
    if (number >= range->count) { return false; }
    index = range->index + number;
    return true;
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  Syntax syntax_;
  std::unordered_map<std::string, Name> module_names_;
  std::vector<std::unordered_map<std::string, Name>> scopes_;
  std::unordered_map<std::string_view, Label> labels_;
};

}  // namespace

std::uint32_t size_of(Type type) {
  switch (type) {
    case Type::b8:
    case Type::u8:
    case Type::s8:
      return 1;
    case Type::b16:
    case Type::u16:
    case Type::s16:
    case Type::f16:
    case Type::bf16:
      return 2;
    case Type::b32:
    case Type::u32:
    case Type::s32:
    case Type::f32:
    case Type::f16x2:
    case Type::bf16x2:
      return 4;
    case Type::b64:
    case Type::u64:
    case Type::s64:
    case Type::f64:
      return 8;
    case Type::none:
    case Type::pred:
      return 0;
  }
  return 0;
}

Type type_named(std::string_view name) {
  static constexpr std::pair<std::string_view, Type> kNames[] = {
      {"pred", Type::pred}, {"b8", Type::b8},   {"b16", Type::b16},     {"b32", Type::b32},      {"b64", Type::b64},
      {"u8", Type::u8},     {"u16", Type::u16}, {"u32", Type::u32},     {"u64", Type::u64},      {"s8", Type::s8},
      {"s16", Type::s16},   {"s32", Type::s32}, {"s64", Type::s64},     {"f16", Type::f16},      {"bf16", Type::bf16},
      {"f32", Type::f32},   {"f64", Type::f64}, {"f16x2", Type::f16x2}, {"bf16x2", Type::bf16x2}};
  for (const auto& [text, type] : kNames) {
    if (text == name) { return type; }
  }
  return Type::none;
}

Syntax parse(std::string_view text) { return Parser(text).run(); }

}  // namespace hal::emulated_cuda
