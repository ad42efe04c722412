# tests.cmake - one Criterion program for every tests/test_*.c, the replay of tests/cases, and the rules of the house.
#
# Every test runs on the PoCL driver alone and with a kernel cache to itself, filled with what earlier tests compiled (with_kernels.sh).

# With QEMB_TEST_NATIVE they run on tests/native instead: kernels compiled for this processor, under the sanitizers (tests/lanes/kernels.sh).
option(QEMB_TEST_NATIVE "run the tests on natively compiled kernels" OFF)
set(QEMB_NATIVE_FLAGS "" CACHE STRING "clang's options for natively compiled kernels: sanitizers, coverage")
set(native_environment "")
if(QEMB_TEST_NATIVE)
  qemb_sources(native_sources tests/native/icd.c tests/native/memory.c tests/native/queue.c tests/native/program.c tests/native/group.c)
  add_library(qemb_native MODULE ${native_sources}) # without the sanitizers: it looks into what they guard
  target_compile_options(qemb_native PRIVATE -O1 -Wall -Wextra -Wconversion -Wshadow -Werror)
  target_compile_definitions(qemb_native PRIVATE _GNU_SOURCE=)
  if(QEMB_SANITIZE STREQUAL "memory") # it must know of every value where it came from
    target_compile_options(qemb_native PRIVATE -fsanitize=memory)
  endif()
  target_link_libraries(qemb_native PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  file(WRITE ${PROJECT_BINARY_DIR}/native.icd "${PROJECT_BINARY_DIR}/libqemb_native.so\n")
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/native)
  set(QEMB_TEST_ICD ${PROJECT_BINARY_DIR}/native.icd)
  set(native_environment "QEMB_NATIVE_SOURCE=${PROJECT_SOURCE_DIR};QEMB_NATIVE_CACHE=${PROJECT_BINARY_DIR}/native;QEMB_NATIVE_FLAGS=${QEMB_NATIVE_FLAGS};QEMB_NATIVE_REPORT=${PROJECT_BINARY_DIR}/reports/native;QEMB_NATIVE_COUNTS=${PROJECT_BINARY_DIR}/native/counts")
endif()

# qemb_add_device_test(NAME COMMAND...): a test that may compile kernels.
function(qemb_add_device_test name)
  add_test(NAME ${name} COMMAND sh ${PROJECT_SOURCE_DIR}/tests/with_kernels.sh ${PROJECT_BINARY_DIR}/pocl-cache ${ARGN}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT 1500 ENVIRONMENT OCL_ICD_VENDORS=${QEMB_TEST_ICD})
endfunction()

# qemb_add_test(NAME program ARGUMENTS...); the variable environment holds what is to be set beside the driver.
function(qemb_add_test name program)
  set(watched "")
  if(QEMB_SANITIZE)
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/reports)
    set(watched sh ${PROJECT_SOURCE_DIR}/tests/watched.sh ${PROJECT_BINARY_DIR}/reports/${name})
  endif()
  qemb_add_device_test(${name} ${watched} $<TARGET_FILE:${program}> ${ARGN})
  set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT "QEMB_TUNE=;${native_environment};${environment}") # no tuning file of whoever runs them
endfunction()

# Helpers that several test programs share are tests/support*.c.
qemb_sources(support_sources tests/support*.c)
qemb_sources(test_sources tests/test_*.c)
if(QEMB_SANITIZE MATCHES "address|thread|memory") # these have an allocator of their own, and so has that test
  list(FILTER test_sources EXCLUDE REGEX "/test_io_nomem[.]c$")
endif()
if(QEMB_SANITIZE) # what the library does with faults is seen there by test_fault_opencl; these look at how the program ends
  list(FILTER test_sources EXCLUDE REGEX "/test_(program_faults|program_calls|cli_errors)[.]c$")
endif()
if(QEMB_SANITIZE MATCHES "thread")
  list(APPEND support_sources tests/tsan_arena.c)
