#!/bin/sh
# portability.sh - every case on a second OpenCL implementation: Mesa's Rusticl on llvmpipe, both kernel families. Known gaps, listed and
# not failures: its device says that subnormal float32 do not survive and that division is not correctly rounded (the library then
# divides by integers), so cases whose numbers are subnormal may differ; where the driver itself cannot compile or run, the lane says so.
# The short form takes every fourth case.
# needs: /usr/lib/x86_64-linux-gnu/libRusticlOpenCL.so.1 mesa-opencl-icd
set -u
icd=/etc/OpenCL/vendors/rusticl.icd
[ -e $icd ] || { echo "   no Rusticl here: not run"; [ "${QEMB_SCOREBOARD:-}" ] && printf 'R11\tno second implementation\tred\t\n' >>"$QEMB_SCOREBOARD"; exit 0; }
work=build/portability
mkdir -p $work
every=4
[ "${QEMB_NIGHTLY:-}" ] && every=1
cases=$(ls tests/cases/*.safetensors | awk -v every=$every 'NR % every == 0')
known='^FAIL (none)'
status=0
passed=0
failed=0
for family in cpu gpu; do
    # shellcheck disable=SC2086
    OCL_ICD_VENDORS=$icd RUSTICL_ENABLE=llvmpipe QEMB_FAMILY=$family timeout 900 build/bin/qemb-replay --device opencl $cases >$work/$family.out 2>&1
    passed=$((passed + $(grep -c '^PASS' $work/$family.out)))
    bad=$(grep '^FAIL' $work/$family.out | grep -vcE "$known")
    failed=$((failed + bad))
    tail -n 1 $work/$family.out | sed "s/^/   $family family: /"
    [ "$bad" = 0 ] && [ "$(tail -n 1 $work/$family.out | grep -c passed)" = 1 ] || { status=1; grep '^FAIL' $work/$family.out | head -n 5; }
done
if [ "${QEMB_SCOREBOARD:-}" ]; then
    printf 'R11\t%s cases with the same bits, %s differ\t%s\tRusticl on llvmpipe, both families\n' "$passed" "$failed" \
        "$([ $status = 0 ] && echo ok || echo red)" >>"$QEMB_SCOREBOARD"
fi
exit $status
