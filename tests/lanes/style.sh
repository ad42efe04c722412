#!/bin/sh
# style.sh - what compilers do not see: layout, spelling, the manual, and what three analysers find. Everything must be clean.
# All files are read; only the two slow analysers (clang-tidy, gcc -fanalyzer: some minutes of processor time) are kept, in the run that every
# change must pass (QEMB_STYLE=changed), to files that the last commit or the working tree changed, four at most.
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

# The names of the tree's files that match, as git knows them, or as they lie there if this is no checkout.
names() {
    { git ls-files 2>/dev/null || find . -type f ! -path './build*' ! -path './.git/*' | sed 's|^[.]/||'; } | grep -E "$1"
}

layout() {
    xargs -n 64 -P "$cores" clang-format-14 --dry-run -Werror 2>&1 |
        sed -n 's/^\([^ ]*\):[0-9]*:[0-9]*: error: code should be.*/\1: clang-format-14 -i would change it/p' | sort -u
}

spelling() {
    xargs codespell -L arithmetics,coo,tbe,truns,nd,fo,sie,inout,ans,numer,te,ba,ue,unsecure,theses,sav 2>/dev/null
}

tidy() {
    xargs -r -n 4 -P "$cores" clang-tidy -p build --quiet 2>/dev/null | grep -E '(warning|error):' | sort -u
}

# What cppcheck is told to pass over, each once looked at: a pointer that is NULL only where the branch does not take it (embedding_bag.c,
# lookup.c), an array filled by a read whose success is asked (probe.c), the arithmetic shift that C and OpenCL compilers agree on (math.h).
checks() { # FILE_LIST
    cppcheck -j "$cores" --quiet --std=c11 --enable=warning,portability,performance --inline-suppr --error-exitcode=0 \
        --suppress=missingIncludeSystem --suppress=nullPointerArithmetic:src/core/embedding_bag.c --suppress=nullPointer:src/cli/lookup.c \
        --suppress=uninitvar:src/opencl/probe.c --suppress=shiftNegativeLHS:kernels_cl/shared/math.h -I include -I build/include -I src \
        -I bench -I tests -I . -D_GNU_SOURCE= --template='{file}:{line}: {id}: {message}' --file-list="$1" 2>&1
}

# gcc 12 does not relate a pointer to the count or status that was checked with it: its NULL and leak findings were all of that kind.
analyzer() {
    xargs -r -n 1 -P "$cores" sh -c 'gcc -std=c11 -O1 -fanalyzer -Wno-analyzer-null-argument -Wno-analyzer-null-dereference \
        -Wno-analyzer-malloc-leak -D_GNU_SOURCE= -DCL_TARGET_OPENCL_VERSION=120 -Iinclude \
        -Ibuild/include -Isrc -Ibench -Itests -I. -c -o /dev/null "$1" 2>&1' sh | grep 'warning:' | sort -u
}

cmake -S . -B build >/dev/null 2>&1 # clang-tidy reads compile_commands.json

# A file with a fault for each tool: one that does not see its own is blind, and its "clean" worth nothing.
mkdir -p $work/planted
cat >$work/planted/planted.c <<'C'
#include <stdlib.h>
int planted(void) { char *p = malloc(4); if (!p) return 0; free(p); free(p); return 1; } /* teh fault */
C
echo $work/planted/planted.c >$work/planted/list
for tool in layout spelling tidy checks analyzer; do
    case $tool in
    checks) found=$(checks $work/planted/list) ;;
    *) found=$($tool <$work/planted/list) ;;
    esac
    case $found in
    *planted*) ;;
    *) echo "style: $tool does not see the planted fault"; findings=$((findings + 1)) ;;
    esac
done

# Not formatted by machine: the public headers and the kernels with what they share, whose comments and lists are set by hand; the
# examples, which are kept to a screen.
names '[.][ch]$' | grep -v -e ^include/ -e ^kernels_cl/ -e ^bench/examples/ -e ^tests/consumer/ -e ^tests/native/ | layout >$work/format
report format

names . | grep -v -e '\.safetensors$' -e ^tests/abi/ -e ^tests/fuzz/corpus/ -e ^bench/results/ -e ^tests/lanes/style.sh | spelling >$work/spelling
report spelling

names '^(src|bench)/.*[.]c$' | grep -v ^bench/examples/ >$work/every
[ -s $work/every ] || { echo "style: no files here"; exit 1; }
if [ "${QEMB_STYLE:-}" = changed ]; then
    git diff --name-only --diff-filter=d HEAD~1 -- 'src/*.c' 'bench/*.c' 2>/dev/null | grep -v ^bench/examples/ | head -4 >$work/files
else
    cp $work/every $work/files
fi
echo "style: $(wc -l <$work/every) files of src and bench, the slow analysers read $(wc -l <$work/files)"

tidy <$work/files >$work/tidy
report tidy

checks $work/every >$work/cppcheck
report cppcheck

analyzer <$work/files >$work/analyzer
report analyzer

sh tests/doxygen.sh $work/html >$work/manual 2>&1
report manual

if [ "${QEMB_SCOREBOARD:-}" ]; then
    word=ok
    [ $findings = 0 ] || word=red
    printf 'R21\t%d findings in %d files\t%s\tclang-tidy, cppcheck, gcc -fanalyzer, codespell, clang-format, doxygen\n' \
        $findings "$(wc -l <$work/every)" $word >>"$QEMB_SCOREBOARD"
fi
[ $findings = 0 ]
