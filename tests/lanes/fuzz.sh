#!/bin/sh
# fuzz.sh - every fuzz target for 20 seconds; QEMB_NIGHTLY=1: 2 x 10^7 executions each.
# needs: clang clang
if [ "${QEMB_NIGHTLY:-}" ]; then
    QEMB_FUZZ_RUNS=${QEMB_FUZZ_RUNS:-20000000}
    export QEMB_FUZZ_RUNS
fi
exec sh tests/fuzz/run.sh 20
