# What the compiler and the linker can do against bugs that would become holes: files are hostile. It
# costs nothing that can be measured. tests/structure/hardening.sh reads it back from what was built.
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(CheckLinkerFlag)
include(CheckPIESupported)

check_pie_supported(LANGUAGES C) # CMAKE_POSITION_INDEPENDENT_CODE alone does not link programs so

function(awq_harden_compiler variable)
  check_c_compiler_flag("${ARGN}" ${variable})
  if(${variable})
    add_compile_options(${ARGN})
  endif()
endfunction()

function(awq_harden_linker variable flag)
  check_linker_flag(C "${flag}" ${variable})
  if(${variable})
    add_link_options("${flag}")
  endif()
endfunction()

# Level 3 knows sizes that are known at run time alone; gcc 12, clang 9 and glibc 2.34 have it.
function(awq_fortify)
  set(CMAKE_REQUIRED_FLAGS "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
  check_c_source_compiles("#include <string.h>
    #if !defined(__USE_FORTIFY_LEVEL) || __USE_FORTIFY_LEVEL < 3
    #error it is treated like 2
    #endif
    int main(void) { return 0; }" AWQ_HAS_FORTIFY_3)
  set(level 2)
  if(AWQ_HAS_FORTIFY_3)
    set(level 3)
  endif()
  # Some distributions define it, and it needs an optimizing compiler.
  add_compile_options("$<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=${level}>")
endfunction()

awq_harden_compiler(AWQ_HAS_STACK_PROTECTOR -fstack-protector-strong)
awq_harden_compiler(AWQ_HAS_STACK_CLASH -fstack-clash-protection)
awq_harden_compiler(AWQ_HAS_CF_PROTECTION -fcf-protection)
awq_harden_linker(AWQ_HAS_RELRO -Wl,-z,relro)
awq_harden_linker(AWQ_HAS_NOW -Wl,-z,now)
awq_harden_linker(AWQ_HAS_NOEXECSTACK -Wl,-z,noexecstack)
awq_fortify()
