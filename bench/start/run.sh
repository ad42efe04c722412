#!/bin/sh
# run.sh - how long programs wait before their first steps, in milliseconds.      sh bench/start/run.sh [BUILD FOLDER]
# With nothing kept on disk, with PoCL's kernel cache, with the library's own cache, and with both; each without and with qemb_embedding_bag_prepare.
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${1:-build}
[ -e "$build/libqemb.so" ] || { echo "run.sh: $build/libqemb.so is missing; build first, or name the build folder" >&2; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
${CC:-cc} -std=gnu11 -O1 -Iinclude -I"$build/include" bench/start/start.c "$build/libqemb.so" -Wl,-rpath,"$(cd "$build" && pwd)" -o "$work/start" || exit 1
export QEMB_TUNE= POCL_CACHE_DIR="$work/pocl"
empty() { rm -rf "$work/pocl" && mkdir "$work/pocl"; }
line() {
    printf '%-34s' "$1"
    QEMB_CACHE=$2 "$work/start" "$3" 2>/dev/null
}
printf '%-34s%9s%9s%9s%9s%9s%9s%9s%9s%10s\n' 'kept on disk' context module optimizer prepare forward step forward step 'till then'
for how in '' prepare; do
    [ "$how" ] && more=', prepared' || more=
    rm -rf "$work/own"
    empty
    line "nothing$more" off "$how"
    line "PoCL's cache$more" off "$how"
    empty
    QEMB_CACHE=$work/own "$work/start" $how >/dev/null 2>&1
    empty
    line "QEMB_CACHE$more" "$work/own" "$how"
    line "both$more" "$work/own" "$how"
done
