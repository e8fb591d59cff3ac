// SPDX-License-Identifier: Apache-2.0
#include "graph/expression.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

namespace hal::graph {
namespace {

enum class Form : std::uint8_t { leaf, prefix, infix };
struct OpcodeInfo {
  std::string_view name;
  std::uint8_t arity;
  Form form;
  std::string_view symbol;  // of infix
  bool floating_only;
};

// Indexed by Opcode - 1.
constexpr std::array<OpcodeInfo, 34> kOpcodes{{
    {"input", 0, Form::leaf, "", false},    {"constant", 0, Form::leaf, "", false},
    {"add", 2, Form::infix, "+", false},    {"sub", 2, Form::infix, "-", false},
    {"mul", 2, Form::infix, "*", false},    {"div", 2, Form::infix, "/", false},
    {"min", 2, Form::prefix, "", false},    {"max", 2, Form::prefix, "", false},
    {"neg", 1, Form::prefix, "", false},    {"abs", 1, Form::prefix, "", false},
    {"exp", 1, Form::prefix, "", true},     {"log", 1, Form::prefix, "", true},
    {"sqrt", 1, Form::prefix, "", true},    {"rsqrt", 1, Form::prefix, "", true},
    {"tanh", 1, Form::prefix, "", true},    {"erf", 1, Form::prefix, "", true},
    {"sin", 1, Form::prefix, "", true},     {"cos", 1, Form::prefix, "", true},
    {"floor", 1, Form::prefix, "", true},   {"ceil", 1, Form::prefix, "", true},
    {"round", 1, Form::prefix, "", true},   {"eq", 2, Form::infix, "==", false},
    {"ne", 2, Form::infix, "!=", false},    {"lt", 2, Form::infix, "<", false},
    {"le", 2, Form::infix, "<=", false},    {"gt", 2, Form::infix, ">", false},
    {"ge", 2, Form::infix, ">=", false},    {"and", 2, Form::infix, "&&", false},
    {"or", 2, Form::infix, "||", false},    {"not", 1, Form::prefix, "", false},
    {"select", 3, Form::prefix, "", false}, {"pow", 2, Form::prefix, "", true},
    {"mod", 2, Form::prefix, "", false},    {"size", 0, Form::leaf, "", false},
}};

const OpcodeInfo* info_of(Opcode opcode) {
  const std::size_t i = std::to_underlying(opcode);
  return i >= 1 && i <= kOpcodes.size() ? &kOpcodes[i - 1] : nullptr;
}

// NaN wins, unlike std::fmin and std::fmax.
double minimum(double a, double b) { return std::isnan(a) || a < b ? a : b; }
double maximum(double a, double b) { return std::isnan(a) || a > b ? a : b; }

// `c` is only read by select.
double apply(Opcode opcode, double a, double b, double c) {
  const auto truth = [](bool value) { return value ? 1.0 : 0.0; };
  switch (opcode) {
    case Opcode::add:
      return a + b;
    case Opcode::sub:
      return a - b;
    case Opcode::mul:
      return a * b;
    case Opcode::div:
      return a / b;
    case Opcode::min:
      return minimum(a, b);
    case Opcode::max:
      return maximum(a, b);
    case Opcode::neg:
      return -a;
    case Opcode::abs:
      return std::fabs(a);
    case Opcode::exp:
      return std::exp(a);
    case Opcode::log:
      return std::log(a);
    case Opcode::sqrt:
      return std::sqrt(a);
    case Opcode::rsqrt:
      return 1.0 / std::sqrt(a);
    case Opcode::tanh:
      return std::tanh(a);
    case Opcode::erf:
      return std::erf(a);
    case Opcode::sin:
      return std::sin(a);
    case Opcode::cos:
      return std::cos(a);
    case Opcode::floor:
      return std::floor(a);
    case Opcode::ceil:
      return std::ceil(a);
    case Opcode::round:
      return std::nearbyint(a);
    case Opcode::eq:
      return truth(a == b);
    case Opcode::ne:
      return truth(a != b);
    case Opcode::lt:
      return truth(a < b);
    case Opcode::le:
      return truth(a <= b);
    case Opcode::gt:
      return truth(a > b);
    case Opcode::ge:
      return truth(a >= b);
    case Opcode::logical_and:
      return truth(a != 0 && b != 0);
    case Opcode::logical_or:
      return truth(a != 0 || b != 0);
    case Opcode::logical_not:
      return truth(a == 0);
    case Opcode::select:
      return a != 0 ? b : c;
    case Opcode::pow:
      return std::pow(a, b);
    case Opcode::mod:
      return std::fmod(a, b);
    case Opcode::input:
    case Opcode::constant:
    case Opcode::size:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

// Wraps at 64 bits. Operands of 32 bits never get there, so their caller wraps what comes back.
std::int64_t apply(Opcode opcode, std::int64_t a, std::int64_t b, std::int64_t c) {
  const auto wrap = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
  const auto x = static_cast<std::uint64_t>(a);
  const auto y = static_cast<std::uint64_t>(b);
  switch (opcode) {
    case Opcode::add:
      return wrap(x + y);
    case Opcode::sub:
      return wrap(x - y);
    case Opcode::mul:
      return wrap(x * y);
    case Opcode::div:
      return b == 0 ? 0 : b == -1 ? wrap(0 - x) : a / b;
    case Opcode::mod:
      return b == 0 || b == -1 ? 0 : a % b;
    case Opcode::min:
      return std::min(a, b);
    case Opcode::max:
      return std::max(a, b);
    case Opcode::neg:
      return wrap(0 - x);
    case Opcode::abs:
      return a < 0 ? wrap(0 - x) : a;
    case Opcode::eq:
      return a == b ? 1 : 0;
    case Opcode::ne:
      return a != b ? 1 : 0;
    case Opcode::lt:
      return a < b ? 1 : 0;
    case Opcode::le:
      return a <= b ? 1 : 0;
    case Opcode::gt:
      return a > b ? 1 : 0;
    case Opcode::ge:
      return a >= b ? 1 : 0;
    case Opcode::logical_and:
      return a != 0 && b != 0 ? 1 : 0;
    case Opcode::logical_or:
      return a != 0 || b != 0 ? 1 : 0;
    case Opcode::logical_not:
      return a == 0 ? 1 : 0;
    case Opcode::select:
      return a != 0 ? b : c;
    default:
      return 0;
  }
}

std::int32_t wrap_to_32(std::int64_t value) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(value)); }

template <class T>
T run(std::span<const Instruction> code, std::span<const T> inputs) {
  // What apply() takes: double, or 64 bits for either width of integer.
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, std::int64_t>;
  std::array<T, kMaxStackDepth + 3> stack{};  // apply() may look at three from the bottom
  std::size_t top = 0;
  for (const Instruction& instruction : code) {
    if (instruction.opcode == Opcode::input) {
      stack[top++] = inputs[instruction.input];
    } else if (instruction.opcode == Opcode::constant) {
      stack[top++] = static_cast<T>(instruction.constant);
    } else {
      top -= *opcode_arity(instruction.opcode);
      const Wide value = apply(instruction.opcode, Wide{stack[top]}, Wide{stack[top + 1]}, Wide{stack[top + 2]});
      if constexpr (std::is_same_v<T, std::int32_t>) {
        stack[top] = wrap_to_32(value);
      } else {
        stack[top] = value;
      }
      ++top;
    }
  }
  return stack[0];
}

}  // namespace

std::optional<std::uint32_t> opcode_arity(Opcode opcode) {
  const OpcodeInfo* info = info_of(opcode);
  return info != nullptr ? std::optional<std::uint32_t>(info->arity) : std::nullopt;
}

std::string_view opcode_name(Opcode opcode) {
  const OpcodeInfo* info = info_of(opcode);
  return info != nullptr ? info->name : "?";
}

bool is_floating_only(Opcode opcode) {
  const OpcodeInfo* info = info_of(opcode);
  return info != nullptr && info->floating_only;
}

std::optional<ExpressionFault> check_expression(std::span<const Instruction> code, std::uint32_t input_count,
                                                DType compute, std::uint32_t* stack_depth) {
  const bool integer = !is_floating(compute);
  // The constant is a double, so for i64 the limits are those of the doubles that fit.
  const double lowest = compute == DType::i64 ? -0x1p63 : -0x1p31;
  const double above = compute == DType::i64 ? 0x1p63 : 0x1p31;
  if (code.empty()) { return ExpressionFault{0, "is empty, expected at least one instruction"}; }
  if (code.size() > kMaxInstructions) {
    return ExpressionFault{kMaxInstructions,
                           fmt::format("is one of {} instructions, the most is {}", code.size(), kMaxInstructions)};
  }
  std::uint32_t depth = 0;
  std::uint32_t deepest = 0;
  for (std::uint32_t i = 0; i < code.size(); ++i) {
    const Instruction& at = code[i];
    const OpcodeInfo* info = info_of(at.opcode);
    if (info == nullptr) {
      return ExpressionFault{
          i, fmt::format("has opcode {}, opcodes are 1 to {}", std::to_underlying(at.opcode), kOpcodes.size())};
    }
    if (integer && info->floating_only) {
      return ExpressionFault{i, fmt::format("is {}, which has no meaning on integers", info->name)};
    }
    if (at.opcode == Opcode::input && at.input >= input_count) {
      return ExpressionFault{i, fmt::format("reads input {}, there are {}", at.input, input_count)};
    }
    // Written so that NaN is refused too.
    const bool fits = at.constant >= lowest && at.constant < above;
    if (integer && at.opcode == Opcode::constant && (!fits || std::trunc(at.constant) != at.constant)) {
      return ExpressionFault{
          i, fmt::format("is constant {}, expected a whole number that fits {}", at.constant, dtype_name(compute))};
    }
    if (at.opcode == Opcode::size && !(at.constant >= 0 && at.constant < kMaxSizes)) {
      return ExpressionFault{i, fmt::format("reads size {}, sizes are numbered from 0", at.constant)};
    }
    if (info->arity > depth) {
      return ExpressionFault{
          i, fmt::format("is {}, which takes {} values; the stack has {}", info->name, info->arity, depth)};
    }
    depth = depth - info->arity + 1;
    deepest = std::max(deepest, depth);
    if (deepest > kMaxStackDepth) {
      return ExpressionFault{i, fmt::format("pushes value {}, the most is {}", deepest, kMaxStackDepth)};
    }
  }
  if (depth != 1) {
    return ExpressionFault{static_cast<std::uint32_t>(code.size() - 1),
                           fmt::format("ends the code with {} values on the stack, expected 1", depth)};
  }
  if (stack_depth != nullptr) { *stack_depth = deepest; }
  return {};
}

double evaluate_expression(std::span<const Instruction> code, std::span<const double> inputs) {
  return run<double>(code, inputs);
}

std::int32_t evaluate_expression(std::span<const Instruction> code, std::span<const std::int32_t> inputs) {
  return run<std::int32_t>(code, inputs);
}

std::int64_t evaluate_expression(std::span<const Instruction> code, std::span<const std::int64_t> inputs) {
  return run<std::int64_t>(code, inputs);
}

std::string print_expression(std::span<const Instruction> code) {
  if (auto fault = check_expression(code, 256, DType::f64, nullptr)) {
    return fmt::format("<instruction {} {}>", fault->instruction, fault->text);
  }
  std::vector<std::string> stack;
  const auto pop = [&stack] {
    std::string text = std::move(stack.back());
    stack.pop_back();
    return text;
  };
  for (const Instruction& at : code) {
    const OpcodeInfo& info = *info_of(at.opcode);
    if (at.opcode == Opcode::input) {
      stack.push_back(fmt::format("x{}", at.input));
    } else if (at.opcode == Opcode::constant) {
      stack.push_back(fmt::format("{}", at.constant));
    } else if (at.opcode == Opcode::size) {
      stack.push_back(fmt::format("size{}", at.constant));
    } else if (info.form == Form::infix) {
      const std::string right = pop();
      const std::string left = pop();
      stack.push_back(fmt::format("({} {} {})", left, info.symbol, right));
    } else {
      std::string arguments = pop();
      for (std::uint32_t i = 1; i < info.arity; ++i) {
        const std::string earlier = pop();
        arguments = fmt::format("{}, {}", earlier, arguments);
      }
      stack.push_back(fmt::format("{}({})", info.name, arguments));
    }
  }
  return stack.back();
}

}  // namespace hal::graph
