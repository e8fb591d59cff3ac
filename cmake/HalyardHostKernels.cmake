# SPDX-License-Identifier: Apache-2.0
# hal_host_kernels(<name> <source>...): kernels for the host device, <name>.so, the bytes of an image of format "host.so".
# The sources include <hal/host_kernel.h>, say HAL_HOST_IMAGE() once and HAL_HOST_KERNEL(...) for each entry. -O3, because
# -O2 of some compilers makes no vector code; instructions beyond the target's least are yours to add (-march=native).
function(hal_host_kernels name)
  add_library(${name} MODULE ${ARGN})
  target_include_directories(${name} PRIVATE $<TARGET_PROPERTY:halyard::hal,INTERFACE_INCLUDE_DIRECTORIES>)
  target_compile_options(${name} PRIVATE -O3)
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so" POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
endfunction()
