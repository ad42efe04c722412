#!/bin/sh
# gpu_offline.sh - what compilers make of the GPU family, without a GPU.      sh tests/gpu_offline.sh [PART OF A NAME]
#                                                                              sh tests/gpu_offline.sh --self-test: damage is found
#
# Every GPU line of src/opencl/variants.inc, with its usual knobs, goes through clang and libclc to PTX (then ptxas for sm_80 and sm_90:
# registers, stack, spills) and, where it holds no PTX of its own, to AMDGCN (gfx90a: VGPRs, spills). A spill, a stack frame, or a variant
# of 4 columns a load whose rows are not loaded with 128 bits at once fails the report. A line of a stem that the report does not know does too.
# Stack   kernels that sum along a row (bag_backward, row_update, forwards with max_norm) keep the partial sums of its tree in a
#         private array of 24 floats: so much is expected there, and nothing beyond it.
# Needs clang-15 and libclc-15 (Debian: clang-15 libclc-15 libclc-15-dev); ptxas where CUDA is installed.
set -u
cd "$(dirname "$0")/../kernels_cl" || exit 2
only=${1:-}
clang=${CLANG:-clang-15}
library=/usr/lib/clc
tree_stack=96 # bytes: 24 floats
command -v "$clang" >/dev/null 2>&1 || { echo "gpu_offline.sh: $clang is missing; install clang-15 libclc-15 libclc-15-dev" >&2; exit 2; }
[ -e $library/nvptx64--nvidiacl.bc ] || { echo "gpu_offline.sh: $library is missing; install libclc-15 libclc-15-dev" >&2; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# plant WORD NAME FILE EDIT: with the edit in a copy of the tree, the report on lines of this name must fail and say the word.
plant() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree/src/opencl" "$work/tree/tests"
    cp -R ../kernels_cl "$work/tree/kernels_cl"
    cp ../src/opencl/variants.inc ../src/opencl/program.c "$work/tree/src/opencl"
    cp ../tests/gpu_offline.sh "$work/tree/tests"
    sed -i "$4" "$work/tree/$3"
    cmp -s "../$3" "$work/tree/$3" && echo "MISSED   the edit of $3 changes nothing" && return 1
    if sh "$work/tree/tests/gpu_offline.sh" "$2" >"$work/said"; then
        echo "MISSED   $1 in $3"
        return 1
    fi
    grep -q -- "$1" "$work/said" || { echo "MISSED   $1 in $3; it says:"; cat "$work/said"; return 1; }
    echo "found    $1 in $3"
}
if [ "$only" = --self-test ]; then
    missed=0
    plant spills "row_observe local" tests/gpu_offline.sh 's/ptxas -v/ptxas --maxrregcount=16 -v/' || missed=1
    plant stack "row_observe local" kernels_cl/row_observe_gpu.cl \
        '0,/^__kernel/s|^__kernel|__kernel void planted(__global float *x) { float s[64]; for (int i = 0; i < 64; i++) s[i] = x[i]; x[0] = s[(int)x[64]]; }\n&|' || missed=1
    plant no-128-bit-loads "row_observe local" src/opencl/variants.inc '/ROW_OBSERVE, GPU, "local"/s/FIXED_REDUCE(0)/& FIXED_VECTOR(4)/' || missed=1
    plant does-not-build "row_observe local" kernels_cl/row_observe_gpu.cl '$a this is no C' || missed=1
    plant "no report for this stem" "row_bake" src/opencl/variants.inc 's/^VARIANT(ROW_OBSERVE, GPU, "local"/VARIANT(ROW_BAKE, GPU, "local"/' || missed=1
    exit $missed
