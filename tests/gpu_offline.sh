#!/bin/sh
# gpu_offline.sh - what compilers make of the GPU family, without a GPU.      sh tests/gpu_offline.sh
#
# Each variant goes through clang and libclc to PTX (then ptxas for sm_80 and sm_90: registers, stack, spills) and to AMDGCN (gfx90a:
# VGPRs, spills). A stack frame, a spill, or a vector variant that does not load rows with 128 bits at once fails the report.
# Needs clang-15 and libclc-15 (Debian: clang-15 libclc-15 libclc-15-dev); ptxas where CUDA is installed.
set -u
cd "$(dirname "$0")/../kernels_cl" || exit 2
clang=${CLANG:-clang-15}
library=/usr/lib/clc
command -v "$clang" >/dev/null 2>&1 || { echo "gpu_offline.sh: $clang is missing; install clang-15 libclc-15 libclc-15-dev" >&2; exit 2; }
[ -e $library/nvptx64--nvidiacl.bc ] || { echo "gpu_offline.sh: $library is missing; install libclc-15 libclc-15-dev" >&2; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0
shared="shared/types.h shared/math.h shared/fake_quant.h shared/batch.h"
common="-DGROUP=128 -DINDEX=int -DOFFSET=int -DPREFETCH=0"

# compile TARGET-FLAGS OUTPUT KNOBS...: to assembly
compile() {
    flags=$1 output=$2
    shift 2
    # shellcheck disable=SC2086
    "$clang" -x cl -cl-std=CL1.2 -D__OPENCL_VERSION__=120 -Xclang -finclude-default-header $flags -O2 -cl-fp32-correctly-rounded-divide-sqrt $common "$@" \
        -S "$work/kernel.cl" -o "$output" 2>"$work/log" || { cat "$work/log"; return 1; }
}

# report NAME WANT-VECTOR PIECES KNOBS...
report() {
    name=$1 vector=$2 pieces=$3
    shift 3
    # shellcheck disable=SC2086
    { echo "#pragma OPENCL FP_CONTRACT OFF"; cat $shared $pieces; } >"$work/kernel.cl"
    note=
    if compile "-target nvptx64--nvidiacl -Xclang -mlink-builtin-bitcode -Xclang $library/nvptx64--nvidiacl.bc -Xclang -target-cpu -Xclang sm_80 -Xclang -target-feature -Xclang +ptx70" \
        "$work/kernel.ptx" -DREDUCE=2 "$@"; then
        loads=$(grep -cE 'ld\.global(\.nc)?\.v4\.f32' "$work/kernel.ptx")
        [ "$vector" = no ] || [ "$loads" -gt 0 ] || note="$note no-128-bit-loads"
        if command -v ptxas >/dev/null 2>&1; then
            for arch in sm_80 sm_90; do
                ptxas -v -arch=$arch "$work/kernel.ptx" -o "$work/kernel.cubin" >"$work/ptxas" 2>&1 || note="$note ptxas-$arch-refused"
                registers=$(sed -n 's/.*Used \([0-9]*\) registers.*/\1/p' "$work/ptxas" | sort -n | tail -1)
                grep -q ' 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads' "$work/ptxas" || note="$note $arch-stack-or-spills"
                eval "$arch=\$registers"
            done
        else
            sm_80=- sm_90=-
        fi
    else
        note="$note ptx-does-not-build" loads=- sm_80=- sm_90=-
    fi
    if compile "-target amdgcn--amdhsa -nogpulib -mcpu=gfx90a -Xclang -mlink-builtin-bitcode -Xclang $library/amdgcn--amdhsa.bc" "$work/kernel.gcn" -DREDUCE=0 "$@"; then
        vgprs=$(sed -n 's/^; NumVgprs: //p' "$work/kernel.gcn" | sort -n | tail -1)
        grep -qE '^; (VGPRSpill|SGPRSpill): [1-9]' "$work/kernel.gcn" && note="$note gfx90a-spills"
    else
        note="$note amdgcn-does-not-build" vgprs=-
    fi
    [ -z "$note" ] || failed=$((failed + 1))
    printf '%-46s %6s %6s %9s %10s %s\n' "$name" "$sm_80" "$sm_90" "$loads" "$vgprs" "${note:-ok}"
}

printf '%-46s %6s %6s %9s %10s %s\n' variant sm_80 sm_90 v4-loads gfx90a-VGPR verdict
forward="bag_forward_uses.cl lanes_gpu.cl bag_forward_gpu.cl bag_forward_gpu_main.cl"
for uses in 1 2 4 18; do
    for shape in "4 4 1 4" "8 4 1 4" "16 4 1 4" "32 4 1 4" "32 4 2 4" "32 4 4 2" "32 1 3 2"; do
        # shellcheck disable=SC2086
        set -- $shape
        vector=yes qv=float4
        [ "$2" = 4 ] || vector=no qv=float
        report "bag_forward sum uses=$uses lanes=$1 vec=$2 chunks=$3" $vector "$forward" -DQV=$qv -DLANES="$1" -DVEC="$2" -DCHUNKS="$3" -DUNROLL="$4" \
            -DMODE=1 -DWEIGHTED=0 -DUSES=$uses -DSLABS=1
    done
done
report "bag_forward max uses=18 lanes=32 slabs=8" yes "$forward" -DQV=float4 -DLANES=32 -DVEC=4 -DCHUNKS=1 -DUNROLL=4 -DMODE=2 -DWEIGHTED=0 -DUSES=18 -DSLABS=8
report "bag_forward weighted uses=18 wide" yes "$forward" -DQV=float4 -DLANES=32 -DVEC=4 -DCHUNKS=0 -DUNROLL=1 -DMODE=1 -DWEIGHTED=1 -DUSES=18 -DSLABS=1
report "row_observe state" no "lanes_gpu.cl row_observe_gpu.cl" -DQV=float -DLANES=32 -DSTATE=1 -DSLABS=1
echo
[ $failed = 0 ] && echo "gpu_offline: every variant is clean" || echo "gpu_offline: $failed variants are not"
[ $failed = 0 ]
