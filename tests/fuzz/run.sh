#!/bin/sh
# run.sh - the fuzz targets under libFuzzer with clang's sanitizers.     sh tests/fuzz/run.sh [SECONDS a target] [TARGET...]
# Builds in build-fuzz; new inputs are kept in build-fuzz/corpus, what crashes in build-fuzz/crashes. QEMB_FUZZ_RUNS=N: N executions a
# target instead of seconds. A crash gives exit status 1. The kernels' targets run on the tests' own device (tests/native).
set -u
cd "$(dirname "$0")/../.." || exit 2
top=$(pwd)
seconds=${1:-60}
[ $# -gt 0 ] && shift
build=build-fuzz
flags="-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all"
mkdir -p $build/crashes
[ -e $build/CMakeCache.txt ] || generator="-G Ninja"
CC=clang cmake -S . -B $build ${generator:-} -DCMAKE_BUILD_TYPE=Debug -DQEMB_SANITIZE=address,undefined,fuzzer-no-link -DQEMB_FUZZ=ON \
    -DQEMB_TEST_NATIVE=ON "-DQEMB_NATIVE_FLAGS=$flags" >$build/configure.log 2>&1 || { cat $build/configure.log; exit 1; }
all=$(ls tests/fuzz/fuzz_*.c | sed 's/.*fuzz_\(.*\)\.c/\1/')
# shellcheck disable=SC2046
cmake --build $build -j "$(nproc)" --target qemb_native $(echo "$all" | sed 's/^/fuzz_/') >$build/build.log 2>&1 || { cat $build/build.log; exit 1; }
[ $# -gt 0 ] || set -- $all
QEMB_NATIVE_SOURCE=$top QEMB_NATIVE_CACHE=$top/$build/native QEMB_NATIVE_FLAGS=$flags OCL_ICD_VENDORS=$top/$build/native.icd
QEMB_DEVICE=reference
export QEMB_NATIVE_SOURCE QEMB_NATIVE_CACHE QEMB_NATIVE_FLAGS OCL_ICD_VENDORS QEMB_DEVICE
limit="-max_total_time=$seconds"
[ "${QEMB_FUZZ_RUNS:-}" ] && limit="-runs=$QEMB_FUZZ_RUNS"
one() {
    mkdir -p "$build/corpus/$1" "tests/fuzz/corpus/$1"
    quiet=0
    [ "$1" = options ] && quiet=2
    # what the kernels' targets compile is compiled before the clock runs
    "$build/fuzz/fuzz_$1" -runs=0 -close_fd_mask=$quiet -timeout=600 -artifact_prefix="$build/crashes/$1-" "tests/fuzz/corpus/$1" >"$build/$1.log" 2>&1 || return 1
    "$build/fuzz/fuzz_$1" $limit -close_fd_mask=$quiet -max_len=4096 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/crashes/$1-" "$build/corpus/$1" "tests/fuzz/corpus/$1" >"$build/$1.log" 2>&1
}
# As many at a time as there are cores.
at_once=$(nproc)
running=0
for target in "$@"; do
    (one "$target"; echo $? >"$build/$target.status") &
    running=$((running + 1))
    [ $running -ge "$at_once" ] && { wait; running=0; }
done
wait
crashes=0
total=0
least=
for target in "$@"; do
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$target.log")
    runs=${runs:-0}
    edges=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$build/$target.log" | tail -n 1)
    printf '   %-16s %10d executions, %6s edges, %s inputs\n' "$target" "$runs" "${edges:-0}" "$(ls "$build/corpus/$target" | wc -l)"
    total=$((total + runs))
    [ -z "$least" ] || [ "$runs" -lt "$least" ] && least=$runs
    if [ "$(cat "$build/$target.status")" != 0 ]; then
        crashes=$((crashes + 1))
        tail -n 30 "$build/$target.log"
    fi
done
echo "   $# targets, $total executions, at least $least each, $crashes crashed"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    printf 'R9\t%d targets, %d executions, at least %d each, %d crashed\t%s\tlibFuzzer, ASan, UBSan\n' $# "$total" "$least" "$crashes" \
        "$([ $crashes = 0 ] && [ $# -ge 14 ] && echo ok || echo red)" >>"$QEMB_SCOREBOARD"
fi
[ $crashes = 0 ]
