# The build's own vocabulary: what a library, a program and a test of this project is. Options travel with
# INTERFACE targets, never as global flags.

set(RINGSIDE_SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined or thread")

# Compile options of every target of ours; never exported to a dependency.
add_library(ringside_options INTERFACE)
target_compile_features(ringside_options INTERFACE cxx_std_20)
target_include_directories(ringside_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_options(ringside_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Wimplicit-fallthrough -Wundef -Werror)
# g++ 12 sees overlaps that are not there in std::string's assignments once they are inlined (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(ringside_options INTERFACE -Wno-restrict)
endif()
if(RINGSIDE_SANITIZE)
  target_compile_options(ringside_options INTERFACE -fsanitize=${RINGSIDE_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(ringside_options INTERFACE -fsanitize=${RINGSIDE_SANITIZE})
  if(RINGSIDE_SANITIZE MATCHES "undefined")
    target_compile_options(ringside_options INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

find_program(RINGSIDE_CCACHE ccache)
if(RINGSIDE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${RINGSIDE_CCACHE}" CACHE STRING "" FORCE)
endif()

# ringside_library(shm SOURCES a.cc HEADERS a.h DEPENDS ringside::base PRIVATE_DEPENDS foo)
# makes ringside_shm with the alias ringside::shm. Every header must compile by itself
# (target all_verify_interface_header_sets).
function(ringside_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  set(target ringside_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(ringside::${name} ALIAS ${target})
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${ARG_HEADERS})
  target_link_libraries(${target} PUBLIC ringside_options ${ARG_DEPENDS} PRIVATE ${ARG_PRIVATE_DEPENDS})
  set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
endfunction()

# ringside_test(ring_test LABEL unit SOURCES ring_test.cc DEPENDS ringside::shm [TIMEOUT 120] [COST 30])
# makes an executable over GoogleTest and registers it as one test with ctest. COST: its seconds, if they are many: ctest starts
# the longest first, so that no core waits for a long one at the end.
function(ringside_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT;COST" "SOURCES;DEPENDS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ringside_options ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
  if(ARG_COST)
    set_tests_properties(${name} PROPERTIES COST ${ARG_COST})
  endif()
endfunction()

# ringside_fuzzer(fuzz_request SOURCES request_fuzz.cc DEPENDS ringside::http CORPUS dir)
# With RINGSIDE_FUZZ (clang) a libFuzzer program; in every other build a program that replays the committed
# corpus once, so that a crash found in the past stays found.
function(ringside_fuzzer name)
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ringside_options ${ARG_DEPENDS})
  if(RINGSIDE_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cc")
    add_test(NAME ${name} COMMAND ${name} "${ARG_CORPUS}")
    set_tests_properties(${name} PROPERTIES LABELS fuzz_replay TIMEOUT 120)
  endif()
endfunction()

# Programs that link this may include <build_commit.h>, which defines RINGSIDE_COMMIT. Programs only: what depends on it is
# compiled again with every commit.
set(ringside_commit_header "${PROJECT_BINARY_DIR}/generated/build_commit.h")
add_custom_target(ringside_write_build_commit
  COMMAND "${CMAKE_COMMAND}" "-DSOURCE=${PROJECT_SOURCE_DIR}" "-DOUT=${ringside_commit_header}"
          -P "${PROJECT_SOURCE_DIR}/tools/cmake/write_build_commit.cmake"
  BYPRODUCTS "${ringside_commit_header}")
add_library(ringside_build_commit INTERFACE)
target_include_directories(ringside_build_commit INTERFACE "${PROJECT_BINARY_DIR}/generated")
add_dependencies(ringside_build_commit ringside_write_build_commit)
