# tests.cmake - one Criterion program for every tests/test_*.c, the replay of tests/cases, and the rules of the house.
#
# Every test runs on the PoCL driver alone and with a kernel cache of its own: PoCL's cache is not safe between processes.

# With QEMB_TEST_NATIVE they run on tests/native instead: kernels compiled for this processor, under the sanitizers (tests/lanes/kernels.sh).
option(QEMB_TEST_NATIVE "run the tests on natively compiled kernels" OFF)
set(QEMB_NATIVE_FLAGS "" CACHE STRING "clang's options for natively compiled kernels: sanitizers, coverage")
set(native_environment "")
if(QEMB_TEST_NATIVE)
  qemb_sources(native_sources tests/native/icd.c tests/native/memory.c tests/native/queue.c tests/native/program.c tests/native/group.c)
  add_library(qemb_native MODULE ${native_sources}) # without the sanitizers: it looks into what they guard
  target_compile_options(qemb_native PRIVATE -O1 -Wall -Wextra -Wconversion -Wshadow -Werror)
  target_compile_definitions(qemb_native PRIVATE _GNU_SOURCE=)
  target_link_libraries(qemb_native PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  file(WRITE ${PROJECT_BINARY_DIR}/native.icd "${PROJECT_BINARY_DIR}/libqemb_native.so\n")
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/native)
  set(QEMB_TEST_ICD ${PROJECT_BINARY_DIR}/native.icd)
  set(native_environment "QEMB_NATIVE_SOURCE=${PROJECT_SOURCE_DIR};QEMB_NATIVE_CACHE=${PROJECT_BINARY_DIR}/native;QEMB_NATIVE_FLAGS=${QEMB_NATIVE_FLAGS};QEMB_NATIVE_REPORT=${PROJECT_BINARY_DIR}/reports/native;QEMB_NATIVE_COUNTS=${PROJECT_BINARY_DIR}/native/counts")
endif()

# qemb_add_test(NAME program ARGUMENTS...); the variable environment holds what is to be set beside the driver and the cache.
function(qemb_add_test name program)
  set(watched "")
  if(QEMB_SANITIZE)
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/reports)
    set(watched sh ${PROJECT_SOURCE_DIR}/tests/watched.sh ${PROJECT_BINARY_DIR}/reports/${name})
  endif()
  add_test(NAME ${name} COMMAND ${watched} $<TARGET_FILE:${program}> ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set(cache ${PROJECT_BINARY_DIR}/pocl-cache/${name})
  file(MAKE_DIRECTORY ${cache})
  set_tests_properties(${name} PROPERTIES TIMEOUT 1500
    ENVIRONMENT "OCL_ICD_VENDORS=${QEMB_TEST_ICD};POCL_CACHE_DIR=${cache};${native_environment};${environment}")
endfunction()

# Helpers that several test programs share are tests/support*.c.
qemb_sources(support_sources tests/support*.c)
qemb_sources(test_sources tests/test_*.c)
if(QEMB_SANITIZE MATCHES "thread")
  list(APPEND support_sources tests/tsan_arena.c)
endif()
foreach(source IN LISTS test_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source} ${support_sources})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE qemb_static qemb_flags qemb_dependencies PkgConfig::CRITERION)
  if(name MATCHES "^test_dlrm") # they test the objects of src/dlrm
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:qemb_dlrm>)
    target_link_libraries(${name} PRIVATE qemb_clblast)
  endif()
  if(name STREQUAL test_fuzz) # the targets that need no device
    qemb_sources(fuzz_sources tests/fuzz/fuzz_*.c)
    list(FILTER fuzz_sources EXCLUDE REGEX "kernels|options|device")
    target_sources(test_fuzz PRIVATE ${fuzz_sources})
  endif()
  qemb_add_test(${name} ${name} -j1)
endforeach()

