#!/bin/sh
# with_kernels.sh - runs a test with the kernels that the tests before it compiled.    sh tests/with_kernels.sh CACHES NAME COMMAND...
# PoCL's cache is not safe between processes, so a running test has one of its own, CACHES/NAME. A quiescent one may be copied: the test
# starts with what lies in CACHES/finished, and what it compiled goes there when it has passed. Both ways files are linked under a lock,
# whole ones only. A cache that a killed or failed test left is thrown away.
caches=$1
own=$1/$2
mark=$1/$2.passed
shift 2
share() { # FROM TO: what is there already is passed over, which some versions of cp call a failure
    flock "$caches/lock" cp -Rnl "$1/." "$2" 2>/dev/null
}
mkdir -p "$caches/finished" || exit 2
[ -e "$mark" ] || rm -rf "$own"
rm -f "$mark"
mkdir -p "$own" || exit 2
share "$caches/finished" "$own"
POCL_CACHE_DIR=$own "$@" || exit $?
rm -rf "$own"/tempfile_* # PoCL's, of workers that ended
share "$own" "$caches/finished"
: >"$mark"
