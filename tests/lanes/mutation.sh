#!/bin/sh
# mutation.sh - changes the library a token at a time and asks the tests whether they notice (tests/mutation/mutate.py).
# sh tests/run.sh --mutation [FILE...]: every mutant of these files (all: hours). With the other lanes: a sample of 16 of the
# quick files, 400 of everything with --nightly.
# needs: python3 python3
# needs: ninja ninja-build
set -u
case ${QEMB_MUTATE:-} in
"") if [ -n "${QEMB_NIGHTLY:-}" ]; then set -- --sample 400; else set -- --sample 16 --seed 2 src/base src/reference src/core/batch.c; fi ;;
all) set -- ;;
*)
    # shellcheck disable=SC2086
    set -- ${QEMB_MUTATE#all}
    ;;
esac
exec python3 tests/mutation/mutate.py "$@"
