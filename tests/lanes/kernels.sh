#!/bin/sh
# kernels.sh - the kernels of both families compiled for this processor with clang's address and undefined-behaviour sanitizers, behind
# the tests' own OpenCL device (tests/native): every case and the device tests, canaries of 4 KiB round every buffer, lines and branches.
# The short form runs the cases; QEMB_NIGHTLY=1 (and --scoreboard) the device tests too. QEMB_LANE_ONLY: a pattern for ctest.
# needs: clang clang
# needs: llvm-cov llvm
# needs: llvm-profdata llvm
set -u
build=build-native
flags="-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fprofile-instr-generate"
pattern='replay_pocl|fake_quant|row_observe|interop'
[ "${QEMB_NIGHTLY:-}${QEMB_SCOREBOARD:-}" = "" ] || pattern='replay_pocl|fake_quant|row_|interop|batch|embedding_bag|bag_|packed'
pattern=${QEMB_LANE_ONLY:-$pattern}
mkdir -p $build
[ -e $build/CMakeCache.txt ] || generator="-G Ninja"
CC=clang cmake -S . -B $build ${generator:-} -DCMAKE_BUILD_TYPE=Debug -DQEMB_SANITIZE=address,undefined -DQEMB_TEST_NATIVE=ON \
    "-DQEMB_NATIVE_FLAGS=$flags" >$build/configure.log 2>&1 || { cat $build/configure.log; exit 1; }
cmake --build $build -j "$(nproc)" >$build/build.log 2>&1 || { cat $build/build.log; exit 1; }
rm -f $build/native/*.profraw $build/native/counts $build/reports/*
(ulimit -n 1024; cd $build && ctest -j "$(nproc)" -R "$pattern" --no-tests=error --output-on-failure) >$build/tests.log 2>&1
status=$?
findings=0
[ $status = 0 ] || { cat $build/tests.log; findings=$(grep -cE 'ERROR: AddressSanitizer|runtime error|native device:' $build/tests.log); }
grep 'tests passed' $build/tests.log
sh tests/native/coverage.sh $build/native >$build/coverage.log
tail -n 1 $build/coverage.log
launches=$(awk '{ n += $1; c += $2 } END { printf "%d launches, %d canaries compared", n, c }' $build/native/counts 2>/dev/null)
programs=$(ls $build/native/*.so | wc -l)
echo "   $programs programs, $launches, $findings findings"
if [ "${QEMB_SCOREBOARD:-}" ]; then
    word=$([ $status = 0 ] && echo ok || echo red)
    printf 'R15\t%s findings: %s programs, %s\t%s\tnative kernels under ASan\n' "$findings" "$programs" "$launches" "$word" >>"$QEMB_SCOREBOARD"
    printf 'R17\t%s findings in kernels\t%s\tnative kernels under ASan, UBSan\n' "$findings" "$word" >>"$QEMB_SCOREBOARD"
    lines=$(awk '/kernels_cl\/$/ { print $1 }' $build/coverage.log)
    branches=$(awk '/kernels_cl\/$/ { print $6 }' $build/coverage.log)
    word=$(awk -v l="$lines" 'BEGIN { word = "red"; if (l + 0 >= 100) word = "ok"; print word }')
    printf 'R18\tkernels %s %% of lines, %s %% of branches\t%s\tllvm-cov over native programs\n' "$lines" "$branches" "$word" >>"$QEMB_SCOREBOARD"
fi
exit $status
