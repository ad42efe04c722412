# tests.cmake - one Criterion program for every tests/test_*.c, the replay of tests/cases, and the rules of the house.
#
# Every test runs on the PoCL driver alone and with a kernel cache of its own: PoCL's cache is not safe between processes.

function(qemb_test_environment name)
  set(cache ${PROJECT_BINARY_DIR}/pocl-cache/${name})
  file(MAKE_DIRECTORY ${cache})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600
    ENVIRONMENT "OCL_ICD_VENDORS=${QEMB_TEST_ICD};POCL_CACHE_DIR=${cache};${ARGN}")
endfunction()

# Helpers that several test programs share are tests/support*.c.
qemb_sources(support_sources tests/support*.c)
qemb_sources(test_sources tests/test_*.c)
foreach(source IN LISTS test_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source} ${support_sources})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE qemb_static qemb_flags qemb_dependencies PkgConfig::CRITERION)
  add_test(NAME ${name} COMMAND ${name} -j1 WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  qemb_test_environment(${name})
endforeach()

qemb_sources(replay_sources tests/replay*.c)
if(replay_sources)
  add_executable(qemb-replay ${replay_sources} ${support_sources})
  target_include_directories(qemb-replay PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(qemb-replay PRIVATE qemb_static qemb_flags qemb_dependencies)
  set(cases ${PROJECT_SOURCE_DIR}/tests/cases)
  add_test(NAME replay_reference COMMAND qemb-replay --device reference --only forward ${cases})
  qemb_test_environment(replay_reference)
  add_test(NAME replay_pocl_pthread COMMAND qemb-replay --device opencl --only forward ${cases})
  qemb_test_environment(replay_pocl_pthread POCL_DEVICES=pthread)
  add_test(NAME replay_pocl_basic COMMAND qemb-replay --device opencl --only forward ${cases})
  qemb_test_environment(replay_pocl_basic POCL_DEVICES=basic)
endif()

add_test(NAME house COMMAND sh ${PROJECT_SOURCE_DIR}/tests/house.sh)
add_test(NAME house_bites COMMAND sh ${PROJECT_SOURCE_DIR}/tests/house.sh --self-test)