endif()
add_library(test_support OBJECT ${support_sources})
target_include_directories(test_support PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(test_support PRIVATE qemb_flags qemb_dependencies PkgConfig::CRITERION)
foreach(source IN LISTS test_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE test_support qemb_static qemb_flags qemb_dependencies PkgConfig::CRITERION)
  if(name MATCHES "^test_dlrm") # they test the objects of src/dlrm
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:qemb_dlrm>)
    target_link_libraries(${name} PRIVATE qemb_clblast)
  endif()
  if(name STREQUAL test_fuzz) # the targets that need no device
    qemb_sources(fuzz_sources tests/fuzz/fuzz_*.c)
    list(FILTER fuzz_sources EXCLUDE REGEX "/fuzz_(kernels|options|device)[^/]*$")
    target_sources(test_fuzz PRIVATE ${fuzz_sources})
  endif()
  if(name STREQUAL test_cli_threads)
    target_sources(${name} PRIVATE src/cli/support.c)
  endif()
  qemb_add_test(${name} ${name} -j1)
endforeach()

# Those that compile most begin: none of them runs alone at the end.
set(cost 1000)
foreach(name bag_forward packed_forward row_pack bad_input fake_quantise)
  set_tests_properties(test_${name} PROPERTIES COST ${cost})
  math(EXPR cost "${cost} - 100")
endforeach()

# The layer that makes OpenCL calls fail: the loader puts it between library and driver.
add_library(fault_layer MODULE tests/fault_layer.c)
target_link_libraries(fault_layer PRIVATE qemb_flags)
set_source_files_properties(tests/support_layer.c tests/test_program_faults.c PROPERTIES COMPILE_DEFINITIONS "QEMB_FAULT_LAYER=\"$<TARGET_FILE:fault_layer>\"")
add_dependencies(test_fault_opencl fault_layer)
if(TARGET test_program_faults)
  add_dependencies(test_program_faults fault_layer qemb_program)
  set_tests_properties(test_program_faults test_program_calls PROPERTIES TIMEOUT 7200) # at night, and where lines are counted
endif()
# These walk over the same API with the same kernels: one after the other, so that each is compiled once.
set_tests_properties(test_fault_opencl test_fault_memory test_bad_input PROPERTIES RESOURCE_LOCK walk)
# These train the same module.
set_tests_properties(test_prepare test_training PROPERTIES RESOURCE_LOCK training)
target_link_options(test_io_crash PRIVATE LINKER:--wrap=open LINKER:--wrap=write LINKER:--wrap=pwrite LINKER:--wrap=pread LINKER:--wrap=fsync
  LINKER:--wrap=close LINKER:--wrap=rename LINKER:--wrap=fchmod)
target_link_options(test_corners PRIVATE LINKER:--wrap=mmap LINKER:--wrap=read LINKER:--wrap=write LINKER:--wrap=opendir LINKER:--wrap=fopen
  LINKER:--wrap=open LINKER:--wrap=stat LINKER:--wrap=fstat LINKER:--wrap=fsync LINKER:--wrap=localeconv LINKER:--wrap=gzseek)
# Memory runs out: the library's allocations, and only those, go through the test. The driver's do not.
add_dependencies(test_fault_memory fault_layer)
target_link_options(test_fault_memory PRIVATE
  LINKER:--wrap=calloc LINKER:--wrap=posix_memalign LINKER:--wrap=mmap LINKER:--wrap=free)

