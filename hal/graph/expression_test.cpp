// SPDX-License-Identifier: Apache-2.0
#include "graph/expression.hpp"

#include <array>
#include <cmath>
#include <halyard_catch.hpp>
#include <limits>

#include "hal/graph.hpp"

namespace {

using namespace hal::graph;
using Catch::Matchers::Contains;

double real(const Expr& expr, std::vector<double> inputs = {}) {
  std::uint32_t depth = 0;
  REQUIRE_FALSE(check_expression(expr.code(), 8, false, &depth));
  inputs.resize(8);
  return evaluate_expression(expr.code(), std::span<const double>(inputs));
}

std::int32_t whole(const Expr& expr, std::vector<std::int32_t> inputs = {}) {
  std::uint32_t depth = 0;
  REQUIRE_FALSE(check_expression(expr.code(), 8, true, &depth));
  inputs.resize(8);
  return evaluate_expression(expr.code(), std::span<const std::int32_t>(inputs));
}

std::string fault(const std::vector<Instruction>& code, bool integer = false) {
  const auto found = check_expression(code, 2, integer, nullptr);
  return found ? std::to_string(found->instruction) + ": " + found->text : "sound";
}

constexpr Instruction kX{Opcode::input, 0, 0};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();

}  // namespace

TEST_CASE("expression: every floating instruction") {
  CHECK(real(arg(0) + arg(1), {2, 3}) == 5);
  CHECK(real(arg(0) - arg(1), {2, 3}) == -1);
  CHECK(real(arg(0) * arg(1), {2, 3}) == 6);
  CHECK(real(arg(0) / arg(1), {3, 2}) == 1.5);
  CHECK(real(min(arg(0), arg(1)), {2, 3}) == 2);
  CHECK(real(max(arg(0), arg(1)), {2, 3}) == 3);
  CHECK(std::isnan(real(min(arg(0), arg(1)), {kNan, 3})));
  CHECK(std::isnan(real(max(arg(0), arg(1)), {3, kNan})));
  CHECK(real(-arg(0), {2}) == -2);
  CHECK(real(abs(arg(0)), {-2}) == 2);
  CHECK(real(exp(arg(0)), {0}) == 1);
  CHECK(real(log(arg(0)), {1}) == 0);
  CHECK(real(sqrt(arg(0)), {9}) == 3);
  CHECK(real(rsqrt(arg(0)), {16}) == 0.25);
  CHECK(real(tanh(arg(0)), {0}) == 0);
  CHECK(real(erf(arg(0)), {1}) == Approx(0.8427007929));
  CHECK(real(sin(arg(0)), {0}) == 0);
  CHECK(real(cos(arg(0)), {0}) == 1);
  CHECK(real(floor(arg(0)), {-1.5}) == -2);
  CHECK(real(ceil(arg(0)), {-1.5}) == -1);
  CHECK(real(round(arg(0)), {2.5}) == 2);
  CHECK(real(equal(arg(0), arg(1)), {2, 2}) == 1);
  CHECK(real(equal(arg(0), arg(1)), {kNan, kNan}) == 0);
  CHECK(real(not_equal(arg(0), arg(1)), {kNan, kNan}) == 1);
  CHECK(real(arg(0) < arg(1), {2, 3}) == 1);
  CHECK(real(arg(0) <= arg(1), {3, 3}) == 1);
  CHECK(real(arg(0) > arg(1), {2, 3}) == 0);
  CHECK(real(arg(0) >= arg(1), {2, 3}) == 0);
  CHECK(real(logical_and(arg(0), arg(1)), {2, kNan}) == 1);
  CHECK(real(logical_or(arg(0), arg(1)), {0, 0}) == 0);
  CHECK(real(logical_not(arg(0)), {0}) == 1);
  CHECK(real(select(arg(0), 5.0, 6.0), {0}) == 6);
  CHECK(real(pow(arg(0), arg(1)), {2, 10}) == 1024);
  CHECK(real(mod(arg(0), arg(1)), {-7, 3}) == -1);
}

