// SPDX-License-Identifier: Apache-2.0
#include "vm/decoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "ptx/error.hpp"
#include "vm/operations.hpp"
#include "vm/rows.hpp"

namespace hal::emulated_cuda {
namespace {

// The dot-separated parts of an opcode. Every part must be taken by somebody; what is left over is an error.
class Modifiers {
 public:
  explicit Modifiers(std::string_view opcode) {
    std::size_t start = 0;
    while (start <= opcode.size()) {
      const std::size_t dot = std::min(opcode.find('.', start), opcode.size());
      parts_.push_back(opcode.substr(start, dot - start));
      start = dot + 1;
    }
    base_ = parts_.front();
    parts_.erase(parts_.begin());
  }
  std::string_view base() const { return base_; }
  bool take(std::string_view part) {
    const auto it = std::find(parts_.begin(), parts_.end(), part);
    if (it == parts_.end()) { return false; }
    parts_.erase(it);
    return true;
  }
  std::string_view take_any(std::initializer_list<std::string_view> choices) {
    for (const std::string_view choice : choices) {
      if (take(choice)) { return choice; }
    }
    return {};
  }
  void take_prefixed(std::string_view prefix) {
    std::erase_if(parts_, [&](std::string_view p) { return p.starts_with(prefix); });
  }
  Type take_type() {  // the first part that is a type
    for (auto it = parts_.begin(); it != parts_.end(); ++it) {
      if (const Type type = type_named(*it); type != Type::none) {
        parts_.erase(it);
        return type;
      }
    }
    return Type::none;
  }
  const std::vector<std::string_view>& rest() const { return parts_; }

