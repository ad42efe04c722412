#!/bin/sh
# abi.sh - programs built against the released library still run with this one: nothing of tests/abi/libqemb.abi is gone or changed.
# What is new is allowed, and what stands behind the opaque pointers of the headers is nobody's business. A release makes a new baseline:  sh tests/lanes/abi.sh --baseline
# needs: abidw abigail-tools
set -u
library=build/libqemb.so
baseline=tests/abi/libqemb.abi
describe() {
    abidw --headers-dir include/qemb --no-corpus-path --no-comp-dir-path --out-file "$1" $library
}
[ -e $library ] || { echo "abi: $library is missing; sh tests/run.sh --build-only"; exit 1; }
if [ "${1:-}" = --baseline ]; then
    describe $baseline
    exit
fi
describe build/now.abi || exit 1
abidiff --suppressions tests/abi/private.suppr --no-added-syms $baseline build/now.abi >build/abi.log 2>&1
code=$?
functions=$(grep -c '<function-decl.*elf-symbol-id' $baseline)
# abidiff's status is a set of bits: 1 and 2 its own failure, 4 a change, 8 an incompatible change.
word=ok
[ $code = 0 ] || { word=red; cat build/abi.log; }
echo "abi: $functions functions of the baseline, abidiff's status $code"
[ "${QEMB_SCOREBOARD:-}" ] && printf 'R22\t%s of %s functions broken\t%s\tabidiff against tests/abi\n' \
    "$(grep -c '^  \[[CD]\]' build/abi.log)" "$functions" $word >>"$QEMB_SCOREBOARD"
[ $code = 0 ]