# Every call inside the library that returns a status fails in turn.
file(GLOB inner_headers CONFIGURE_DEPENDS src/base/*.h src/core/*.h src/io/*.h src/opencl/*.h src/reference/*.h)
set(inner_calls "")
set(calling_headers "")
foreach(header IN LISTS inner_headers)
  file(STRINGS ${header} calls REGEX "^qemb_status qemb__")
  if(calls)
    list(APPEND calling_headers ${header})
  endif()
  list(APPEND inner_calls ${calls})
endforeach()
list(TRANSFORM inner_calls REPLACE "^qemb_status (qemb__[a-z0-9_]+).*$" "\\1")
list(FILTER inner_calls EXCLUDE REGEX "^qemb__(scan_.*|fail|fail_in|named|lose|settle|contents_add|contents_add_text|cl_fail|cl_enqueued|cl_waited)$")
set(all_headers include/qemb/qemb.h include/qemb/qemb_io.h include/qemb/qemb_opencl.h)
set(outer_calls "")
foreach(header IN LISTS all_headers)
  file(STRINGS ${header} calls REGEX "^QEMB_API qemb_status qemb_")
  list(APPEND outer_calls ${calls})
endforeach()
list(TRANSFORM outer_calls REPLACE "^QEMB_API qemb_status (qemb_[a-z0-9_]+).*$" "\\1")
list(TRANSFORM all_headers PREPEND ${PROJECT_SOURCE_DIR}/)
add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/fault_calls.inc
  COMMAND sh -c "awk -f '${PROJECT_SOURCE_DIR}/tests/faulty/calls.awk' \"$@\" >'${PROJECT_BINARY_DIR}/fault_calls.inc'" sh ${all_headers} ${calling_headers}
  DEPENDS tests/faulty/calls.awk ${all_headers} ${calling_headers} VERBATIM)
target_sources(test_fault_calls PRIVATE ${PROJECT_BINARY_DIR}/fault_calls.inc)
target_include_directories(test_fault_calls PRIVATE ${PROJECT_BINARY_DIR})
foreach(call IN LISTS inner_calls outer_calls)
  target_link_options(test_fault_calls PRIVATE LINKER:--wrap=${call})
endforeach()
add_dependencies(test_fault_calls fault_layer)
set_property(TEST test_fault_calls PROPERTY RESOURCE_LOCK walk)

# The program once more, its calls bent: each of them can be made to fail (tests/faulty/faulty.c).
if(TARGET qemb_program AND NOT QEMB_SANITIZE)
  set(faulty_calls ${PROJECT_BINARY_DIR}/faulty_calls.inc)
  add_custom_command(OUTPUT ${faulty_calls}
    COMMAND sh -c "awk -f '${PROJECT_SOURCE_DIR}/tests/faulty/calls.awk' \"$@\" >'${faulty_calls}'" sh ${all_headers}
    DEPENDS tests/faulty/calls.awk ${all_headers} VERBATIM)
  add_executable(qemb_faulty tests/faulty/faulty.c ${faulty_calls} $<TARGET_OBJECTS:qemb_cli> $<TARGET_OBJECTS:qemb_dlrm>)
  set_target_properties(qemb_faulty PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(qemb_faulty PRIVATE ${PROJECT_BINARY_DIR} ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(qemb_faulty PRIVATE qemb_static qemb_flags qemb_dependencies qemb_clblast bench)
  file(STRINGS tests/faulty/faulty.c calls REGEX "^(CL|CREATE|SYSTEM)[(][a-z]")
  list(TRANSFORM calls REPLACE "^[A-Z]+[(]([A-Za-z_]+),.*$" "\\1")
  foreach(call IN LISTS outer_calls calls ITEMS fclose)
    target_link_options(qemb_faulty PRIVATE LINKER:--wrap=${call})
  endforeach()
  add_dependencies(test_program_calls qemb_faulty)
  add_dependencies(test_cli_errors qemb_faulty)
endif()

# The reference engine a second time, with double for float: gradients against finite differences.
qemb_sources(twin_sources src/base/*.c src/core/*.c src/reference/*.c tests/twin/*.c)
add_executable(twin ${twin_sources})
set_target_properties(twin PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
target_compile_options(twin PRIVATE -include ${PROJECT_SOURCE_DIR}/tests/twin/double.h -Wno-pedantic -Wno-float-conversion)
target_link_libraries(twin PRIVATE qemb_flags PkgConfig::CRITERION m)
qemb_add_test(twin twin -j1)

qemb_sources(replay_sources tests/replay*.c)
if(replay_sources)
  add_executable(qemb-replay ${replay_sources})
  target_include_directories(qemb-replay PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(qemb-replay PRIVATE qemb_static qemb_flags qemb_dependencies)
  set(cases ${PROJECT_SOURCE_DIR}/tests/cases)
  qemb_add_test(replay_reference qemb-replay --device reference ${cases})
  # Two runs meet both devices of PoCL and both kernel families; the nightly lane has the other two.
  set(replays pthread.cpu basic.gpu)
  if(DEFINED ENV{QEMB_NIGHTLY})
    list(APPEND replays pthread.gpu basic.cpu)
  endif()
  foreach(replay IN LISTS replays)
    string(REGEX MATCH "^[a-z]+" device ${replay})
    string(REGEX MATCH "[a-z]+$" family ${replay})
    set(environment "POCL_DEVICES=${device};QEMB_FAMILY=${family}")
    qemb_add_test(replay_pocl_${device}_${family} qemb-replay --device opencl ${cases})
  endforeach()
  if(QEMB_TEST_NATIVE) # training too, on both families; and with a square root that the probe must find wanting
    foreach(family cpu gpu)
      set(environment QEMB_FAMILY=${family})
      qemb_add_test(replay_pocl_${family}_trains qemb-replay --device opencl ${cases})
      list(APPEND environment QEMB_NATIVE_ROUGH=1)
      qemb_add_test(replay_pocl_${family}_rough qemb-replay --device opencl ${cases})
    endforeach()
  endif()
  set(environment "")
endif()

# A few seconds of the soak; tests/lanes/soak.sh runs it for minutes or hours.
add_executable(soak tests/soak.c)
set_target_properties(soak PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
target_include_directories(soak PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(soak PRIVATE qemb_static qemb_flags qemb_dependencies)
qemb_add_test(soak soak 4)

# Live PyTorch, where an interpreter has it: never required.
if(NOT QEMB_SANITIZE AND NOT QEMB_COVERAGE)
  foreach(python python3 /usr/bin/python3)
    if(NOT QEMB_TORCH_PYTHON)
      execute_process(COMMAND ${python} -c "import numpy, torch.ao.nn.qat" RESULT_VARIABLE no_torch OUTPUT_QUIET ERROR_QUIET)
      if(no_torch EQUAL 0)
        set(QEMB_TORCH_PYTHON ${python} CACHE STRING "a Python that has PyTorch and numpy")
      endif()
    endif()
  endforeach()
  if(QEMB_TORCH_PYTHON)
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/torch_reads)
    qemb_add_device_test(torch_reads ${QEMB_TORCH_PYTHON} ${PROJECT_SOURCE_DIR}/tests/torch_reads.py $<TARGET_FILE:qemb>
      $<TARGET_FILE:qemb_program> ${PROJECT_BINARY_DIR}/torch_reads)
    add_test(NAME differential COMMAND ${QEMB_TORCH_PYTHON} ${PROJECT_SOURCE_DIR}/tests/differential.py
      --library $<TARGET_FILE:qemb> --replay $<TARGET_FILE:qemb-replay>)
    set_tests_properties(differential PROPERTIES TIMEOUT 1500 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
    if(DEFINED ENV{QEMB_NIGHTLY})
      qemb_add_device_test(differential_pocl ${QEMB_TORCH_PYTHON} ${PROJECT_SOURCE_DIR}/tests/differential.py
        --library $<TARGET_FILE:qemb> --device opencl --count 500 --seed 2)
      set_tests_properties(differential_pocl PROPERTIES TIMEOUT 3600)
      set_property(TEST differential_pocl APPEND PROPERTY ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
    endif()
  endif()
endif()
# Programs of bench/examples: built as a user would, on the public headers alone, and run on both engines; what they print is kept.
include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
endif()
file(GLOB example_sources CONFIGURE_DEPENDS bench/examples/*.c bench/examples/*.cc)
foreach(source IN LISTS example_sources)
  get_filename_component(name ${source} NAME_WE)
  if(source MATCHES "\\.cc$" AND NOT CMAKE_CXX_COMPILER)
    continue()
  endif()
  add_executable(example_${name} ${source})
  set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
  target_compile_options(example_${name} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Werror)
  target_link_libraries(example_${name} PRIVATE qemb OpenCL::OpenCL)
  if(QEMB_SANITIZE)
    target_link_options(example_${name} PRIVATE -fsanitize=${QEMB_SANITIZE}) # the runtime comes with the program
  endif()
  qemb_add_device_test(example_${name} sh ${PROJECT_SOURCE_DIR}/tests/example.sh $<TARGET_FILE:example_${name}>
    ${PROJECT_SOURCE_DIR}/tests/examples/${name}.txt)
  # The shortest ones end without destroying what they made: that is no leak of the library's.
  set_property(TEST example_${name} APPEND PROPERTY ENVIRONMENT ASAN_OPTIONS=detect_leaks=0)
endforeach()

if(NOT QEMB_SANITIZE AND NOT QEMB_COVERAGE) # once is enough, and the instrumented builds show symbols of their own
  add_test(NAME symbols COMMAND sh ${PROJECT_SOURCE_DIR}/tests/symbols.sh $<TARGET_FILE:qemb>)
  qemb_add_device_test(install sh ${PROJECT_SOURCE_DIR}/tests/install.sh ${PROJECT_BINARY_DIR})
  qemb_add_device_test(documents sh ${PROJECT_SOURCE_DIR}/tests/documents.sh ${PROJECT_BINARY_DIR})
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