fi
PATH=$PATH:/usr/local/cuda/bin
failed=0 reported=0
shared=$(awk '/shared_files\[\] =/ { on = 1 } on { while (match($0, /"[^"]*"/)) { print substr($0, RSTART + 1, RLENGTH - 2); $0 = substr($0, RSTART + RLENGTH) } }
    on && /;/ { exit }' ../src/opencl/program.c)
ptx="-target nvptx64--nvidiacl -Xclang -mlink-builtin-bitcode -Xclang $library/nvptx64--nvidiacl.bc -Xclang -target-cpu -Xclang sm_80 -Xclang -target-feature -Xclang +ptx70"
gcn="-target amdgcn--amdhsa -nogpulib -mcpu=gfx90a -Xclang -mlink-builtin-bitcode -Xclang $library/amdgcn--amdhsa.bc"

# compile FLAGS OUTPUT KNOBS...: to assembly
compile() {
    flags=$1 output=$2
    shift 2
    # shellcheck disable=SC2086
    "$clang" -x cl -cl-std=CL1.2 -D__OPENCL_VERSION__=120 -Xclang -finclude-default-header $flags -O2 -cl-fp32-correctly-rounded-divide-sqrt \
        -DPREFETCH=0 "$@" -S "$work/kernel.cl" -o "$output" 2>"$work/log" || { cat "$work/log"; return 1; }
}

# assemble ARCH: notes stack and spills of all kernels of the program, prints the most registers
assemble() {
    ptxas -v -arch="$1" "$work/kernel.ptx" -o "$work/kernel.cubin" >"$work/ptxas" 2>&1 || { note="$note ptxas-$1-refused"; return; }
    frame=$(sed -n 's/.* \([0-9]*\) bytes stack frame.*/\1/p' "$work/ptxas" | sort -n | tail -1)
    grep -E '[1-9][0-9]* bytes spill (stores|loads)' "$work/ptxas" >/dev/null && note="$note $1-spills"
    [ "${frame:-0}" -le "$stack" ] || note="$note $1-stack-$frame"
    registers=$(sed -n 's/.*Used \([0-9]*\) registers.*/\1/p' "$work/ptxas" | sort -n | tail -1)
}

# report CASE PIECES KNOBS...: of the line that $stem, $name and its knobs stand for
report() {
    case=$1 pieces=$2
    shift 2
    # shellcheck disable=SC2086
    { echo "#pragma OPENCL FP_CONTRACT OFF"; cat $shared $pieces; } >"$work/kernel.cl"
    note= sm_80=- sm_90=- loads=- vgprs=-
    if compile "$ptx" "$work/kernel.ptx" "$@"; then
        loads=$(grep -cE 'ld\.global(\.nc)?\.v4\.(f32|b32|u32)' "$work/kernel.ptx")
        [ "$VECTOR" != 4 ] || [ "$loads" -gt 0 ] || note="$note no-128-bit-loads"
        if command -v ptxas >/dev/null 2>&1; then
            for arch in sm_80 sm_90; do
                registers=-
                assemble $arch
                eval "$arch=\$registers"
            done
        fi
    else
        note="$note ptx-does-not-build"
    fi
    if [ "$REDUCE" = 0 ]; then
        if compile "$gcn" "$work/kernel.gcn" "$@"; then
            vgprs=$(sed -n 's/^; NumVgprs: //p' "$work/kernel.gcn" | sort -n | tail -1)
            [ "$stack" = 0 ] && grep -qE '^; (VGPRSpill|SGPRSpill|ScratchSize): [1-9]' "$work/kernel.gcn" && note="$note gfx90a-spills-or-stack"
        else
            note="$note amdgcn-does-not-build"
        fi
    fi
    reported=$((reported + 1))
    [ -z "$note" ] || failed=$((failed + 1))
    printf '%-62s %6s %6s %9s %10s %s\n' "$stem $name $case" "$sm_80" "$sm_90" "$loads" "$vgprs" "${note:- ok}"
}

# The lanes a row of $1 columns gets (src/opencl/bag_forward.c): $LANES at most, more when a lane would hold over 8 chunks.
shape() {
    lanes=1
    while [ $((lanes * VECTOR)) -lt "$1" ] && { [ $lanes -lt "$LANES" ] || { [ $lanes -lt 32 ] && [ "$1" -gt $((8 * lanes * VECTOR)) ]; }; }; do
        lanes=$((lanes * 2))
    done
    chunks=$((($1 + lanes * VECTOR - 1) / (lanes * VECTOR)))
    unroll=$((UNROLL > 0 ? UNROLL : 1))
    if [ "$WIDE" = 1 ]; then
        chunks=0
    elif [ $chunks -gt 2 ] && [ $unroll -gt 2 ]; then
        unroll=2
    fi
}

# What a line compiles to for modules of several kinds: the options of src/opencl/<stem>.c. USES: 1 float, 2 torch_cpu, 18 with kept state, 50 and max_norm.
of_line() {
    index="-DINDEX=int -DOFFSET=int"
    gradient="row_sort_head.cl shared/row_kinds.h shared/optimizer.h bag_backward_head.cl"
    stack=0
    case $stem in
    bag_forward)
        pieces="bag_forward_uses.cl lanes_gpu.cl bag_forward_gpu.cl bag_forward_gpu_main.cl"
        qv=float
        [ "$VECTOR" = 4 ] && qv=float4
        for columns in 16 128 512; do
            shape $columns
            for kind in "1 1 0 1" "1 2 0 1" "1 18 0 1" "2 18 0 1" "1 18 1 8" "1 50 0 1"; do
                # shellcheck disable=SC2086
                set -- $kind
                [ $columns = 128 ] || [ "$2 $4" = "18 1" ] || continue
                stack=$(($2 & 32 ? tree_stack : 0))
                report "D=$columns mode=$1 uses=$2 weighted=$3 slabs=$4" "$pieces" -DQV=$qv -DLANES=$lanes -DVEC="$VECTOR" -DCHUNKS=$chunks \
                    -DUNROLL=$unroll -DGROUP="$LOCAL" -DREDUCE="$REDUCE" -DMODE="$1" -DUSES="$2" -DWEIGHTED="$3" -DSLABS="$4" $index
            done
        done ;;
    row_sort)
        for wide in 0 1; do
            report "wide=$wide" "row_sort_head.cl row_sort_gpu.cl row_sort_gpu_runs.cl" -DQV=float -DSLABS=1 $index -DWIDE=$wide -DMAP=0 \
                -DGROUP="$LOCAL" -DITEMS=$((wide ? 5 : 7)) -DDIGIT_BITS="$DIGIT" -DCOUNT_BLOCK=16
        done ;;
    bag_backward)
        stack=$tree_stack
        for mode in 0 1 2; do
            report "mode=$mode" "$gradient bag_backward_gpu.cl" -DQV=float -DSLABS=1 $index -DWIDE=0 -DMAP=0 -DMODE=$mode -DWEIGHTED=0 -DFREQ=0 \
                -DFAST=0 -DLANES="$LANES" -DCHUNK=1024
        done ;;
    row_update)
        stack=$tree_stack
        kinds=$(awk '/row_update.kind/ { on = 1 } on && NF == 0 { exit } on && $1 == "#define" { print $2 }' shared/types.h)
        for kind in $kinds; do
            report "kind=$kind" "$gradient row_update_gpu.cl" -DQV=float -DSLABS=1 $index -DWIDE=0 -DMAP=0 -DMODE=1 -DWEIGHTED=0 -DFREQ=0 \
                -DLANES="$LANES" -DKIND=$kind -DMOMENTUM=1 -DDENSE=0 -DFAST=0
        done ;;
    row_observe)
        for form in "0 0" "1 0" "1 1"; do
            # shellcheck disable=SC2086
            set -- $form
            report "state=$1 values=$2" "lanes_gpu.cl row_range.cl row_observe_head.cl row_observe_gpu.cl" -DQV=float -DSLABS=1 -DSTATE="$1" -DVALUES="$2" -DLANES="$LANES" \
                -DGROUP="$LOCAL" -DREDUCE="$REDUCE" $index
        done ;;
    row_pack)
        for bits in 8 4 2; do
            report "bits=$bits" "lanes_gpu.cl row_range.cl row_pack_head.cl row_pack_gpu.cl" -DQV=float -DSLABS=1 -DBITS=$bits -DMETHOD=Q_PACK_MINMAX -DSTATE=0 -DLANES="$LANES" \
                -DGROUP="$LOCAL" -DREDUCE="$REDUCE" $index
        done ;;
    packed_forward)
        for form in "1 0 0 0 0 1" "0 0 0 0 1 1" "2 0 1 1 0 1" "1 1 0 0 0 8"; do
            # shellcheck disable=SC2086
            set -- $form
            stack=$(($3 ? tree_stack : 0))
            report "mode=$1 weighted=$2 norm=$3 mapped=$4 out=$5 slabs=$6" packed_forward_gpu.cl -DQV=float -DMODE="$1" -DWEIGHTED="$2" -DNORM="$3" \
                -DMAPPED="$4" -DOUT="$5" -DSLABS="$6" -DLANES="$LANES" $index
        done ;;
    *)
        failed=$((failed + 1))
        printf '%-62s %s\n' "$stem $name" "no report for this stem" ;;
    esac
}

