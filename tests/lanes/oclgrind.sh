#!/bin/sh
# oclgrind.sh - cases on a simulated device that watches every load and store: data races and bad accesses in both families, and in the
# GPU family uninitialised values (it reports every select of vectors in the CPU family). Its exit status is always 0: its log must be empty.
# Programs are compiled without optimisation: its interpreter lacks an intrinsic that inlining leaves behind.
# The short form takes every ninth case.
# needs: oclgrind oclgrind
set -u
work=build/oclgrind
mkdir -p $work
every=9
[ "${QEMB_NIGHTLY:-}" ] && every=1
cases=$(ls tests/cases/*.safetensors | grep -v /bad_ | awk -v every=$every 'NR % every == 0')
# The simulator's library behind one function of the tests' own (tests/oclgrind_fill.c says why).
library=$(oclgrind sh -c 'echo ${LD_PRELOAD%%:*}')
gcc -O1 -fPIC -shared tests/oclgrind_fill.c -o $work/fill.so -Wl,--no-as-needed "$library" || exit 1
status=0
races=0
lines=0
ran=0
for family in cpu gpu; do
    watch="--data-races --check-api"
    [ $family = gpu ] && watch="$watch --uninitialized"
    : >$work/$family.log
    # shellcheck disable=SC2086
    QEMB_FAMILY=$family QEMB_OPENCL_LIBRARY=$PWD/$work/fill.so oclgrind $watch --build-options -cl-opt-disable --log $work/$family.log \
        env QEMB_SCOREBOARD= build/bin/qemb-replay --device oclgrind $cases >$work/$family.out 2>&1 || status=1
    tail -n 1 $work/$family.out | sed "s/^/   $family family: /"
    ran=$((ran + $(grep -c '^PASS' $work/$family.out)))
    races=$((races + $(grep -c 'data race' $work/$family.log)))
    lines=$((lines + $(grep -c . $work/$family.log)))
    [ -s $work/$family.log ] && { status=1; head -n 40 $work/$family.log; }
done
echo "   $ran cases, $lines lines in the log"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    word=$([ $status = 0 ] && echo ok || echo red)
    printf 'R15\t%s log lines in %s cases\t%s\tOclgrind, both families\n' "$lines" "$ran" "$word" >>"$QEMB_SCOREBOARD"
    printf 'R16\t%s races in %s cases\t%s\tOclgrind, both families\n' "$races" "$ran" "$word" >>"$QEMB_SCOREBOARD"
fi
exit $status
