#!/bin/sh
# compile.sh - one OpenCL program as a shared library for this processor.      sh compile.sh SOURCE.cl LIBRARY.so OPTIONS...
# $QEMB_NATIVE_FLAGS: sanitizers and coverage. Beside the library stays SOURCE.cl, which coverage reads.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$1
library=$2
shift 2
common="-x cl -cl-std=CL1.2 -target $(uname -m)-linux-gnu -include opencl-c-base.h -D__OPENCL_VERSION__=120 -Wno-everything -ffp-contract=off -fno-math-errno"
clang=${QEMB_NATIVE_CLANG:-clang}
$clang $common "$@" -DNATIVE_SIGNATURES -E "$source" -o "$library.$$.i"
awk -f "$here/kernels.awk" "$library.$$.i" >"$library.$$.calls"
mv "$library.$$.calls" "${source%.cl}.calls.h"
$clang $common "$@" ${QEMB_NATIVE_LEVEL:--O0} -g1 -fPIC ${QEMB_NATIVE_FLAGS:-} -c "$source" -o "$library.$$.o"
$clang -O1 -fPIC -I"$here" -c "$here/items.c" -o "$library.$$.items.o"
$clang -shared ${QEMB_NATIVE_FLAGS:-} "$library.$$.o" "$library.$$.items.o" -lm -o "$library.$$"
rm -f "$library.$$".*
mv "$library.$$" "$library"
