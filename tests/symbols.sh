#!/bin/sh
# symbols.sh - the library shows exactly what its headers promise.     sh tests/symbols.sh libqemb.so
# Every QEMB_API function of include/qemb is in the library's table, and nothing else is.
set -u
library=$1
headers=$(cd "$(dirname "$0")/../include/qemb" && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
LC_ALL=C
export LC_ALL
nm -D --defined-only "$library" | awk '{ print $NF }' | sort -u >"$work/shown"
# A declaration may span lines: join them up to the semicolon, then take the name before the first bracket.
cat "$headers"/*.h | awk '
    /^QEMB_API/ { text = ""; on = 1 }
    on { text = text " " $0 }
    on && /;/ { on = 0; sub(/\(.*/, "", text); n = split(text, word, /[ *]+/); print word[n] }' | sort -u >"$work/promised"
status=0
for name in $(comm -13 "$work/promised" "$work/shown"); do
    echo "shown but in no header: $name"
    status=1
done
for name in $(comm -23 "$work/promised" "$work/shown"); do
    echo "in a header but not shown: $name"
    status=1
done
[ $status = 0 ] && echo "symbols: $(wc -l <"$work/shown") shown, all of them promised"
exit $status
