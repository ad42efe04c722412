#!/bin/sh
# house.sh - is the house in order?   sh tests/house.sh             checks this tree
#                                     sh tests/house.sh --self-test breaks a copy of it in every way and expects each to be found
# The rules are those of ARCHITECTURE.md: who may include whom, how long files and functions may be, who allocates, launches and prints,
# what stands at the top, and that a stem has all its files. Needs sh, find and awk.
set -u
here=$(cd "$(dirname "$0")" && pwd)
LC_ALL=C
export LC_ALL

stems="row_observe bag_forward row_sort bag_backward row_update row_pack packed_forward"

# Every file in which one stem lives.
stem_files() {
    echo "src/core/$1.c src/reference/$1.c src/opencl/$1.c kernels_cl/$1_cpu.cl kernels_cl/$1_gpu.cl" \
        "tests/ops/$1.h tests/test_$1.c bench/bench_$1.c"
}

# Prints the entries that do not belong at the top of the current folder, and the files that its stems lack.
check_places() {
    for entry in *; do
        case $entry in
        CMakeLists.txt | CMakePresets.json | README.md | ARCHITECTURE.md | CHANGELOG.md | LICENSE) ;;
        include | src | kernels_cl | tests | bench) ;;
        build | build-*) ;;
        *) echo "top: $entry: does not belong at the top" ;;
        esac
    done
    for stem in $stems; do
        [ -e "src/core/$stem.c" ] || continue
        for file in $(stem_files "$stem"); do
            [ -e "$file" ] || echo "stem: $file: missing, and $stem has src/core/$stem.c"
        done
    done
}

# Prints the broken rules of the tree in the current folder, one a line.
check_tree() {
    check_places
    folders=
    for folder in include src kernels_cl tests bench; do
        [ -d "$folder" ] && folders="$folders $folder"
    done
    find $folders -type f \
        \( -name '*.[ch]' -o -name '*.cl' -o -name '*.inc' -o -name '*.sh' -o -name '*.awk' -o -name '*.cmake' \) -print |
        sort | xargs awk -f "$here/house.awk"
}

# plant RULE FILE TEXT [tree]: appends TEXT to FILE of the copy, expects a line of RULE about FILE, and takes TEXT out again. To read the
# whole tree every time would be long: for most plants it is enough that the file itself is read.
plant() {
    mkdir -p "$(dirname "$work/tree/$2")"
    rm -f "$work/saved"
    [ -e "$work/tree/$2" ] && cp "$work/tree/$2" "$work/saved"
    printf '%b\n' "$3" >>"$work/tree/$2"
    expect "$1" "$2" "${4:-file}"
    rm "$work/tree/$2"
    [ -e "$work/saved" ] && cp "$work/saved" "$work/tree/$2"
}

# Expects a line of rule $1 about file $2 when the whole tree, that file, or the places of files are checked.
expect() {
    case $3 in
    tree) (cd "$work/tree" && check_tree) ;;
    file) (cd "$work/tree" && awk -f "$here/house.awk" "$2") ;;
    places) (cd "$work/tree" && check_places) ;;
    esac >"$work/found"
    if grep -q "^$1: $2" "$work/found"; then
        echo "found    $1 in $2"
    else
        echo "MISSED   $1 in $2"
        missed=1
    fi
}

# Copies the files named on standard input, with their folders, to $1.
copy_each() {
    while IFS= read -r path; do
        mkdir -p "$1/$(dirname "$path")"
        cp "$path" "$1/$path"
    done
}

self_test() {
    work=$(mktemp -d) || exit 2
    trap 'rm -rf "$work"' EXIT
    missed=0
    mkdir "$work/tree"
    for folder in include src kernels_cl tests bench; do
        mkdir -p "$work/tree/$folder"
        [ -d "$folder" ] || continue
        (cd "$folder" && find . -type f ! -name '*.safetensors' -print | copy_each "$work/tree/$folder")
    done
    plant include src/base/planted.c '#include "core/ops.h"' tree
    plant include src/core/planted.c '#include "opencl/opencl.h"'
    plant include src/core/planted.c '#include <CL/cl.h>'
    plant include src/reference/planted.c '#include "opencl/opencl.h"'
    plant include src/opencl/planted.c '#include "reference/reference.h"'
    plant include src/io/planted.c '#include "core/ops.h"'
    plant include src/dlrm/planted.c '#include "base/status.h"'
    plant include src/dlrm/planted.cl '#include "dlrm/dlrm.h"'
    plant include src/cli/planted.c '#include "../base/status.h"'
    plant include bench/planted.c '#include "core/ops.h"'
    plant include include/qemb/planted.h '#include <CL/cl.h>'
    plant include include/qemb/planted.h '#include "base/status.h"'
    plant include kernels_cl/shared/planted.h '#include "types.h"'

    body=$(awk 'BEGIN { for (i = 0; i < 59; i++) printf "    g();\\n" }')
    long=$(awk 'BEGIN { for (i = 0; i < 601; i++) printf "/* line */\\n" }')
    plant function src/core/planted.c "int f(void) {\n$body}"
    plant function kernels_cl/planted.cl "__kernel void f(__global int *a) {\n$body}"
    plant function src/io/planted.c "typedef struct {\n int a;\n} s;\nstatic const int t[] = {1, 2};\nint f(s a,\n   int b) {\n$body}"
    plant parameters src/core/planted.c 'int f(int a, int b, int c, int d, int e, int g, int h, int i) {\n    return a;\n}'
    plant parameters src/core/planted.h 'int f(int a, int (*b)(int, int), int c, int d, int e,\n      int g, int h, int i);'
    plant size src/core/planted.c "$long"
    plant size include/qemb/qemb.h "$long$long"
    plant size src/dlrm/planted.cl "$(printf '%s' "$long" | cut -c1-4000)"
    plant size kernels_cl/planted.cl "$(printf '%s' "$long" | cut -c1-4000)"
    plant memory src/core/planted.c 'void f(void) {\n    char *text = "free("; /* it is */ free (text);\n}'
    plant memory src/opencl/planted.c 'void *f(void) {\n    return calloc(1, 2);\n}'
    plant launch src/opencl/planted.c 'void f(void) {\n    clEnqueueNDRangeKernel(0, 0, 0);\n}'
    plant silence src/base/planted.c 'void f(void) {\n    fprintf(stderr, "x");\n}'
    plant silence src/base/log.c 'void f(void) {\n    printf("x");\n}'
    plant silence src/base/log.c 'void f(void) {\n    fputs("x", stderr);\n}'
    plant silence src/io/planted.c 'void f(void) {\n    abort();\n}'
    plant silence src/reference/planted.c 'void f(void) {\n    printf("x");\n}'
    plant dead src/base/planted.c '#if 0\n#endif'
    plant top planted.txt 'x' tree
    for stem in $stems; do
        for file in $(stem_files "$stem"); do
            mkdir -p "$(dirname "$work/tree/$file")"
            : >>"$work/tree/$file"
        done
    done
    for stem in $stems; do
        for file in $(stem_files "$stem"); do
            [ "$file" = "src/core/$stem.c" ] && continue
            mv "$work/tree/$file" "$work/saved"
            expect stem "$file" places
            mv "$work/saved" "$work/tree/$file"
        done
    done
    return $missed
}

cd "$here/.." || exit 2
if [ "${1:-}" = "--self-test" ]; then
    self_test
    exit
fi
broken=$(check_tree)
if [ -n "$broken" ]; then
    echo "$broken"
    echo "house: $(echo "$broken" | wc -l) broken"
    exit 1
fi
echo "house: in order"
