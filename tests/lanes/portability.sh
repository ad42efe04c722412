#!/bin/sh
# portability.sh - cases on a second OpenCL implementation: Mesa's Rusticl on llvmpipe, the GPU family. Known gaps, which are no failures:
#   - the CPU family's programs of float16 keep Mesa's compiler busy for minutes: not run
#   - a case that takes more than 60 s (Mesa compiles every program anew) is given up and counted
#   - llvmpipe flushes subnormal float32, which the library probes and reports; Mesa warns that kernel arguments read under a condition
#     "may be incorrect"
# The short form takes every thirtieth case.
# needs: /etc/OpenCL/vendors/rusticl.icd mesa-opencl-icd
set -u
icd=/etc/OpenCL/vendors/rusticl.icd
work=build/portability
mkdir -p $work
every=30
[ "${QEMB_NIGHTLY:-}" ] && every=1
: >$work/out
slow=0
for file in $(ls tests/cases/bag_*.safetensors tests/cases/embedding_*.safetensors tests/cases/train_*.safetensors | awk -v every=$every 'NR % every == 1 || every == 1'); do
    OCL_ICD_VENDORS=$icd RUSTICL_ENABLE=llvmpipe QEMB_FAMILY=gpu QEMB_SCOREBOARD='' timeout 60 build/bin/qemb-replay --device opencl "$file" >$work/one 2>/dev/null
    [ $? = 124 ] && slow=$((slow + 1))
    grep -E '^(PASS|FAIL)' $work/one >>$work/out
done
passed=$(grep -c '^PASS' $work/out)
failed=$(grep -c '^FAIL' $work/out)
grep '^FAIL' $work/out
echo "   $passed passed, $failed failed, $slow given up after 60 s"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    printf 'R11\t%s cases with the same answers, %s differ, %s given up\t%s\tRusticl on llvmpipe, GPU family\n' "$passed" "$failed" "$slow" \
        "$([ "$failed" = 0 ] && [ "$passed" -gt 0 ] && echo ok || echo red)" >>"$QEMB_SCOREBOARD"
fi
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
