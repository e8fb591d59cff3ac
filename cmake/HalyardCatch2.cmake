# SPDX-License-Identifier: Apache-2.0
# Tests link halyard_catch2 and include <halyard_catch.hpp>; nothing else knows the Catch2 version.
find_package(Catch2 REQUIRED)

# Allocations that fail on purpose: in every test program, and to be preloaded into others.
set(halyard_failing_sources "${PROJECT_SOURCE_DIR}/cmake/failing_allocations.cpp" "${PROJECT_SOURCE_DIR}/cmake/program_symbols.cpp")
add_library(halyard_failing OBJECT ${halyard_failing_sources})
hal_target(halyard_failing)
set_target_properties(halyard_failing PROPERTIES CXX_VISIBILITY_PRESET default)  # the libraries are to find it
add_library(halyard-failing MODULE ${halyard_failing_sources})
hal_target(halyard-failing)
set_target_properties(halyard-failing PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET default
  LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib/testing")

add_library(halyard_catch2 INTERFACE)
target_include_directories(halyard_catch2 INTERFACE "${PROJECT_SOURCE_DIR}/cmake")
target_sources(halyard_catch2 INTERFACE $<TARGET_OBJECTS:halyard_failing>)
if(Catch2_VERSION VERSION_GREATER_EQUAL 3)
  target_link_libraries(halyard_catch2 INTERFACE Catch2::Catch2WithMain)
  target_compile_definitions(halyard_catch2 INTERFACE HALYARD_CATCH2_V3=1)
  set(HALYARD_CATCH2_ARGS "")
else()
  add_library(halyard_catch2_main STATIC "${PROJECT_SOURCE_DIR}/cmake/catch2_v2_main.cpp")
  target_link_libraries(halyard_catch2_main PUBLIC Catch2::Catch2)
  target_link_libraries(halyard_catch2 INTERFACE halyard_catch2_main)
  set(HALYARD_CATCH2_ARGS -w NoTests)  # v2 exits 0 when a filter matches nothing
endif()