# The layer that makes OpenCL calls fail: the loader puts it between library and driver.
add_library(fault_layer MODULE tests/fault_layer.c)
target_link_libraries(fault_layer PRIVATE qemb_flags)
set_source_files_properties(tests/support_layer.c PROPERTIES COMPILE_DEFINITIONS "QEMB_FAULT_LAYER=\"$<TARGET_FILE:fault_layer>\"")
add_dependencies(test_fault_opencl fault_layer)
target_link_options(test_io_crash PRIVATE LINKER:--wrap=open LINKER:--wrap=write LINKER:--wrap=pwrite LINKER:--wrap=pread LINKER:--wrap=fsync
  LINKER:--wrap=close LINKER:--wrap=rename LINKER:--wrap=fchmod)
# Memory runs out: the library's allocations, and only those, go through the test. The driver's do not.
add_dependencies(test_fault_memory fault_layer)
target_link_options(test_fault_memory PRIVATE
  LINKER:--wrap=calloc LINKER:--wrap=posix_memalign LINKER:--wrap=mmap LINKER:--wrap=free)

qemb_sources(replay_sources tests/replay*.c)
if(replay_sources)
  add_executable(qemb-replay ${replay_sources})
  target_include_directories(qemb-replay PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(qemb-replay PRIVATE qemb_static qemb_flags qemb_dependencies)
  set(cases ${PROJECT_SOURCE_DIR}/tests/cases)
  qemb_add_test(replay_reference qemb-replay --device reference --only forward ${cases})
  foreach(device pthread basic)
    set(environment POCL_DEVICES=${device})
    qemb_add_test(replay_pocl_${device} qemb-replay --device opencl --only forward ${cases})
  endforeach()
  set(environment "")
endif()

# A few seconds of the soak; tests/lanes/soak.sh runs it for minutes or hours.
add_executable(soak tests/soak.c)
set_target_properties(soak PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
target_include_directories(soak PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(soak PRIVATE qemb_static qemb_flags qemb_dependencies)
qemb_add_test(soak soak 4)

# PyTorch, where there is one, reads what we write.
find_program(QEMB_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(QEMB_PYTHON AND NOT QEMB_SANITIZE AND NOT QEMB_COVERAGE)
  execute_process(COMMAND ${QEMB_PYTHON} -c "import numpy, torch.ao.nn.qat" RESULT_VARIABLE no_torch OUTPUT_QUIET ERROR_QUIET)
  if(no_torch EQUAL 0)
    set(cache ${PROJECT_BINARY_DIR}/pocl-cache/torch_reads)
    file(MAKE_DIRECTORY ${cache} ${PROJECT_BINARY_DIR}/torch_reads)
    add_test(NAME torch_reads COMMAND ${QEMB_PYTHON} ${PROJECT_SOURCE_DIR}/tests/torch_reads.py $<TARGET_FILE:qemb> $<TARGET_FILE:qemb_program>
      ${PROJECT_BINARY_DIR}/torch_reads)
    set_tests_properties(torch_reads PROPERTIES TIMEOUT 600 ENVIRONMENT "OCL_ICD_VENDORS=${QEMB_TEST_ICD};POCL_CACHE_DIR=${cache}")
  endif()
endif()

if(NOT QEMB_SANITIZE AND NOT QEMB_COVERAGE) # once is enough, and the instrumented builds show symbols of their own
  add_test(NAME symbols COMMAND sh ${PROJECT_SOURCE_DIR}/tests/symbols.sh $<TARGET_FILE:qemb>)
  add_test(NAME house COMMAND sh ${PROJECT_SOURCE_DIR}/tests/house.sh)
  add_test(NAME house_bites COMMAND sh ${PROJECT_SOURCE_DIR}/tests/house.sh --self-test)
endif()

# Fuzz targets under libFuzzer, with clang alone: tests/fuzz/run.sh builds and runs them.
option(QEMB_FUZZ "build the fuzz targets" OFF)
if(QEMB_FUZZ)
  qemb_sources(fuzz_sources tests/fuzz/fuzz_*.c)
  foreach(source IN LISTS fuzz_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    if(name STREQUAL fuzz_options)
      target_sources(${name} PRIVATE src/cli/bench_options.c src/cli/support.c)
      target_link_libraries(${name} PRIVATE bench)
      target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/bench)
    endif()
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
    target_compile_definitions(${name} PRIVATE ${name}=LLVMFuzzerTestOneInput)
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(${name} PRIVATE qemb_static qemb_flags qemb_dependencies)
  endforeach()
endif()
