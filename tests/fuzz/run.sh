#!/bin/sh
# run.sh - the fuzz targets under libFuzzer and the sanitizers.     sh tests/fuzz/run.sh [SECONDS a target] [TARGET...]
# Needs clang and a configured build folder (for version.h). New inputs are kept in BUILD/fuzz, a crash ends the run.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-60}
[ $# -gt 0 ] && shift
build=${QEMB_BUILD:-$top/build}
work=$build/fuzz
[ $# -gt 0 ] || set -- safetensors npy clicks
for target in "$@"; do
    mkdir -p "$work/$target"
    clang -std=c11 -O1 -g -D_GNU_SOURCE= -ffp-contract=off -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -I"$top/include" -I"$build/include" -I"$top/src" -Dfuzz_"$target"=LLVMFuzzerTestOneInput \
        "$top/tests/fuzz/fuzz_$target.c" "$top"/src/io/*.c "$top"/src/base/*.c -lz -lm -lpthread -o "$work/fuzz_$target"
    echo "fuzz: $target for $seconds s"
    (cd "$work" && "./fuzz_$target" -max_total_time="$seconds" -max_len=8192 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
        "$target" "$top/tests/fuzz/corpus/$target") 2>&1 | tail -8
done
