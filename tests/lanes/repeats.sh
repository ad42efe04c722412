#!/bin/sh
# repeats.sh - a test that fails once in a while is a defect: those with faults, files, threads and devices three times in a row,
# QEMB_NIGHTLY=1: all tests, 20 times. Needs the release build and the kernels that its tests compiled.
set -u
times=3
only='test_(context|threads|fault|fuzz|loader|io_|edges|bad_calls)|replay_reference|soak'
if [ "${QEMB_NIGHTLY:-}" ]; then
    times=20
    only=.
fi
[ -e build/CTestTestfile.cmake ] || { echo "repeats: build/ is missing; sh tests/run.sh --build-only"; exit 1; }
(ulimit -n 1024; cd build && QEMB_SCOREBOARD='' QEMB_NIGHTLY='' ctest -j "$(nproc)" --repeat until-fail:$times -R "$only" --no-tests=error \
    --output-on-failure) >build/repeats.log 2>&1
status=$?
tests=$(sed -n 's/.* tests failed out of \([0-9]*\)/\1/p' build/repeats.log)
flakes=$(grep -c '[*][*][*]' build/repeats.log)
[ $status = 0 ] || cat build/repeats.log
echo "   ${tests:-0} tests, $times times each, $flakes failed"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    printf 'R25\t%s flakes in %s repeats of %s tests\t%s\tctest --repeat until-fail\n' "$flakes" $times "${tests:-0}" \
        "$([ $status = 0 ] && echo ok || echo red)" >>"$QEMB_SCOREBOARD"
fi
exit $status
