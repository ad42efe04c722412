#!/bin/sh
# coverage.sh - lines and branches of the kernels, over all natively compiled programs.      sh coverage.sh CACHE [--missing]
# Each program is exported for itself (the same function is another one under other options); a line or a side of a branch counts as
# run when it was in any of them. Prints a line a file, the least covered first, then the sum; --missing prints the lines never run.
set -eu
cache=$1
missing=${2:-}
profdata=$(${QEMB_NATIVE_CLANG:-clang} -print-prog-name=llvm-profdata)
cov=$(${QEMB_NATIVE_CLANG:-clang} -print-prog-name=llvm-cov)
for library in "$cache"/*.so; do
    set -- "$library".*.profraw
    [ -e "$1" ] || continue
    "$profdata" merge -sparse "$@" -o "$library.profdata" 2>/dev/null && "$cov" export -format=lcov -instr-profile "$library.profdata" "$library" 2>/dev/null
    rm -f "$library.profdata"
done | awk -F '[:,]' -v missing="$missing" '
    /^SF:/ { file = substr($0, 4); ours = sub(/^.*\/kernels_cl\//, "kernels_cl/", file); next }
    !ours { next }
    /^DA:/ { line[file, $2] += $3; if (!((file, $2) in known)) { known[file, $2] = 1; order[++n] = file SUBSEP $2 } }
    /^BRDA:/ { side = file SUBSEP $2 SUBSEP $3 SUBSEP $4; taken[side] += ($5 == "-" ? 0 : $5) }
    END {
        for (i = 1; i <= n; i++) {
            split(order[i], part, SUBSEP)
            lines[part[1]]++
            if (line[order[i]] > 0) hit[part[1]]++
            else if (missing != "") print "never run: " part[1] ":" part[2]
        }
        for (side in taken) {
            split(side, part, SUBSEP)
            sides[part[1]]++
            if (taken[side] > 0) went[part[1]]++
        }
        for (file in lines) {
            printf "%7.2f %% of %4d lines %7.2f %% of %4d branches  %s\n", 100 * hit[file] / lines[file], lines[file],
                sides[file] ? 100 * went[file] / sides[file] : 100, sides[file], file | "sort -n"
            all += lines[file]; good += hit[file]; every += sides[file]; gone += went[file]
        }
        close("sort -n")
        if (all) printf "%7.2f %% of %4d lines %7.2f %% of %4d branches  kernels_cl/\n", 100 * good / all, all, every ? 100 * gone / every : 100, every
    }'
