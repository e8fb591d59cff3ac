# SPDX-License-Identifier: Apache-2.0
# Flags and target helpers. Project flags live on one interface target linked at build time only, so nothing
# leaks into the exported package.

find_program(HALYARD_CCACHE ccache)
if(HALYARD_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${HALYARD_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${HALYARD_CCACHE}")
endif()

add_library(halyard_flags INTERFACE)
target_compile_options(halyard_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-align -Wnull-dereference
  -Wdouble-promotion -Wimplicit-fallthrough
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>
  # Paths in __FILE__ and debug information are relative, so a build is the same wherever the clone lies.
  -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports null dereferences inside libstdc++ once sanitizers or -O2 change its inlining, and overlapping copies
  # inside std::string at -O3 (GCC bug 105329).
  target_compile_options(halyard_flags INTERFACE -Wno-null-dereference -Wno-restrict
    $<$<CONFIG:Release>:-Wno-maybe-uninitialized>)  # at -O3 it finds fault with every move of a std::variant
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # clang 19 reports libstdc++ 12's own use of get_temporary_buffer inside std::stable_sort, each loop that it leaves as
  # it is though a pragma allows it to vectorise, and kernels that stand as text because no literal has to be that long.
  target_compile_options(halyard_flags INTERFACE -Wno-deprecated-declarations -Wno-pass-failed -Wno-overlength-strings)
endif()
target_compile_definitions(halyard_flags INTERFACE $<$<NOT:$<CONFIG:Release>>:_GLIBCXX_ASSERTIONS>)
if(HALYARD_SANITIZE)
  target_compile_options(halyard_flags INTERFACE
    -fsanitize=${HALYARD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(halyard_flags INTERFACE -fsanitize=${HALYARD_SANITIZE})
endif()
if(HALYARD_FUZZ)
  # Coverage feedback from the libraries too, not only from the entry points.
  target_compile_options(halyard_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
# A shared object that misses a symbol is an error at link time. Not so with clang's sanitizers, whose run time lives in
# the program alone.
set(HALYARD_NO_UNDEFINED "LINKER:--no-undefined")
if(HALYARD_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set(HALYARD_NO_UNDEFINED "")
endif()
find_program(HALYARD_MOLD mold)
if(HALYARD_MOLD)
  target_link_options(halyard_flags INTERFACE -fuse-ld=mold)
endif()

# The settings that every target of the project shares.
function(hal_target name)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:halyard_flags>)
  set_target_properties(${name} PROPERTIES
    C_STANDARD 11 C_STANDARD_REQUIRED ON
    CXX_STANDARD 23 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)
endfunction()

# hal_driver(<name> SOURCES ... [LIBS ...]): a driver that the instance loads by name, halyard-<name>.so.
function(hal_driver name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_library(halyard-${name} MODULE ${arg_SOURCES})
  hal_target(halyard-${name})
  target_link_libraries(halyard-${name} PRIVATE ${arg_LIBS})
  target_link_options(halyard-${name} PRIVATE
    "LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/driver.map" ${HALYARD_NO_UNDEFINED})
  set_target_properties(halyard-${name} PROPERTIES PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY "${HALYARD_DRIVER_DIR}" BUILD_RPATH_USE_ORIGIN ON)
endfunction()

# hal_time_limit(<seconds> <test ...>): what they may take, and the multiple of it that instrumented code takes.
set(HALYARD_TIME_SCALE 1)
if(HALYARD_SANITIZE)
  set(HALYARD_TIME_SCALE 4)
endif()
function(hal_time_limit seconds)
  math(EXPR limit "${seconds} * ${HALYARD_TIME_SCALE}")
  set_tests_properties(${ARGN} PROPERTIES TIMEOUT ${limit})
endfunction()

# hal_test(<name> SOURCES ... [LIBS ...] [TIMEOUT seconds] [LABELS ...]): one Catch2 program, one CTest entry.
function(hal_test name)
  if(NOT HALYARD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  set_property(GLOBAL APPEND PROPERTY HALYARD_TEST_PROGRAMS ${name})
  hal_target(${name})
  target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)  # tests compile twice as fast and are no product
  target_link_libraries(${name} PRIVATE halyard_catch2 ${arg_LIBS})
  add_test(NAME ${name} COMMAND ${name} ${HALYARD_CATCH2_ARGS})
  hal_time_limit(${arg_TIMEOUT} ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" SKIP_RETURN_CODE 77)
endfunction()

# hal_fuzz(<name> SOURCE file CORPUS dir [LIBS ...]): a test that replays the corpus through the entry point; with
# HALYARD_FUZZ a libFuzzer program, and a test that runs it for HALYARD_FUZZ_SECONDS. Target `fuzzers` builds them all.
if(HALYARD_FUZZ)
  add_custom_target(fuzzers)
endif()
function(hal_fuzz name)
  if(NOT HALYARD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "SOURCE;CORPUS" "LIBS" ${ARGN})
  if(HALYARD_FUZZ)
    add_executable(${name} ${arg_SOURCE})
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    # New findings go to a scratch folder, so that the committed corpus only grows on purpose.
    set(found "${PROJECT_BINARY_DIR}/found/${name}")
    file(MAKE_DIRECTORY "${found}")
    add_test(NAME ${name} COMMAND ${name} -max_total_time=${HALYARD_FUZZ_SECONDS} -timeout=10 -rss_limit_mb=2048
      -print_final_stats=1 -verbosity=0 -artifact_prefix=${found}/ "${found}" "${arg_CORPUS}")
    math(EXPR limit "${HALYARD_FUZZ_SECONDS} + 120")
    set_tests_properties(${name} PROPERTIES TIMEOUT ${limit} LABELS fuzz)  # -max_total_time knows no scale
    add_dependencies(fuzzers ${name})
  else()
    add_executable(${name} ${arg_SOURCE} "${PROJECT_SOURCE_DIR}/cmake/fuzz_replay.cpp")
    add_test(NAME ${name}_corpus COMMAND ${name} "${arg_CORPUS}")
    hal_time_limit(120 ${name}_corpus)
    set_tests_properties(${name}_corpus PROPERTIES LABELS fuzz)
  endif()
  hal_target(${name})
  target_link_libraries(${name} PRIVATE ${arg_LIBS})
endfunction()

# hal_failing_test(<name of a hal_test> [PROGRAM] [EVERY n ...]): its cases once more, one by one, while every n-th
# allocation fails: what they expect may fail then, and they may not crash, hang or leak. PROGRAM: also what the project's
# code in the program itself asks for. A program that is not to run so has hal_never_failing(<name> <reason>);
# hal_check_failing(), at the end, finds those that have neither.
find_package(Python3 COMPONENTS Interpreter)
math(EXPR limit "60 * ${HALYARD_TIME_SCALE}")
set(HALYARD_FAILING "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/tools/failing.py" --limit ${limit})
function(hal_failing_test name)
  if(NOT TARGET ${name} OR NOT Python3_FOUND)
    return()
  endif()
  cmake_parse_arguments(arg "PROGRAM" "" "EVERY" ${ARGN})
  if(NOT arg_EVERY)
    set(arg_EVERY 211 67)
  endif()
  list(TRANSFORM arg_EVERY PREPEND "--every=")
  set(how --each)
  if(arg_PROGRAM)
    list(APPEND how --program)
  endif()
  add_test(NAME ${name}_failing COMMAND ${HALYARD_FAILING} ${arg_EVERY} ${how} $<TARGET_FILE:${name}>)
  hal_time_limit(300 ${name}_failing)
  set_property(GLOBAL APPEND PROPERTY HALYARD_FAILING_TESTS ${name})
endfunction()
function(hal_never_failing name reason)
  set_property(GLOBAL APPEND PROPERTY HALYARD_FAILING_TESTS ${name})
endfunction()
function(hal_check_failing)
  get_property(tests GLOBAL PROPERTY HALYARD_TEST_PROGRAMS)
  get_property(failing GLOBAL PROPERTY HALYARD_FAILING_TESTS)
  list(REMOVE_ITEM tests "" ${failing})
  if(tests AND Python3_FOUND)
    message(FATAL_ERROR "no run with failing allocations and no reason for none (hal_failing_test, hal_never_failing): ${tests}")
  endif()
endfunction()

# hal_failing_conformance(<name> <device> n ...): the same for the suite on a device, each case in a process of its own, where
# what it takes to find the device should come true.
function(hal_failing_conformance name device)
  if(NOT HALYARD_TESTS OR NOT Python3_FOUND OR HALYARD_SANITIZE)  # a sanitizer has to be loaded first
    return()
  endif()
  list(TRANSFORM ARGN PREPEND "--every=" OUTPUT_VARIABLE every)
  add_test(NAME ${name}_failing COMMAND ${HALYARD_FAILING} ${every} --preload $<TARGET_FILE:halyard-failing>
    $<TARGET_FILE:halyard> conformance --device ${device} --batch 1)
  hal_time_limit(300 ${name}_failing)
endfunction()
