#!/bin/sh
# planted.sh - a lane that finds nothing may see nothing: one bug is planted for each, in a copy of the kernels ($QEMB_KERNEL_PATH) or in
# the environment, and the lane's own tool must report it. Needs the folders that the lanes kernels and fuzz made; what is not there is built.
# needs: oclgrind oclgrind
# needs: clang clang
set -u
top=$(pwd)
work=$top/build/planted
mkdir -p "$work"
caught=0
planted=0
case_file=tests/cases/bag_sum_000.safetensors

# plant FILE PATTERN REPLACEMENT: a copy of the kernels with one line changed
plant() {
    rm -rf "$work/kernels"
    cp -R kernels_cl "$work/kernels"
    sed "s@$2@$3@" "kernels_cl/$1" >"$work/kernels/$1"
    if cmp -s "kernels_cl/$1" "$work/kernels/$1"; then
        echo "   NOT PLANTED: $1 has no $2"
        return 1
    fi
}
# caught NAME PATTERN FILE: whether the tool's output shows it
seen() {
    planted=$((planted + 1))
    if grep -qE "$2" "$3"; then
        caught=$((caught + 1))
        echo "   caught: $1"
    else
        echo "   NOT CAUGHT: $1"
        tail -n 3 "$3"
    fi
}

native() {
    QEMB_SCOREBOARD='' QEMB_KERNEL_PATH=$work/kernels QEMB_FAMILY=$1 QEMB_NATIVE_SOURCE=$top QEMB_NATIVE_CACHE=$work/native OCL_ICD_VENDORS=$top/build-native/native.icd \
        QEMB_NATIVE_FLAGS="-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all" \
        build-native/bin/qemb-replay --device opencl "$case_file" >"$work/native.log" 2>&1
}
mkdir -p "$work/native"
[ -e build-native/bin/qemb-replay ] || QEMB_LANE_ONLY=replay_pocl_basic QEMB_SCOREBOARD='' sh tests/lanes/kernels.sh >/dev/null
plant bag_forward_gpu_main.cl 'acc\[k\], out + c)' 'acc[k], out + c + 4096)' && native gpu
seen "native kernels: a store behind a buffer" 'AddressSanitizer|canary' "$work/native.log"
plant bag_forward_cpu_head.cl '(ulong)row < (ulong)t->rows ? row : 0' 'row + 0x7fffffffffffff00' && native cpu
seen "native kernels: an overflow of signed integers" 'runtime error' "$work/native.log"

plant bag_forward_cpu_group.cl 'int count = 0;' 'int count;'
QEMB_SCOREBOARD='' QEMB_KERNEL_PATH=$work/kernels QEMB_FAMILY=cpu QEMB_MSAN_CASES=$case_file sh tests/lanes/msan.sh >"$work/msan.log" 2>&1
seen "memory sanitizer: a variable without a value, CPU family" 'use-of-uninitialized-value' "$work/msan.log"

simulated() {
    : >"$work/oclgrind.log"
    QEMB_SCOREBOARD='' QEMB_KERNEL_PATH=$work/kernels QEMB_FAMILY=gpu QEMB_OPENCL_LIBRARY=$work/fill.so oclgrind "$1" --build-options -cl-opt-disable --max-errors 3 \
        --log "$work/oclgrind.log" build/bin/qemb-replay --device oclgrind "$case_file" >"$work/oclgrind.out" 2>&1
}
gcc -O1 -fPIC -shared tests/oclgrind_fill.c -o "$work/fill.so" -Wl,--no-as-needed "$(oclgrind sh -c 'echo ${LD_PRELOAD%%:*}')"
plant lanes_gpu.cl 'barrier(CLK_LOCAL_MEM_FENCE);' ';' && simulated --data-races
seen "Oclgrind: a barrier taken away" 'data race' "$work/oclgrind.log"
plant bag_forward_gpu_main.cl 'QV odd = (QV)(0.0f);' 'QV odd;' && simulated --uninitialized
seen "Oclgrind: a variable without a value" 'ninitialized' "$work/oclgrind.log"

plant shared/fake_quant.h 'Q_ROUND_CPU(t) : q_round(t)' 'Q_ROUND_CPU(t + (QV)(0.001f)) : q_round(t)'
QEMB_SCOREBOARD='' QEMB_KERNEL_PATH=$work/kernels OCL_ICD_VENDORS=${QEMB_TEST_ICD:-/etc/OpenCL/vendors/pocl.icd} POCL_CACHE_DIR=$work \
    build/bin/qemb-replay --device opencl $case_file tests/cases/bag_sum_00[1-9].safetensors >"$work/replay.log" 2>&1
seen "cases: a code that rounds a thousandth early" '^FAIL' "$work/replay.log"

QEMB_SOAK_LEAK=1 QEMB_SCOREBOARD='' build/tests/soak 1 reference >"$work/soak.log" 2>&1
seen "soak: 100 bytes leaked a round" 'NOT FLAT' "$work/soak.log"
printf 'R9\ta figure\tred\t\n' >"$work/board.tsv"
sh tests/scoreboard.sh "$work/board.tsv" >"$work/board.log" 2>&1 && echo passed >"$work/board.log"
seen "scoreboard: a red row and rows without figures" '^scoreboard: 0 ok, [1-9]' "$work/board.log"
if [ -x build-fuzz/fuzz/fuzz_kernels_cpu ]; then
    QEMB_SCOREBOARD='' QEMB_KERNEL_PATH=$work/kernels QEMB_NATIVE_SOURCE=$top QEMB_NATIVE_CACHE=$work/native OCL_ICD_VENDORS=$top/build-fuzz/native.icd QEMB_NATIVE_FLAGS= \
        build-fuzz/fuzz/fuzz_kernels_cpu -runs=200 -artifact_prefix="$work/" tests/fuzz/corpus/kernels_cpu >"$work/fuzz.log" 2>&1
    seen "fuzz: kernels of another arithmetic than the reference" 'broken promise' "$work/fuzz.log"
fi
echo "   $caught of $planted planted bugs caught"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    printf 'R25\t%d of %d planted bugs caught\t%s\tone a lane; mutants of the library are row R19\n' $caught $planted \
        "$([ $caught = $planted ] && echo ok || echo red)" >>"$QEMB_SCOREBOARD"
fi
[ $caught = $planted ]
