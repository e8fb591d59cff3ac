# SPDX-License-Identifier: Apache-2.0
# Installing: libhal.so, the drivers in a folder beside it (where the instance looks for them), headers, and the CMake package.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS hal hal_graph EXPORT halyardTargets FILE_SET HEADERS)
set_target_properties(hal PROPERTIES EXPORT_NAME hal)
set_target_properties(hal_graph PROPERTIES EXPORT_NAME graph)
foreach(name host cuda rngd photonic null template)
  if(TARGET halyard-${name})
    install(TARGETS halyard-${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/halyard)
    set_target_properties(halyard-${name} PROPERTIES INSTALL_RPATH "$ORIGIN/..:$ORIGIN")
  endif()
endforeach()
if(TARGET hal_topology)
  install(TARGETS hal_topology EXPORT halyardTargets)
  set_target_properties(hal_topology PROPERTIES INSTALL_RPATH "$ORIGIN")
endif()
if(TARGET halyard-onednn)
  install(TARGETS halyard-onednn LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/halyard)
endif()
if(TARGET halyard)
  install(TARGETS halyard halyard-peers)
  file(RELATIVE_PATH HALYARD_BIN_TO_LIB "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
  set_target_properties(halyard PROPERTIES INSTALL_RPATH "$ORIGIN/${HALYARD_BIN_TO_LIB}")
endif()
install(EXPORT halyardTargets NAMESPACE halyard:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/halyard)
configure_package_config_file(cmake/halyardConfig.cmake.in halyardConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/halyard)
write_basic_package_version_file(halyardConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_SOURCE_DIR}/cmake/HalyardHostKernels.cmake" "${PROJECT_BINARY_DIR}/halyardConfig.cmake" "${PROJECT_BINARY_DIR}/halyardConfigVersion.cmake"
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/halyard)

# A stranger's project, built against an installed tree.
if(HALYARD_TESTS AND NOT HALYARD_SANITIZE)
  add_test(NAME install_consumer COMMAND "${CMAKE_COMMAND}" -DBUILD=${PROJECT_BINARY_DIR} -DSOURCE=${PROJECT_SOURCE_DIR}
    -DCXX=${CMAKE_CXX_COMPILER} -DC=${CMAKE_C_COMPILER} -P "${PROJECT_SOURCE_DIR}/cmake/consumer/test.cmake")
  hal_time_limit(300 install_consumer)
endif()
