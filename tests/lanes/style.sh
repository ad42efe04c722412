#!/bin/sh
# style.sh - what compilers do not see: layout, spelling, and what four analysers find. Everything must be clean.
# The short form is meant for every change; QEMB_NIGHTLY=1 (and --scoreboard) analyse every file, the short form every fifth.
# needs: clang-format-14 clang-format-14
# needs: clang-tidy clang-tidy
# needs: cppcheck cppcheck
# needs: codespell codespell
# needs: doxygen doxygen
set -u
work=build/style
mkdir -p $work
findings=0
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# Runs one tool and counts the lines of its report.
report() {
    lines=$(wc -l <"$work/$1")
    findings=$((findings + lines))
    [ "$lines" = 0 ] && echo "style: $1: clean" || { echo "style: $1: $lines findings"; head -40 "$work/$1"; }
}

# Not formatted by machine: the public headers and the kernels with what they share, whose comments and lists are set by hand; the
# examples, which are kept to a screen.
git ls-files '*.c' '*.h' | grep -v -e ^include/ -e ^kernels_cl/ -e ^bench/examples/ -e ^tests/consumer/ -e ^tests/native/ |
    while read -r file; do
        clang-format-14 "$file" | cmp -s - "$file" || echo "$file: clang-format-14 -i would change it"
    done >$work/format
report format

git ls-files | grep -v -e '\.safetensors$' -e ^tests/abi/ -e ^tests/fuzz/corpus/ -e ^bench/results/ |
    xargs codespell -L arithmetics,coo,tbe,truns,nd,fo,sie,inout,ans,numer,te,ba,ue,unsecure,theses,sav >$work/spelling 2>/dev/null
report spelling

# A build folder of our own: the analysers read compile_commands.json.
cmake -S . -B build >/dev/null 2>&1
every=5
[ "${QEMB_NIGHTLY:-}${QEMB_SCOREBOARD:-}" ] && every=1
pick() { awk -v every=$every -v today="$(date +%j)" '(NR + today) % every == 0'; }
git ls-files 'src/*.c' | pick >$work/files

xargs -n 4 -P "$cores" clang-tidy -p build --quiet <$work/files 2>/dev/null | grep -E '(warning|error):' | sort -u >$work/tidy
report tidy

# What cppcheck is told to pass over, each once looked at: a pointer that is NULL only where the branch does not take it (embedding_bag.c,
# lookup.c), an array filled by a read whose success is asked (probe.c), the arithmetic shift that C and OpenCL compilers agree on (math.h).
cppcheck -j "$cores" --quiet --std=c11 --enable=warning,portability,performance --inline-suppr --error-exitcode=0 \
    --suppress=missingIncludeSystem --suppress=nullPointerArithmetic:src/core/embedding_bag.c --suppress=nullPointer:src/cli/lookup.c \
    --suppress=uninitvar:src/opencl/probe.c --suppress=shiftNegativeLHS:kernels_cl/shared/math.h -I include -I build/include -I src -I . \
    -D_GNU_SOURCE= --template='{file}:{line}: {id}: {message}' --file-list=$work/files 2>$work/cppcheck
report cppcheck

# gcc 12 does not relate a pointer to the count or status that was checked with it: its NULL and leak findings were all of that kind.
xargs -n 1 -P "$cores" sh -c 'gcc -std=c11 -O1 -fanalyzer -Wno-analyzer-null-argument -Wno-analyzer-null-dereference \
    -Wno-analyzer-malloc-leak -D_GNU_SOURCE= -DCL_TARGET_OPENCL_VERSION=120 -Iinclude \
    -Ibuild/include -Isrc -Ibench -Itests -I. -c -o /dev/null "$1" 2>&1' sh <$work/files | grep 'warning:' | sort -u >$work/analyzer
report analyzer

sh tests/doxygen.sh $work/html >$work/manual 2>&1
report manual

if [ "${QEMB_SCOREBOARD:-}" ]; then
    word=ok
    [ $findings = 0 ] || word=red
    printf 'R21\t%d findings in %d files\t%s\tclang-tidy, cppcheck, gcc -fanalyzer, codespell, clang-format, doxygen\n' \
        $findings "$(wc -l <$work/files)" $word >>"$QEMB_SCOREBOARD"
fi
[ $findings = 0 ]
