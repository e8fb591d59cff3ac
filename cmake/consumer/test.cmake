# SPDX-License-Identifier: Apache-2.0
# Installs the build, builds the consumer against it with nothing else in sight, runs it.
set(place "${BUILD}/consumer")
file(REMOVE_RECURSE "${place}")
macro(step)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "failed: ${ARGN}")
  endif()
endmacro()
step("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${place}/installed")
# All that the tree offers, but what only tests load.
file(GLOB offered RELATIVE "${BUILD}" "${BUILD}/lib/halyard/*.so")
list(REMOVE_ITEM offered lib/halyard/halyard-fault.so)
file(GLOB_RECURSE headers RELATIVE "${SOURCE}/hal" "${SOURCE}/hal/include/*")
foreach(file bin/halyard bin/halyard-peers ${offered} ${headers})
  if(NOT EXISTS "${place}/installed/${file}")
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()
step("${CMAKE_COMMAND}" -S "${SOURCE}/cmake/consumer" -B "${place}/build" -G Ninja "-DCMAKE_PREFIX_PATH=${place}/installed"
  "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_C_COMPILER=${C}")
step("${CMAKE_COMMAND}" --build "${place}/build")
step("${CMAKE_COMMAND}" -E env --unset=HALYARD_DRIVER_PATH "${place}/build/consumer")