# The GPU lines: stem, name, and the usual value of each knob as shell assignments.
awk '/^VARIANT\([A-Z_]+, GPU,/ {
        line = $0
        sub(/^VARIANT\(/, "", line)
        split(line, field, /, */)
        gsub(/"/, "", field[3])
        printf "%s %s", tolower(field[1]), field[3]
        while (match(line, /[A-Z_]+\([0-9]+/)) {
            knob = substr(line, RSTART, RLENGTH)
            sub(/^FIXED_/, "", knob)
            sub(/\(/, "=", knob)
            printf " %s", knob
            line = substr(line, RSTART + RLENGTH)
        }
        print ""
    }' ../src/opencl/variants.inc >"$work/lines"
[ -s "$work/lines" ] || { echo "gpu_offline.sh: src/opencl/variants.inc has no GPU lines" >&2; exit 2; }
printf '%-62s %6s %6s %9s %10s %s\n' variant sm_80 sm_90 v4-loads gfx90a-VGPR verdict
while read -r stem name knobs; do
    case "$stem $name" in *"$only"*) ;; *) continue ;; esac
    VECTOR=1 REDUCE=0 WIDE=0 LANES=1 UNROLL=1 LOCAL=64 DIGIT=0
    eval "$knobs"
    of_line
done <"$work/lines"
echo
[ $failed = 0 ] && echo "gpu_offline: $(wc -l <"$work/lines") lines, $reported programs, all clean" || echo "gpu_offline: $failed of $reported programs are not clean"
[ $failed = 0 ]
