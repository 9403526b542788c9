# The one place that finds other people's libraries. All are system packages: README.md beside this
# file lists them, install.sh installs them on Debian and Ubuntu.
set(AWQ_INSTALL_HINT "sh third_party/install.sh installs everything on Debian and Ubuntu")

find_package(PkgConfig QUIET)
if(NOT PkgConfig_FOUND)
  message(FATAL_ERROR "pkg-config was not found. On Debian and Ubuntu: apt-get install pkg-config; "
                      "${AWQ_INSTALL_HINT}.")
endif()

find_package(OpenMP QUIET COMPONENTS C)
if(NOT OpenMP_C_FOUND)
  message(FATAL_ERROR "OpenMP was not found for ${CMAKE_C_COMPILER}. gcc brings its own; for clang on "
                      "Debian and Ubuntu: apt-get install libomp-dev.")
endif()

function(awq_find_package target module debian_package)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${target}_FOUND)
    message(FATAL_ERROR "pkg-config does not know ${module}. On Debian and Ubuntu: apt-get install "
                        "${debian_package}; ${AWQ_INSTALL_HINT}.")
  endif()
  message(STATUS "Found ${module} ${${target}_VERSION}")
endfunction()

awq_find_package(OPENBLAS openblas libopenblas-dev)
awq_find_package(CJSON libcjson libcjson-dev)
awq_find_package(YAML yaml-0.1 libyaml-dev)
# The tables in libawq/src/text/unicode.c assume the Unicode of PCRE2 10.40 and utf8proc 2.7, or later.
awq_find_package(PCRE2 "libpcre2-8>=10.40" libpcre2-dev)
awq_find_package(XXHASH libxxhash libxxhash-dev)
awq_find_package(CRYPTO libcrypto libssl-dev)
awq_find_package(UTF8PROC libutf8proc libutf8proc-dev) # its .pc file tells the version of the ABI

# The plugin of NVIDIA's devices: auto builds it where a CUDA toolkit is found.
set(AWQ_CUDA auto CACHE STRING "Build the plugin for CUDA devices: auto, on or off")
set_property(CACHE AWQ_CUDA PROPERTY STRINGS auto on off)
if(NOT AWQ_CUDA MATCHES "^(auto|on|off)$")
  message(FATAL_ERROR "AWQ_CUDA is \"${AWQ_CUDA}\", expected auto, on or off.")
endif()

function(awq_find_cuda)
  find_program(AWQ_NVCC_FOUND nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin
               DOC "Compiler of the CUDA toolkit")
  if(NOT AWQ_NVCC_FOUND)
    return()
  endif()
  execute_process(COMMAND ${AWQ_NVCC_FOUND} --version OUTPUT_VARIABLE text ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" found "${text}")
  set(version ${CMAKE_MATCH_1})
  cmake_path(GET AWQ_NVCC_FOUND PARENT_PATH bin)
  cmake_path(GET bin PARENT_PATH root)
  set(places HINTS ${root} PATH_SUFFIXES include lib64 lib targets/x86_64-linux/include
             targets/x86_64-linux/lib)
  find_path(AWQ_CUDA_INCLUDE_FOUND cublas_v2.h ${places})
  find_library(AWQ_CUDART cudart_static ${places})
  find_library(AWQ_CUBLAS NAMES cublas libcublas.so.13 libcublas.so.12 ${places})
  find_library(AWQ_CUBLASLT NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12 ${places})
  find_library(AWQ_CUSOLVER NAMES cusolver libcusolver.so.12 libcusolver.so.11 ${places})
  if(NOT version OR version VERSION_LESS 12.0 OR NOT AWQ_CUDA_INCLUDE_FOUND OR NOT AWQ_CUDART OR
     NOT AWQ_CUBLAS OR NOT AWQ_CUBLASLT OR NOT AWQ_CUSOLVER)
    message(STATUS "CUDA ${version} at ${root}: older than 12.0, or without cuBLAS or cuSOLVER")
    return()
  endif()
  message(STATUS "Found CUDA ${version}")
  cmake_path(GET AWQ_CUBLAS PARENT_PATH libraries)
  set(AWQ_NVCC ${AWQ_NVCC_FOUND} PARENT_SCOPE)
  set(AWQ_CUDA_VERSION ${version} PARENT_SCOPE)
  set(AWQ_CUDA_INCLUDE ${AWQ_CUDA_INCLUDE_FOUND} PARENT_SCOPE)
  set(AWQ_CUDA_LIBRARIES ${AWQ_CUDART} ${AWQ_CUBLAS} ${AWQ_CUBLASLT} ${AWQ_CUSOLVER}
      PARENT_SCOPE)
  set(AWQ_CUDA_RPATH ${libraries} PARENT_SCOPE)
endfunction()

set(AWQ_NVCC "")
if(NOT AWQ_CUDA STREQUAL "off")
  awq_find_cuda()
endif()
if(AWQ_CUDA STREQUAL "on" AND NOT AWQ_NVCC)
  message(FATAL_ERROR "AWQ_CUDA is on, but no CUDA toolkit of 12.0 or later was found: put its nvcc on "
                      "PATH, or set CUDA_HOME.")
endif()

if(AWQ_TESTS)
  awq_find_package(CMOCKA cmocka libcmocka-dev)
  # Only to see that the public headers are clean as C++.
  find_program(AWQ_CXX NAMES c++ g++ clang++ DOC "C++ compiler for the test of the public headers")
  if(NOT AWQ_CXX)
    message(FATAL_ERROR "The tests need a C++ compiler. On Debian and Ubuntu: apt-get install g++; "
                        "-D AWQ_TESTS=OFF builds without tests.")
  endif()
endif()
