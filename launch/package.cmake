# What `cmake --install` puts where: the program, the libraries, headers under include/trident, a CMake package (`find_package(trident)`
# gives trident::trident_runtime ... trident::trident_launch), and the service's .proto.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/trident)
set(installed trident_options)
foreach(folder runtime parallel models checkpoint rpc launch)
  if(TARGET trident_${folder})
    list(APPEND installed trident_${folder})
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/trident FILES_MATCHING PATTERN "*.h")
  endif()
endforeach()
if(TARGET trident_protocol)
  list(APPEND installed trident_protocol)
endif()
install(TARGETS ${installed} EXPORT trident-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/trident)
install(EXPORT trident-targets NAMESPACE trident:: DESTINATION ${package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/runtime/packages.cmake ${PROJECT_SOURCE_DIR}/runtime/cuda_packages.cmake
  DESTINATION ${package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/rpc/inference.proto DESTINATION ${CMAKE_INSTALL_DATADIR}/trident)

include(CMakePackageConfigHelpers)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/trident-config.cmake.in ${PROJECT_BINARY_DIR}/trident-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/trident-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/trident-config.cmake ${PROJECT_BINARY_DIR}/trident-config-version.cmake DESTINATION ${package_dir})