 private:
  std::string_view base_;
  std::vector<std::string_view> parts_;
};

constexpr bool one_of(std::string_view word, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

class Decoder {
 public:
  Decoder(const Syntax& module, const Kernel& kernel, std::span<const std::uint64_t> addresses)
      : kernel_(kernel), rows_(program_, module, kernel, addresses) {}

  Program run() {
    program_.name = kernel_.name;
    std::vector<std::uint32_t> starts;
    starts.reserve(kernel_.statements.size() + 1);
    for (const Statement& s : kernel_.statements) {
      starts.push_back(static_cast<std::uint32_t>(program_.code.size()));
      statement_ = &s;
      statement(s);
    }
    starts.push_back(static_cast<std::uint32_t>(program_.code.size()));
    Instruction end;  // a kernel may end without ret
    end.control = Control::exit;
    end.line = kernel_.line;
    program_.code.push_back(end);
    for (Instruction& i : program_.code) {
      if (i.control == Control::branch) { i.target = starts[kernel_.labels[i.target]]; }
    }
    for (const Symbol& p : kernel_.parameters) {
      program_.parameters.push_back({static_cast<std::uint32_t>(p.offset), static_cast<std::uint32_t>(p.bytes)});
    }
    program_.parameter_bytes = static_cast<std::uint32_t>(kernel_.parameter_bytes);
    program_.registers = std::min(program_.registers, 255u);
    std::copy(std::begin(kernel_.max_threads), std::end(kernel_.max_threads), program_.max_threads);
    program_.exact_threads = kernel_.exact_threads;
    return std::move(program_);
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw PtxError(statement_->line, fmt::format("{}: {}", statement_->opcode, why));
  }
  [[noreturn]] void unsupported() const { fail("this instruction or one of its modifiers is not supported"); }

  void need(std::size_t least, std::size_t most) const {
    const std::size_t n = statement_->operands.size();
    if (n < least || n > most) {
      fail(fmt::format("{} operands, expected {}{}", n, least, most > least ? " or more" : ""));
    }
  }
  const Operand& operand(std::size_t n) const {
    if (n >= statement_->operands.size()) { fail(fmt::format("operand {} is missing", n + 1)); }
    return statement_->operands[n];
  }
  std::uint32_t line() const { return statement_->line; }

  Instruction& emit(std::string_view key, std::initializer_list<std::uint32_t> rows) {
    Instruction& i = control(Control::none);
    i.run = operations().find(key);
    if (i.run == nullptr) { unsupported(); }
    std::copy(rows.begin(), rows.end(), i.rows);
    return i;
  }
  Instruction& control(Control kind) {
    Instruction i;
    i.control = kind;
    i.line = line();
    if (statement_->guarded) {
      i.guard = rows_.register_row(statement_->guard);
      i.guard_negated = statement_->guard_negated;
    }
    program_.code.push_back(i);
    return program_.code.back();
  }
  // A destination that may be "_": then a row nobody reads.
  std::uint32_t to(std::size_t n, Type type) {
    const std::uint32_t row = rows_.destination(operand(n), type, line());
    return row == kNoRow ? rows_.temporary(size_of(type)) : row;
  }
  std::uint32_t from(std::size_t n, Type type) { return rows_.source(operand(n), type, line()); }
  void done(const Modifiers& m) const {
    if (!m.rest().empty()) { fail(fmt::format("modifier '.{}' is not supported", m.rest().front())); }
  }

  void statement(const Statement& s) {
    Modifiers m(s.opcode);
    const std::string_view base = m.base();
    if (base == "mov") { return move(m); }
    if (base == "ld" || base == "ldu") { return load(m); }
    if (base == "st") { return store(m); }
    if (base == "cvt") { return convert(m); }
    if (base == "cvta") { return convert_address(m); }
    if (base == "setp") { return set_predicate(m); }
    if (base == "selp") { return select(m); }
    if (base == "bra" || base == "ret" || base == "exit" || base == "trap") { return jump(m); }
    if (base == "brx") { return indexed_jump(m); }
    if (base == "bar" || base == "barrier") { return barrier(m); }
    if (one_of(base, {"shfl", "vote", "match", "redux", "activemask", "elect"})) { return across_lanes(m); }
    if (base == "atom" || base == "red") { return atomic(m); }
    if (one_of(base, {"membar", "fence", "nanosleep", "prefetch", "prefetchu", "griddepcontrol"})) { return hint(m); }
    if (one_of(base, {"shf", "prmt", "lop3", "dp4a", "testp", "bfe", "bfi", "bfind", "popc", "clz", "brev"})) {
      return bit_operation(m);
    }
    arithmetic(m);
  }

  // ---- arithmetic and logic ----
  void arithmetic(Modifiers& m) {
    const std::initializer_list<std::string_view> kUnary = {"neg",   "abs", "not", "cnot", "rcp", "sqrt",
                                                            "rsqrt", "sin", "cos", "lg2",  "ex2", "tanh"};
    const std::initializer_list<std::string_view> kBinary = {"add", "sub", "mul", "div", "rem", "min",     "max",
                                                             "and", "or",  "xor", "shl", "shr", "copysign"};
    const std::initializer_list<std::string_view> kTernary = {"mad", "fma", "sad"};
    std::string_view base = m.base();
    const std::size_t sources = one_of(base, kUnary) ? 1 : one_of(base, kBinary) ? 2 : one_of(base, kTernary) ? 3 : 0;
    if (sources == 0) { fail("unknown or unsupported instruction"); }
    need(sources + 1, sources + 1);
    const Type type = m.take_type();
    if (type == Type::none) { fail("a type is missing"); }
    if (type == Type::pred) { return predicate_logic(m, sources); }
    if (is_float(type)) { return floating(m, base, type, sources); }
    integer(m, base, type, sources);
  }

  void floating(Modifiers& m, std::string_view base, Type type, std::size_t sources) {
    if (base == "mad") { base = "fma"; }
    std::string key(base);
    const std::string_view round = m.take_any({"rn", "rz", "rm", "rp", "approx", "full"});
    if (one_of(round, {"rz", "rm", "rp"})) { key += fmt::format(".{}", round); }
    if (one_of(base, {"sin", "cos", "lg2", "ex2", "tanh", "rsqrt"}) && round != "approx") { fail("needs .approx"); }
    if ((base == "rcp" || base == "sqrt" || (base == "div" && type == Type::f64)) && round.empty()) {
      fail("needs a rounding modifier or .approx");
    }
    for (const std::string_view part : {"ftz", "NaN", "sat", "relu"}) {
      if (m.take(part)) { key += fmt::format(".{}", part); }
    }
    done(m);
    if (type == Type::f64 && key.ends_with(".ftz") && round != "approx") { fail(".ftz of f64 needs .approx"); }
    key += fmt::format(".{}", number_name(type));
    const std::uint32_t d = to(0, type);
    Instruction& i = emit(key, {d});
    fill_sources(i, {type, type, type}, sources);
  }

  // Sources from operand 1 on go to rows 1 and following. Making rows never adds code, so `i` stays valid.
  void fill_sources(Instruction& i, std::initializer_list<Type> types, std::size_t count) {
    std::size_t n = 0;
    for (const Type type : types) {
      if (n == count) { break; }
      ++n;
      i.rows[n] = from(n, type);
    }
  }

  void integer(Modifiers& m, std::string_view base, Type type, std::size_t sources) {
    if (size_of(type) < 2) { fail("8-bit arithmetic does not exist"); }
    std::string key(base);
    Type result = type, second = type, third = type;
    if (base == "mul" || base == "mad") {
      const std::string_view part = m.take_any({"lo", "hi", "wide"});
      if (part.empty()) { fail("needs .lo, .hi or .wide"); }
      key += fmt::format(".{}", part);
      if (part == "wide") {
        if (size_of(type) > 4) { fail(".wide needs a 16-bit or 32-bit type"); }
        result = size_of(type) == 2 ? Type::b32 : Type::b64;
        third = result;
      }
      key += fmt::format(".{}", part == "lo" ? bits_name(type) : number_name(type));
    } else if (one_of(base, {"add", "sub"}) && m.take("sat")) {
      key += fmt::format(".sat.{}", number_name(type));
    } else if (one_of(base, {"add", "sub", "neg", "and", "or", "xor", "not", "cnot", "shl"})) {
      key += fmt::format(".{}", bits_name(type));
    } else if (one_of(base, {"div", "rem", "min", "max", "shr", "abs", "sad"})) {
      key += fmt::format(".{}", number_name(type));
    } else {
      fail("does not exist for integers");
    }
    if (base == "shl" || base == "shr") { second = Type::u32; }
    done(m);
    const std::uint32_t d = to(0, result);
    fill_sources(emit(key, {d}), {type, second, third}, sources);
  }

  void predicate_logic(Modifiers& m, std::size_t sources) {
    done(m);
    const std::string key = fmt::format("{}.pred", m.base());
    std::uint32_t source_rows[2] = {kNoRow, kNoRow};
    std::uint8_t inverted = 0;
    for (std::size_t n = 0; n < std::min<std::size_t>(sources, 2); ++n) {
      source_rows[n] = predicate_source(n + 1);
      if (operand(n + 1).negated) { inverted = static_cast<std::uint8_t>(inverted | (1u << n)); }
    }
    emit(key, {rows_.predicate(operand(0), line()), source_rows[0], source_rows[1]}).table = inverted;
  }

  // A predicate register, or a number: 0 is false, all else true.
  std::uint32_t predicate_source(std::size_t n) {
    const Operand& o = operand(n);
    if (o.kind == OperandKind::integer) { return rows_.constant(o.bits != 0 ? 0xffffffffu : 0, 4); }
    const std::uint32_t row = rows_.predicate(o, line());
    if (row == kNoRow) { fail("'_' cannot be read"); }
    return row;
  }

  void bit_operation(Modifiers& m) {
    const std::string_view base = m.base();
    if (base == "dp4a") {
      need(4, 4);
      const Type a = m.take_type(), b = m.take_type();
      done(m);
      const std::uint32_t d = to(0, Type::s32);
      fill_sources(emit(fmt::format("dp4a.{}.{}", number_name(a), number_name(b)), {d}),
                   {Type::b32, Type::b32, Type::b32}, 3);
      return;
    }
    if (base == "testp") {
      need(2, 2);
      const std::string_view what = m.take_any({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
      const Type type = m.take_type();
      done(m);
      emit(fmt::format("testp.{}.{}", what, number_name(type)), {rows_.predicate(operand(0), line()), from(1, type)});
      return;
    }
    const Type type = m.take_type();
    if (type == Type::none || size_of(type) < 4) { fail("needs a 32-bit or 64-bit type"); }
    if (base == "shf") {
      need(4, 4);
      const std::string_view side = m.take_any({"l", "r"}), how = m.take_any({"wrap", "clamp"});
      done(m);
      const std::uint32_t d = to(0, Type::b32);
      fill_sources(emit(fmt::format("shf.{}.{}.{}", side, how, bits_name(type)), {d}),
                   {Type::b32, Type::b32, Type::b32}, 3);
    } else if (base == "prmt") {
      need(4, 4);
      done(m);
      const std::uint32_t d = to(0, Type::b32);
      fill_sources(emit("prmt.b32", {d}), {Type::b32, Type::b32, Type::b32}, 3);
    } else if (base == "lop3") {
      need(5, 5);
      done(m);
      if (type != Type::b32 || operand(4).kind != OperandKind::integer || operand(4).bits > 255) {
        fail("needs .b32 and a table from 0 to 255");
      }
      const std::uint32_t d = to(0, Type::b32);
      emit("lop3.b32", {d}).table = static_cast<std::uint8_t>(operand(4).bits);
      fill_sources(program_.code.back(), {Type::b32, Type::b32, Type::b32}, 3);
    } else if (base == "bfe") {
      need(4, 4);
      done(m);
      const std::uint32_t d = to(0, type);
      fill_sources(emit(fmt::format("bfe.{}", number_name(type)), {d}), {type, Type::u32, Type::u32}, 3);
    } else if (base == "bfi") {
      need(5, 5);
      done(m);
      const std::uint32_t d = to(0, type);
      fill_sources(emit(fmt::format("bfi.{}", bits_name(type)), {d}), {type, type, Type::u32, Type::u32}, 4);
    } else if (base == "bfind") {
      need(2, 2);
      const bool amount = m.take("shiftamt");
      done(m);
      const std::uint32_t d = to(0, Type::u32);
      fill_sources(emit(fmt::format("bfind{}.{}", amount ? ".shiftamt" : "", number_name(type)), {d}), {type}, 1);
    } else {
      need(2, 2);
      done(m);
      const std::uint32_t d = to(0, base == "brev" ? type : Type::u32);
      fill_sources(emit(fmt::format("{}.{}", base, bits_name(type)), {d}), {type}, 1);
    }
  }

  // ---- moves and conversions ----
  void move(Modifiers& m) {
    need(2, 2);
    const Type type = m.take_type();
    done(m);
    if (type == Type::none) { fail("a type is missing"); }
    if (type == Type::pred) {
      emit("mov.pred", {rows_.predicate(operand(0), line()), predicate_source(1), kNoRow}).table =
          operand(1).negated ? 1 : 0;
      return;
    }
    if (operand(0).kind == OperandKind::vector) { return unpack(type); }
    if (operand(1).kind == OperandKind::vector) { return pack(type); }
    if (operand(1).kind == OperandKind::special) {
      const std::string_view name = operand(1).text;
      if (one_of(name, {"%clock", "%clock_hi", "%clock64", "%globaltimer", "%globaltimer_lo"})) {
        if (name == "%clock_hi" || name == "%globaltimer_lo") { fail("this half of the clock is not supported"); }
        emit(fmt::format("{}.{}", name == "%globaltimer" ? "globaltimer" : "clock", bits_name(type)), {to(0, type)});
        return;
      }
    }
    const std::uint32_t d = to(0, type);
    emit(fmt::format("mov.{}", bits_name(type)), {d, from(1, type)});
  }

  Type element_type(Type whole, std::size_t parts) const {
    const std::size_t size = size_of(whole) / parts;
    if ((parts != 2 && parts != 4) || size < 2) { fail("this way to take a register apart is not supported"); }
    return size == 2 ? Type::b16 : Type::b32;
  }

  void pack(Type type) {
    const std::vector<Operand>& parts = operand(1).elements;
    const Type part = element_type(type, parts.size());
    const std::uint32_t d = to(0, type);
    Instruction& i = emit(fmt::format("pack{}.{}", parts.size() == 4 ? "4" : "", bits_name(type)), {d});
    for (std::size_t n = 0; n < parts.size(); ++n) { i.rows[n + 1] = rows_.source(parts[n], part, line()); }
  }

  void unpack(Type type) {
    const std::vector<Operand>& parts = operand(0).elements;
    const Type part = element_type(type, parts.size());
    const std::uint32_t source = from(1, type);
    for (std::size_t n = 0; n < parts.size(); ++n) {
      const std::uint32_t d = rows_.destination(parts[n], part, line());
      if (d == kNoRow) { continue; }
      emit(fmt::format("unpack{}{}.{}", parts.size() == 4 ? "4" : "", n, bits_name(type)), {d, source});
    }
  }

  // cvt between registers that are wider than the types goes through rows of the exact width.
  std::uint32_t narrowed(const Operand& o, Type type) {
    if (o.kind != OperandKind::reg) { return rows_.source(o, type, line()); }
    const std::uint32_t have = size_of(rows_.register_type(o)), want = size_of(type);
    if (have == want) { return rows_.source(o, type, line()); }
    if (have < want) { fail(fmt::format("register {} is too narrow", o.text)); }
    const std::uint32_t row = rows_.temporary(want);
    emit(fmt::format("resize.u{}.u{}", want * 8, have * 8), {row, rows_.register_row(o.index)});
    return row;
  }
  // Where a result of `type` goes; `widen` says how to bring it into the register afterwards.
  struct Place {
    std::uint32_t row = kNoRow;
    std::uint32_t into = kNoRow;
    std::string resize;
  };
  Place place(const Operand& o, Type type) {
    Place p;
    if (o.kind == OperandKind::sink) {
      p.row = rows_.temporary(size_of(type));
      return p;
    }
    if (o.kind != OperandKind::reg) { fail(fmt::format("'{}' is not a register", o.text)); }
    const std::uint32_t have = size_of(rows_.register_type(o)), want = size_of(type);
    if (have == want) {
      p.row = rows_.register_row(o.index);
      return p;
    }
    if (have < want || is_float(type)) { fail(fmt::format("register {} has the wrong width", o.text)); }
    p.row = rows_.temporary(want);
    p.into = rows_.register_row(o.index);
    const char kind = is_signed(type) ? 's' : 'u';
    p.resize = fmt::format("resize.{}{}.{}{}", kind, have * 8, kind, want * 8);
    return p;
  }
  void finish(const Place& p) {
    if (p.into != kNoRow) { emit(p.resize, {p.into, p.row}); }
  }

  void convert(Modifiers& m) {
    const Type d = m.take_type(), s = m.take_type();
    if (d == Type::none || s == Type::none || d == Type::pred || s == Type::pred) { fail("needs two types"); }
    std::string_view round = m.take_any({"rni", "rzi", "rmi", "rpi", "rn", "rz", "rm", "rp"});
    bool ftz = m.take("ftz");
    const bool sat = m.take("sat");
    const bool relu = m.take("relu");
    done(m);
    if (d == Type::f16x2 || d == Type::bf16x2) {
      need(3, 3);
      if (s != Type::f32 || ftz || sat) { unsupported(); }
      const std::uint32_t row = to(0, d);
      fill_sources(emit(fmt::format("cvt.{}{}.{}.f32", round, relu ? ".relu" : "", number_name(d)), {row}),
                   {Type::f32, Type::f32}, 2);
      return;
    }
    need(2, 2);
    const std::uint32_t source = narrowed(operand(1), s);
    const Place p = place(operand(0), d);
    std::string key = "cvt";
    const bool float_d = is_float(d), float_s = is_float(s);
    if (!float_d && !float_s) {
      if (!round.empty() || ftz || relu) { unsupported(); }
      key += sat ? ".sat" : "";
    } else if (!float_d) {
      // Float to integer always saturates. Flushing a subnormal first changes only the directed modes.
      if (!one_of(round, {"rni", "rzi", "rmi", "rpi"})) { fail("needs an integer rounding modifier"); }
      if (ftz && one_of(round, {"rmi", "rpi"})) { unsupported(); }
      key += fmt::format(".{}", round);
    } else {
      if (ftz && d == Type::f32 && (s == Type::f16 || s == Type::bf16)) { ftz = false; }  // all results are normal
      if (ftz && d == s && one_of(round, {"rmi", "rpi"})) { unsupported(); }
      if (!round.empty()) { key += fmt::format(".{}", round); }
      if (ftz && !(d == s && !round.empty())) { key += ".ftz"; }
      if (relu) { key += ".relu"; }
      if (sat) { key += ".sat"; }
    }
    key += fmt::format(".{}.{}", number_name(d), number_name(s));
    emit(key, {p.row, source});
    finish(p);
  }

  void convert_address(Modifiers& m) {
    need(2, 2);
    const bool to_space = m.take("to");
    const std::string_view space = m.take_any({"global", "const", "shared", "local", "shared::cta"});
    const Type type = m.take_type();
    done(m);
    if (space.empty() || type != Type::u64) { unsupported(); }
    const std::uint32_t d = to(0, type), a = from(1, type);
    if (space == "global" || space == "const") {
      emit("mov.b64", {d, a});
    } else {
      const std::uint64_t window = space == "local" ? kLocalWindow : kSharedWindow;
      emit("add.b64", {d, a, rows_.constant(to_space ? 0 - window : window, 8)});
    }
  }

  void set_predicate(Modifiers& m) {
    const std::string_view relation = m.take_any({"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ",
                                                  "neu", "ltu", "leu", "gtu", "geu", "num", "nan"});
    const std::string_view join = m.take_any({"and", "or", "xor"});
    const bool ftz = m.take("ftz");
    const Type type = m.take_type();
    done(m);
    if (relation.empty() || type == Type::none) { fail("needs a comparison and a type"); }
    need(join.empty() ? 3 : 4, join.empty() ? 3 : 4);
    std::string_view canonical = relation;
    if (relation == "lo") { canonical = "lt"; }
    if (relation == "ls") { canonical = "le"; }
    if (relation == "hi") { canonical = "gt"; }
    if (relation == "hs") { canonical = "ge"; }
    const bool bits = type == Type::b16 || type == Type::b32 || type == Type::b64;
    const std::string key = fmt::format("setp.{}{}{}{}.{}", canonical, join.empty() ? "" : ".", join, ftz ? ".ftz" : "",
                                        bits ? bits_name(type) : number_name(type));
    std::uint32_t p = kNoRow, q = kNoRow;
    if (operand(0).kind == OperandKind::vector && operand(0).pair) {
      p = rows_.predicate(operand(0).elements[0], line());
      q = rows_.predicate(operand(0).elements[1], line());
    } else {
      p = rows_.predicate(operand(0), line());
    }
    const std::uint32_t a = from(1, type), b = from(2, type);
    const std::uint32_t c = join.empty() ? kNoRow : predicate_source(3);
    emit(key, {p, a, b, c, q}).table = !join.empty() && operand(3).negated ? 1 : 0;
  }

  void select(Modifiers& m) {
    need(4, 4);
    const Type type = m.take_type();
    done(m);
    if (type == Type::none || size_of(type) < 2) { fail("needs a type of 16 bits or more"); }
    const std::uint32_t d = to(0, type), a = from(1, type), b = from(2, type), c = predicate_source(3);
    emit(fmt::format("selp.{}", bits_name(type)), {d, a, b, c}).table = operand(3).negated ? 1 : 0;
  }

  // ---- memory ----
  struct Address {
    std::uint32_t row = kNoRow;
    std::int64_t displacement = 0;
    const char* width = "a64";
    bool fixed = false;  // the displacement is all there is
  };
  Address address(std::size_t n, Space& space) {
    const Operand& o = operand(n);
    if (o.kind != OperandKind::address) { fail(fmt::format("'{}' is not an address", o.text)); }
    Address a;
    if (o.base == OperandKind::reg) {
      const std::uint32_t size = size_of(rows_.register_type(o));
      if (size < 4) { fail("an address register must have 32 or 64 bits"); }
      a.row = rows_.register_row(o.index);
      a.width = size == 4 ? "a32" : "a64";
      a.displacement = static_cast<std::int64_t>(o.bits);
      return a;
    }
    a.fixed = true;
    if (o.base == OperandKind::symbol) {
      const Space where = rows_.symbol(o).space;
      if (space == Space::generic && where != Space::global && where != Space::constant) {
        fail("a generic address of this variable needs cvta");
      }
      if (space != Space::generic && where != space && !(where == Space::constant && space == Space::global)) {
        fail(fmt::format("'{}' is not in this state space", o.text));
      }
      a.displacement = static_cast<std::int64_t>(rows_.address(o, line()));
    } else {
      a.displacement = static_cast<std::int64_t>(o.bits);
    }
    a.row = rows_.constant(0, 8);
    return a;
  }

  // Constants live in device memory; read-only and cache hints change nothing.
  Space memory_modifiers(Modifiers& m, bool& strong) {
    strong = m.take("volatile") || m.take("relaxed") || m.take("acquire") || m.take("release") || m.take("mmio");
    m.take("weak");
    m.take("nc");
    m.take_any({"cta", "gpu", "sys", "cluster"});
    m.take_any({"ca", "cg", "cs", "lu", "cv", "wb", "wt"});
    m.take_prefixed("L1::");
    m.take_prefixed("L2::");
    if (m.take("global") || m.take("const")) { return Space::global; }
    if (m.take("shared") || m.take("shared::cta")) { return Space::shared; }
    if (m.take("local")) { return Space::local; }
    if (m.take("param")) { return Space::param; }
    return Space::generic;
  }
  static const char* space_name(Space space) {
    switch (space) {
      case Space::global:
        return "global";
      case Space::shared:
        return "shared";
      case Space::local:
        return "local";
      case Space::param:
        return "param";
      default:
        return "generic";
    }
  }
  std::size_t vector_length(Modifiers& m) { return m.take("v2") ? 2 : m.take("v4") ? 4 : 1; }
  std::vector<const Operand*> vector_operands(const Operand& o, std::size_t count) const {
    std::vector<const Operand*> list;
    if (o.kind == OperandKind::vector && !o.pair) {
      for (const Operand& e : o.elements) { list.push_back(&e); }
    } else {
      list.push_back(&o);
    }
    if (list.size() != count) { fail(fmt::format("{} registers for {} elements", list.size(), count)); }
    return list;
  }

  void load(Modifiers& m) {
    need(2, 2);
    bool strong = false;
    Space space = memory_modifiers(m, strong);
    const std::size_t count = vector_length(m);
    const Type type = m.take_type();
    done(m);
    if (type == Type::none || type == Type::pred) { fail("a type is missing"); }
    const Address a = address(1, space);
    std::vector<Place> places;
    for (const Operand* o : vector_operands(operand(0), count)) { places.push_back(place(*o, type)); }
    const bool uniform = space == Space::param && a.fixed && count == 1;
    const std::string key =
        uniform ? fmt::format("ld.param.uniform.{}", bits_name(type))
                : fmt::format("ld{}.{}.{}.{}", strong ? ".strong" : "", space_name(space), bits_name(type), a.width);
    Instruction& i = emit(key, {});
    i.control = Control::memory;
    i.displacement = a.displacement;
    i.lanes_of_vector = static_cast<std::uint8_t>(count);
    i.rows[5] = a.row;
    for (std::size_t n = 0; n < count; ++n) { i.rows[n] = places[n].row; }
    for (const Place& p : places) { finish(p); }
  }

  void store(Modifiers& m) {
    need(2, 2);
    bool strong = false;
    Space space = memory_modifiers(m, strong);
    const std::size_t count = vector_length(m);
    const Type type = m.take_type();
    done(m);
    if (type == Type::none || type == Type::pred) { fail("a type is missing"); }
    if (space == Space::param) { fail("kernel parameters cannot be written"); }
    const Address a = address(0, space);
    std::vector<std::uint32_t> sources;
    for (const Operand* o : vector_operands(operand(1), count)) { sources.push_back(narrowed(*o, type)); }
    Instruction& i =
        emit(fmt::format("st{}.{}.{}.{}", strong ? ".strong" : "", space_name(space), bits_name(type), a.width), {});
    i.control = Control::memory;
    i.displacement = a.displacement;
    i.lanes_of_vector = static_cast<std::uint8_t>(count);
    i.rows[5] = a.row;
    std::copy(sources.begin(), sources.end(), i.rows);
  }

  void atomic(Modifiers& m) {
    const bool result = m.base() == "atom";
    bool strong = false;
    m.take("acq_rel");
    m.take("noftz");
    Space space = memory_modifiers(m, strong);
    const std::string_view operation =
        m.take_any({"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
    const Type type = m.take_type();
    done(m);
    if (operation.empty() || type == Type::none) { fail("needs an operation and a type"); }
    const std::size_t first = result ? 1 : 0, sources = operation == "cas" ? 2 : 1;
    need(first + 1 + sources, first + 1 + sources);
    const Address a = address(first, space);
    const bool bitwise = one_of(operation, {"and", "or", "xor", "exch", "cas"});
    const std::uint32_t b = from(first + 1, type);
    const std::uint32_t c = sources == 2 ? from(first + 2, type) : kNoRow;
    const std::uint32_t d = result ? rows_.destination(operand(0), type, line()) : kNoRow;
    Instruction& i = emit(fmt::format("atom.{}.{}.{}.{}", operation, bitwise ? bits_name(type) : number_name(type),
                                      space_name(space), a.width),
                          {d, b, c});
    i.control = Control::memory;
    i.displacement = a.displacement;
    i.rows[5] = a.row;
  }

  void hint(Modifiers& m) {
    if (m.base() == "membar" || m.base() == "fence") {
      m.take_any({"sc", "acq_rel", "acquire", "release"});
      m.take_any({"cta", "gl", "gpu", "sys", "cluster"});
      done(m);
      need(0, 0);
      emit("fence", {});
      return;
    }
    if (m.base() == "griddepcontrol") {
      // Launches of one stream never overlap here, so there is nothing to wait for.
      if (m.take_any({"wait", "launch_dependents"}).empty()) { unsupported(); }
      done(m);
    }
    emit("nothing", {});
  }

  // ---- control ----
  void jump(Modifiers& m) {
    m.take("uni");
    done(m);
    if (m.base() == "bra") {
      need(1, 1);
      if (operand(0).kind != OperandKind::label) { fail("needs a label"); }
      control(Control::branch).target = operand(0).index;  // becomes an instruction number at the end
      return;
    }
    need(0, 0);
    control(m.base() == "trap" ? Control::trap : Control::exit);
  }

  // brx.idx: one comparison and jump for each entry of the table. An index outside is undefined in PTX; here it faults.
  void indexed_jump(Modifiers& m) {
    if (!m.take("idx")) { unsupported(); }
    m.take("uni");
    done(m);
    need(2, 2);
    const auto table = kernel_.tables.find(operand(1).kind == OperandKind::label ? operand(1).index : kNoRow);
    if (statement_->guarded) { fail("a guard is not supported here"); }
    if (table == kernel_.tables.end()) { fail("needs a table of .branchtargets"); }
    const std::uint32_t index = from(0, Type::u32), hit = rows_.temporary(4);
    for (std::size_t n = 0; n < table->second.size(); ++n) {
      emit("setp.eq.b32", {hit, index, rows_.constant(n, 4)});
      Instruction& jump = control(Control::branch);
      jump.guard = hit;
      jump.target = table->second[n];
    }
    control(Control::trap);
  }

  void converge(Instruction& i, const Operand& members) {
    i.control = Control::converge;
    i.member = rows_.source(members, Type::b32, line());
  }

  void barrier(Modifiers& m) {
    if (m.take("warp")) {
      if (!m.take("sync")) { unsupported(); }
      done(m);
      need(1, 1);
      converge(emit("nothing", {}), operand(0));
      return;
    }
    m.take("cta");
    m.take("aligned");
    if (!m.take("sync")) { unsupported(); }
    done(m);
    need(1, 2);
    const std::uint32_t number = from(0, Type::u32);
    const std::uint32_t count = statement_->operands.size() == 2 ? from(1, Type::u32) : kNoRow;
    Instruction& i = control(Control::barrier);
    i.rows[0] = number;
    i.rows[1] = count;
  }

  void across_lanes(Modifiers& m) {
    const std::string_view base = m.base();
    if (base == "activemask") {
      need(1, 1);
      if (m.take_type() != Type::b32) { unsupported(); }
      done(m);
      emit("activemask", {to(0, Type::b32)});
      return;
    }
    if (!m.take("sync")) { fail("needs .sync"); }
    // d or d|p
    const Operand* d = &operand(0);
    std::uint32_t p = kNoRow;
    if (d->kind == OperandKind::vector && d->pair) {
      p = rows_.predicate(d->elements[1], line());
      d = &d->elements[0];
    }
    const auto result = [&](Type type) {
      const std::uint32_t row = rows_.destination(*d, type, line());
      return row == kNoRow ? rows_.temporary(size_of(type)) : row;
    };
    if (base == "shfl") {
      need(5, 5);
      const std::string_view mode = m.take_any({"up", "down", "bfly", "idx"});
      if (m.take_type() != Type::b32) { unsupported(); }
      done(m);
      const std::uint32_t row = result(Type::b32), a = from(1, Type::b32), b = from(2, Type::b32),
                          c = from(3, Type::b32);
      converge(emit(fmt::format("shfl.{}", mode), {row, a, b, c, p}), operand(4));
    } else if (base == "vote") {
      need(3, 3);
      const std::string_view mode = m.take_any({"all", "any", "uni", "ballot"});
      const Type type = m.take_type();
      done(m);
      if ((mode == "ballot") != (type == Type::b32)) { unsupported(); }
      const std::uint32_t row = mode == "ballot" ? result(Type::b32) : rows_.predicate(operand(0), line());
      const std::uint32_t a = predicate_source(1);
      Instruction& i = emit(fmt::format("vote.{}", mode), {row, a});
      i.table = operand(1).negated ? 1 : 0;
      converge(i, operand(2));
    } else if (base == "match") {
      need(3, 3);
      const std::string_view mode = m.take_any({"any", "all"});
      const Type type = m.take_type();
      done(m);
      if (size_of(type) < 4) { unsupported(); }
      const std::uint32_t row = result(Type::b32), a = from(1, type);
      converge(emit(fmt::format("match.{}.{}", mode, bits_name(type)), {row, a, kNoRow, kNoRow, p}), operand(2));
    } else if (base == "redux") {
      need(3, 3);
      const std::string_view mode = m.take_any({"add", "min", "max", "and", "or", "xor"});
      const Type type = m.take_type();
      done(m);
      const bool bitwise = one_of(mode, {"and", "or", "xor"});
      const std::uint32_t row = result(Type::b32), a = from(1, type);
      converge(emit(fmt::format("redux.{}.{}", mode, bitwise ? bits_name(type) : number_name(type)), {row, a}),
               operand(2));
    } else {  // elect.sync d|p, members
      need(2, 2);
      done(m);
      if (p == kNoRow) { fail("needs d|p"); }
      const std::uint32_t row = rows_.destination(*d, Type::b32, line());
      converge(emit("elect", {row, kNoRow, kNoRow, kNoRow, p}), operand(1));
    }
  }

  const Kernel& kernel_;
  Program program_;
  Rows rows_;
  const Statement* statement_ = nullptr;
};

}  // namespace

Program decode(const Syntax& module, const Kernel& kernel, std::span<const std::uint64_t> global_addresses) {
  return Decoder(module, kernel, global_addresses).run();
}

}  // namespace hal::emulated_cuda
