# Finds CUDA's libraries: in TRIDENT_CUDA_ROOT, in the toolkit of nvcc, or in Python's nvidia-* packages, each once.

find_package(CUDAToolkit QUIET)
if(NOT CUDAToolkit_FOUND)
  trident_missing("the CUDA toolkit of ${TRIDENT_NVCC} (or configure with -DTRIDENT_CUDA=OFF)" cuda-toolkit)
endif()

# Python's packages keep each library in a folder of its own (nvidia/cublas/lib) or, since CUDA 13, all in one (nvidia/cu13/lib).
set(cuda_roots ${TRIDENT_CUDA_ROOT} ${CUDAToolkit_TARGET_DIR})
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  execute_process(COMMAND ${Python3_EXECUTABLE} -c "import nvidia; print(';'.join(nvidia.__path__))"
    OUTPUT_VARIABLE nvidia_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  foreach(folder ${TRIDENT_CUDA_ROOT} ${nvidia_folders})
    file(GLOB inside LIST_DIRECTORIES true ${folder}/cu[0-9]* ${folder}/cublas ${folder}/cufft ${folder}/nccl)
    list(APPEND cuda_roots ${inside})
  endforeach()
endif()

# trident_cuda_library(NAME header package): the imported library trident_NAME.
function(trident_cuda_library name header package)
  set(names ${name})
  foreach(version RANGE 2 20)  # Python's packages have libcublasLt.so.13, without the name that linkers look for
    list(APPEND names lib${name}.so.${version})
  endforeach()
  find_path(TRIDENT_${name}_INCLUDE ${header} HINTS ${cuda_roots} PATH_SUFFIXES include NO_DEFAULT_PATH)
  find_path(TRIDENT_${name}_INCLUDE ${header})
  find_library(TRIDENT_${name}_LIBRARY NAMES ${names} HINTS ${cuda_roots} PATH_SUFFIXES lib64 lib NO_DEFAULT_PATH)
  find_library(TRIDENT_${name}_LIBRARY NAMES ${names})
  mark_as_advanced(TRIDENT_${name}_INCLUDE TRIDENT_${name}_LIBRARY)
  if(NOT TRIDENT_${name}_INCLUDE OR NOT TRIDENT_${name}_LIBRARY)
    list(JOIN cuda_roots ", " places)
    message(FATAL_ERROR "TRIDENT_CUDA needs ${name}, and it is not in ${places}: install ${package}, or name its folder in TRIDENT_CUDA_ROOT")
  endif()
  add_library(trident_${name} INTERFACE IMPORTED GLOBAL)
  target_include_directories(trident_${name} SYSTEM INTERFACE ${TRIDENT_${name}_INCLUDE})
  target_link_libraries(trident_${name} INTERFACE ${TRIDENT_${name}_LIBRARY})
endfunction()

trident_cuda_library(cublasLt cublasLt.h "the CUDA toolkit or Python's nvidia-cublas")
trident_cuda_library(cufft cufft.h "the CUDA toolkit or Python's nvidia-cufft")
if(TRIDENT_NCCL)
  trident_cuda_library(nccl nccl.h "libnccl-dev or Python's nvidia-nccl, or configure with -DTRIDENT_NCCL=OFF")
endif()

add_library(trident_cuda_libraries INTERFACE IMPORTED GLOBAL)
target_link_libraries(trident_cuda_libraries INTERFACE CUDA::cudart_static trident_cublasLt trident_cufft)
