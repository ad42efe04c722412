#!/bin/sh
# soak.sh - tests/soak.c: train, save, load, convert, serve in a loop, on PoCL and on the reference engine. 2 minutes together;
# QEMB_NIGHTLY=1: 2 hours (QEMB_SOAK_SECONDS says otherwise).
set -u
seconds=60
[ "${QEMB_NIGHTLY:-}" ] && seconds=3600
seconds=${QEMB_SOAK_SECONDS:-$seconds}
mkdir -p build/pocl-cache/soak
status=0
OCL_ICD_VENDORS=${QEMB_TEST_ICD:-/etc/OpenCL/vendors/pocl.icd} POCL_CACHE_DIR=$PWD/build/pocl-cache/soak build/tests/soak "$seconds" opencl || status=1
build/tests/soak "$seconds" reference || status=1
exit $status
