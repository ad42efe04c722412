#!/bin/sh
# watched.sh - runs a test under a sanitizer and fails when it reported anything.    sh tests/watched.sh PREFIX COMMAND...
# Criterion forgets the exit status of its workers, so a leak would be printed and passed over: the reports go to files instead.
reports=$1
shift
rm -f "$reports".*
ASAN_OPTIONS="log_path=$reports:detect_leaks=1:strict_string_checks=1" \
    LSAN_OPTIONS="suppressions=$(dirname "$0")/leaks.supp:print_suppressions=0" \
    UBSAN_OPTIONS="log_path=$reports:print_stacktrace=1" TSAN_OPTIONS="log_path=$reports" "$@"
status=$?
for report in "$reports".*; do
    [ -e "$report" ] || continue
    cat "$report"
    status=1
done
exit $status
