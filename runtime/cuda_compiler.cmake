# Finds nvcc (in TRIDENT_CUDA_ROOT, on the path, in /usr/local/cuda) and enables the CUDA language.
set(TRIDENT_CUDA_ROOT "" CACHE PATH "Folders of CUDA and its libraries, in the order to look: a toolkit, or Python's nvidia packages")
find_program(TRIDENT_NVCC nvcc HINTS ${TRIDENT_CUDA_ROOT} /usr/local/cuda PATH_SUFFIXES bin)
if(NOT TRIDENT_NVCC)
  message(FATAL_ERROR "TRIDENT_CUDA needs nvcc, and it is neither in TRIDENT_CUDA_ROOT (\"${TRIDENT_CUDA_ROOT}\"), nor on the path, nor in \
/usr/local/cuda: install the CUDA toolkit (version 12.4 or later) or configure with -DTRIDENT_CUDA=OFF")
endif()
set(CMAKE_CUDA_COMPILER ${TRIDENT_NVCC})
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Ampere, which later chips translate when a program starts, and Hopper with the instructions that are its own.
  set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)
endif()
enable_language(CUDA)

# CMake before 3.26 does not know C++20 for CUDA and drops it, so there it is an option like others.
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED OFF)
if(NOT "cuda_std_20" IN_LIST CMAKE_CUDA_COMPILE_FEATURES)
  set(TRIDENT_CUDA_STANDARD -std=c++20)
endif()