TEST_CASE("expression: integers wrap at 32 bits and never trap") {
  CHECK(whole(arg(0) + arg(1), {2147483647, 1}) == kLowest);
  CHECK(whole(arg(0) * arg(1), {65537, 65537}) == 131073);
  CHECK(whole(-arg(0), {kLowest}) == kLowest);
  CHECK(whole(abs(arg(0)), {kLowest}) == kLowest);
  CHECK(whole(arg(0) / arg(1), {-7, 2}) == -3);
  CHECK(whole(arg(0) / arg(1), {kLowest, -1}) == kLowest);
  CHECK(whole(arg(0) / arg(1), {5, 0}) == 0);
  CHECK(whole(mod(arg(0), arg(1)), {-7, 2}) == -1);
  CHECK(whole(mod(arg(0), arg(1)), {kLowest, -1}) == 0);
  CHECK(whole(mod(arg(0), arg(1)), {5, 0}) == 0);
  CHECK(whole(select(arg(0) < arg(1), min(arg(0), 4.0), max(arg(1), arg(0))), {3, 9}) == 3);
}

TEST_CASE("expression: unsound code is refused with the instruction") {
  CHECK_THAT(fault({}), Contains("is empty"));
  CHECK_THAT(fault({kX, {static_cast<Opcode>(0), 0, 0}}), Contains("1: has opcode 0"));
  CHECK_THAT(fault({kX, {static_cast<Opcode>(35), 0, 0}}), Contains("opcode 35"));
  CHECK_THAT(fault({{Opcode::input, 2, 0}}), Contains("reads input 2, there are 2"));
  CHECK_THAT(fault({kX, {Opcode::add, 0, 0}}), Contains("takes 2 values; the stack has 1"));
  CHECK_THAT(fault({kX, kX}), Contains("ends the code with 2 values"));
  CHECK_THAT(fault({kX, {Opcode::exp, 0, 0}}, true), Contains("exp, which has no meaning on integers"));
  CHECK_THAT(fault({{Opcode::constant, 0, 0.5}}, true), Contains("fits i32"));
  CHECK_THAT(fault({{Opcode::constant, 0, 2147483648.0}}, true), Contains("fits i32"));
  CHECK_THAT(fault({{Opcode::constant, 0, kNan}}, true), Contains("fits i32"));
  CHECK(fault({{Opcode::constant, 0, kNan}}) == "sound");
  CHECK_THAT(fault(std::vector<Instruction>(kMaxStackDepth + 1, kX)), Contains("32: pushes value 33"));
  CHECK_THAT(fault(std::vector<Instruction>(kMaxInstructions + 1, kX)), Contains("the most is 1024"));
}

TEST_CASE("expression: depth and text") {
  std::uint32_t depth = 0;
  const Expr expr = max(arg(0) + arg(1), 0.0);
  CHECK_FALSE(check_expression(expr.code(), 2, false, &depth));
  CHECK(depth == 2);
  CHECK(print_expression(expr.code()) == "max((x0 + x1), 0)");
  CHECK(print_expression(select(arg(0), arg(1), -arg(2)).code()) == "select(x0, x1, neg(x2))");
}

TEST_CASE("expression: division of integers in both widths") {
  const auto divide = [](auto a, auto b) {
    const std::array values{a, b};
    const auto span = std::span<const decltype(a)>(values);
    return std::pair{evaluate_expression((arg(0) / arg(1)).code(), span),
                     evaluate_expression(mod(arg(0), arg(1)).code(), span)};
  };
  const auto both = [&]<class T>(T least) {
    CHECK(divide(T{7}, T{-1}) == std::pair{T{-7}, T{0}});
    CHECK(divide(T{7}, T{-2}) == std::pair{T{-3}, T{1}});
    CHECK(divide(T{-7}, T{2}) == std::pair{T{-3}, T{-1}});
    CHECK(divide(T{7}, T{0}) == std::pair{T{0}, T{0}});
    CHECK(divide(least, T{-1}) == std::pair{least, T{0}});
    CHECK(divide(least, T{1}) == std::pair{least, T{0}});
  };
  both(std::numeric_limits<std::int32_t>::min());
  both(std::numeric_limits<std::int64_t>::min());
}
