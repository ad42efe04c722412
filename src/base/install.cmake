# install.cmake - what `cmake --install` puts where, how it is taken away again, and the Debian packages that `cpack` makes of it.
#
# Three components: runtime (the shared library), development (headers, static library, CMake package, pkg-config file), program.
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/qemb)
install(TARGETS qemb EXPORT qembTargets
  LIBRARY COMPONENT runtime NAMELINK_COMPONENT development
  ARCHIVE COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS qemb_static EXPORT qembTargets ARCHIVE COMPONENT development INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/qemb TYPE INCLUDE COMPONENT development)
install(FILES ${PROJECT_BINARY_DIR}/include/qemb/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/qemb COMPONENT development)

# ---- for CMake: find_package(qemb), qemb::qemb and qemb::qemb_static ---------------------------------------------------------
install(EXPORT qembTargets NAMESPACE qemb:: DESTINATION ${package_folder} COMPONENT development)
configure_package_config_file(src/base/qembConfig.cmake.in ${PROJECT_BINARY_DIR}/qembConfig.cmake INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/qembConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/qembConfig.cmake ${PROJECT_BINARY_DIR}/qembConfigVersion.cmake DESTINATION ${package_folder}
  COMPONENT development)

# ---- for pkg-config: relative to the file, so that the tree can be moved -----------------------------------------------------
file(RELATIVE_PATH up "${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" up "${up}")
configure_file(src/base/qemb.pc.in ${PROJECT_BINARY_DIR}/qemb.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/qemb.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)

# ---- the program, its manual page (made of what --help prints) and its completion --------------------------------------------
if(TARGET qemb_program)
  install(TARGETS qemb_program RUNTIME COMPONENT program)
  if(NOT QEMB_SANITIZE AND NOT QEMB_COVERAGE)
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/qemb.1
      COMMAND sh ${PROJECT_SOURCE_DIR}/src/cli/man.sh $<TARGET_FILE:qemb_program> ${PROJECT_BINARY_DIR}/qemb.1
      DEPENDS qemb_program ${PROJECT_SOURCE_DIR}/src/cli/man.sh COMMENT "Writing the manual page" VERBATIM)
    add_custom_target(manual ALL DEPENDS ${PROJECT_BINARY_DIR}/qemb.1)
    install(FILES ${PROJECT_BINARY_DIR}/qemb.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program)
  endif()
  install(FILES src/cli/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME qemb COMPONENT program)
endif()

# ---- and back: what the last install put there --------------------------------------------------------------------------------
add_custom_target(uninstall COMMAND ${CMAKE_COMMAND} -P ${PROJECT_SOURCE_DIR}/src/base/uninstall.cmake
  WORKING_DIRECTORY ${PROJECT_BINARY_DIR} COMMENT "Removing what was installed")

# ---- Debian packages: cd build && cpack ---------------------------------------------------------------------------------------
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME qemb)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "the qemb project")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime development program)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "quantised embedding tables on any OpenCL device: shared library")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libqemb${PROJECT_VERSION_MAJOR})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "ocl-icd-libopencl1 | libopencl1, pocl-opencl-icd | opencl-icd")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA "${PROJECT_BINARY_DIR}/triggers")
file(WRITE ${PROJECT_BINARY_DIR}/triggers "activate-noawait ldconfig\n")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "quantised embedding tables on any OpenCL device: headers and static library")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libqemb-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libqemb${PROJECT_VERSION_MAJOR} (= ${PROJECT_VERSION}), zlib1g-dev")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "opencl-c-headers")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "quantised embedding tables on any OpenCL device: program")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME qemb)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "pocl-opencl-icd | opencl-icd")
include(CPack)
