#!/bin/sh
# run.sh - installs what is missing, builds, runs the main job and trains, converts and serves a model.    sh bench/run.sh [--no-install] [arguments of `qemb demo`]
# Every shape of bench/shapes into bench/results instead:          sh bench/run.sh [--no-install] --full [arguments of `qemb bench`]
# A click log of your own: QEMB_CRITEO=/path/to/train.txt sh bench/run.sh
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
install=
if [ "${1:-}" = "--no-install" ]; then
    install=--no-install
    shift
fi
sh "$root/tests/run.sh" --build-only $install || exit 1

# What a model makes of it: a DLRM on 200,000 planted rows, float and int4; the int4 one converted, saved, opened and served with the same
# bits; then every method beside the others. Learning rate 1: with dlrm's 0.1 so few rows teach little.
quality() {
    case " $* " in
    *" --json "*) json=--json ;;
    *) json= ;;
    esac
    [ -n "$json" ] || printf '\n'
    model=$(mktemp -d) || return 1
    rows="--synthetic 200000"
    "$root/build/bin/qemb" train $rows --lr 1 $json &&
        "$root/build/bin/qemb" train $rows --lr 1 --bits 4 --save "$model/int4" $json &&
        "$root/build/bin/qemb" serve-check "$model/int4.packed" $rows $json &&
        { [ -n "$json" ] || printf '\n'; } &&
        "$root/build/bin/qemb" ladder $rows --seeds 1 $json
    code=$?
    rm -rf "$model"
    return $code
}

# A kernel cache of its own, made anew when the last run did not end well: it may be half written.
POCL_CACHE_DIR=${POCL_CACHE_DIR:-$root/build/bench-cache}
export POCL_CACHE_DIR
mine=$root/build/bench-cache
[ -e "$mine/ended-well" ] || rm -rf "$mine"
mkdir -p "$mine" "$POCL_CACHE_DIR"
rm -f "$mine/ended-well"
if [ "${1:-}" = "--full" ]; then
    shift
    "$root/build/bin/qemb" bench --full "$root/bench" "$@"
else
    "$root/build/bin/qemb" demo "$@" && quality "$@"
fi
status=$?
[ $status = 0 ] && : >"$mine/ended-well"
exit $status
