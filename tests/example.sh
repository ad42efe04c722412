#!/bin/sh
# example.sh - a program of bench/examples prints what it always printed, on OpenCL and on the reference engine.
#     sh tests/example.sh PROGRAM EXPECTED_TEXT
set -u
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
status=0
for device in opencl reference; do
    QEMB_DEVICE=$device "$1" >out 2>err || { echo "$1 on $device: exit code $?"; cat err; status=1; }
    cmp -s out "$2" || { echo "$1 on $device prints something else than $2:"; diff "$2" out; status=1; }
done
exit $status
