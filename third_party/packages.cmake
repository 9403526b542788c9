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

if(AWQ_TESTS)
  awq_find_package(CMOCKA cmocka libcmocka-dev)
  # Only to see that the public headers are clean as C++.
  find_program(AWQ_CXX NAMES c++ g++ clang++ DOC "C++ compiler for the test of the public headers")
  if(NOT AWQ_CXX)
    message(FATAL_ERROR "The tests need a C++ compiler. On Debian and Ubuntu: apt-get install g++; "
                        "-D AWQ_TESTS=OFF builds without tests.")
  endif()
endif()
