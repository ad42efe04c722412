#!/bin/sh
# msan.sh - the memory sanitizer over library, driver and kernels: the recorded cases on kernels compiled for this processor
# (tests/native), both families, and on the reference engine. A value that was never written and decides anything stops the run.
# Criterion, and the OpenCL loader, which only passes calls on, are not instrumented: so the cases run, not the tests.
# The short form takes every third case for the OpenCL families. $QEMB_KERNEL_PATH and $QEMB_MSAN_CASES are for tests/lanes/planted.sh.
# needs: clang clang
set -u
build=build-msan
mkdir -p $build/native
[ -e $build/CMakeCache.txt ] || generator="-G Ninja"
CC=clang cmake -S . -B $build ${generator:-} -DCMAKE_BUILD_TYPE=Debug -DQEMB_SANITIZE=memory -DQEMB_TEST_NATIVE=ON >$build/configure.log 2>&1 ||
    { cat $build/configure.log; exit 1; }
cmake --build $build -j "$(nproc)" --target qemb-replay qemb_native >$build/build.log 2>&1 || { cat $build/build.log; exit 1; }
every=3
[ "${QEMB_NIGHTLY:-}" ] && every=1
cases=${QEMB_MSAN_CASES:-$(ls tests/cases/*.safetensors | awk -v every=$every 'NR % every == 0')}
status=0
: >$build/msan.log
for run in reference cpu gpu; do
    device=opencl
    [ $run = reference ] && device=reference
    # shellcheck disable=SC2086
    QEMB_SCOREBOARD='' QEMB_FAMILY=$run QEMB_NATIVE_SOURCE=$PWD QEMB_NATIVE_CACHE=$PWD/$build/native OCL_ICD_VENDORS=$PWD/$build/native.icd \
        QEMB_NATIVE_FLAGS="-fsanitize=memory -fno-sanitize-recover=all" \
        $build/bin/qemb-replay --device $device $cases >$build/$run.out 2>&1 || status=1
    echo "   $run: $(tail -n 1 $build/$run.out)"
    cat $build/$run.out >>$build/msan.log
done
findings=$(grep -c 'WARNING: MemorySanitizer' $build/msan.log)
passed=$(grep -c '^PASS' $build/msan.log)
[ $status = 0 ] || grep -A 12 -E 'WARNING: MemorySanitizer|^FAIL' $build/msan.log | head -n 60
echo "   $passed cases, $findings findings"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    printf 'R17\t%s findings in %s cases\t%s\tMSan, native kernels of both families and the reference engine\n' "$findings" "$passed" \
        "$([ $status = 0 ] && echo ok || echo red)" >>"$QEMB_SCOREBOARD"
fi
exit $status
