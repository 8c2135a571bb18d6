# What `cmake --install` writes: headers, both libraries, the pkg-config file, the CMake package.
# The program installs itself, its man page and its completions: apps/klinear/CMakeLists.txt.
include(CMakePackageConfigHelpers)

install(TARGETS klinear klinear_static EXPORT klinearTargets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/klinear DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN *.h)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The bundled model, where the program looks for it beside its own prefix.
file(GLOB KL_MODELS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/models/*.gguf)
if(KL_MODELS)
    install(FILES ${KL_MODELS} ${PROJECT_SOURCE_DIR}/models/NOTICE DESTINATION ${CMAKE_INSTALL_DATADIR}/klinear/models)
endif()

# The pkg-config file finds its prefix from where it lies, so that an installed tree can be moved.
set(KL_PC_FOLDER ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
    set(KL_PC_PREFIX "")
    set(KL_PC_LIBDIR ${CMAKE_INSTALL_LIBDIR})
else()
    file(RELATIVE_PATH KL_PC_PREFIX /prefix/${KL_PC_FOLDER} /prefix)
    set(KL_PC_LIBDIR \${prefix}/${CMAKE_INSTALL_LIBDIR})
endif()
if(IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
    set(KL_PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
else()
    set(KL_PC_INCLUDEDIR \${prefix}/${CMAKE_INSTALL_INCLUDEDIR})
endif()
set(KL_PC_PRIVATE "-pthread -lm")
if(KLINEAR_WITH_JANSSON)
    string(APPEND KL_PC_PRIVATE " -ljansson")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/klinear.pc.in ${PROJECT_BINARY_DIR}/klinear.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/klinear.pc DESTINATION ${KL_PC_FOLDER})

set(KL_CMAKE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/klinear)
install(EXPORT klinearTargets NAMESPACE klinear:: DESTINATION ${KL_CMAKE_FOLDER})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/klinearConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/klinearConfig.cmake INSTALL_DESTINATION ${KL_CMAKE_FOLDER})
# Until 1.0 a minor version may change anything.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/klinearConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/klinearConfig.cmake ${PROJECT_BINARY_DIR}/klinearConfigVersion.cmake
        DESTINATION ${KL_CMAKE_FOLDER})
