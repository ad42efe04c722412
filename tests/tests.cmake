# tests.cmake - one Criterion program for every tests/test_*.c, the replay of tests/cases, and the rules of the house.
#
# Every test runs on the PoCL driver alone and with a kernel cache of its own: PoCL's cache is not safe between processes.

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
    ENVIRONMENT "OCL_ICD_VENDORS=${QEMB_TEST_ICD};POCL_CACHE_DIR=${cache};${environment}")
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
  qemb_add_test(${name} ${name} -j1)
endforeach()

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

if(NOT QEMB_SANITIZE AND NOT QEMB_COVERAGE) # once is enough, and the instrumented builds show symbols of their own
  add_test(NAME symbols COMMAND sh ${PROJECT_SOURCE_DIR}/tests/symbols.sh $<TARGET_FILE:qemb>)
  add_test(NAME house COMMAND sh ${PROJECT_SOURCE_DIR}/tests/house.sh)
  add_test(NAME house_bites COMMAND sh ${PROJECT_SOURCE_DIR}/tests/house.sh --self-test)
endif()
