#!/bin/sh
# oclgrind.sh - cases on a simulated device that watches every load and store: data races and bad accesses in both families, and in the
# GPU family uninitialised values (it reports every select of vectors in the CPU family). Its exit status is always 0: its log must be empty.
# Programs are compiled without optimisation: its interpreter lacks an intrinsic that inlining leaves behind.
# The short form takes every ninth case in the CPU family. In the GPU family a case with work-groups takes the interpreter minutes: there each runs by
# itself, the six smallest for 30 s at most (all of them, ten minutes each, at night); what is given up is counted, and what it ran is watched.
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
limit=30
few=6
[ "${QEMB_NIGHTLY:-}" ] && limit=600 few=1000
given_up=0
# simulate FAMILY SECONDS CASES...: 124 when the time was up
simulate() {
    family=$1
    seconds=$2
    shift 2
    watch="--data-races --check-api"
    [ "$family" = gpu ] && watch="$watch --uninitialized"
    # shellcheck disable=SC2086
    QEMB_SCOREBOARD='' QEMB_FAMILY=$family QEMB_OPENCL_LIBRARY=$PWD/$work/fill.so timeout "$seconds" oclgrind $watch --build-options -cl-opt-disable \
        --log $work/one.log build/bin/qemb-replay --device oclgrind "$@" >>$work/$family.out 2>&1
    code=$?
    cat $work/one.log >>$work/$family.log
    return $code
}
rm -f $work/*.out $work/*.log
# shellcheck disable=SC2086
simulate cpu 3600 $cases || status=1
for file in $(ls -Sr tests/cases/*.safetensors | grep -v /bad_ | head -n $few); do
    simulate gpu $limit "$file"
    case $? in
    0) ;;
    124) given_up=$((given_up + 1)) ;;
    *) status=1 ;;
    esac
done
for family in cpu gpu; do
    ran=$((ran + $(grep -c '^PASS' $work/$family.out)))
    races=$((races + $(grep -c 'data race' $work/$family.log)))
    lines=$((lines + $(grep -c . $work/$family.log)))
    grep '^FAIL' $work/$family.out
    [ -s $work/$family.log ] && { status=1; head -n 40 $work/$family.log; }
done
echo "   $ran cases, $given_up given up, $lines lines in the log"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    word=$([ $status = 0 ] && echo ok || echo red)
    printf 'R15\t%s log lines in %s cases, %s given up\t%s\tOclgrind, both families\n' "$lines" "$ran" "$given_up" "$word" >>"$QEMB_SCOREBOARD"
    printf 'R16\t%s races in %s cases\t%s\tOclgrind, both families\n' "$races" "$ran" "$word" >>"$QEMB_SCOREBOARD"
fi
exit $status
