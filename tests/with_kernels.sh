#!/bin/sh
# with_kernels.sh - runs a test with the kernels that the tests before it compiled.    sh tests/with_kernels.sh CACHES COMMAND...
# PoCL's cache is not safe between processes, so a running test has one to itself: the first of CACHES/1, CACHES/2, ... that no other test
# has. A quiescent one may be copied: what lies in CACHES/finished is added to it before the test, and what the test compiled is added to
# CACHES/finished when it has passed. Both ways files are linked under a lock, whole ones only. A cache that a killed or failed test left is
# thrown away.
caches=$1
shift
mkdir -p "$caches/finished" || exit 2
slot=1
exec 9>"$caches/$slot.lock" || exit 2
until flock -n 9; do
    slot=$((slot + 1))
    exec 9>"$caches/$slot.lock" || exit 2
done
own=$caches/$slot
mark=$caches/$slot.passed
share() { # FROM TO: what is there already is passed over, which some versions of cp call a failure
    flock "$caches/lock" cp -Rnl "$1/." "$2" 2>/dev/null
}
[ -e "$mark" ] || rm -rf "$own"
rm -f "$mark"
mkdir -p "$own" || exit 2
share "$caches/finished" "$own"
POCL_CACHE_DIR=$own "$@" 9>&- || exit $?
rm -rf "$own"/tempfile_* # PoCL's, of workers that ended
share "$own" "$caches/finished"
: >"$mark"
