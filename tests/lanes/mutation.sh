#!/bin/sh
# mutation.sh - changes the library a token at a time and asks the tests whether they notice (tests/mutation/mutate.py).
# sh tests/run.sh --mutation [FILE...]: every mutant of these files (all: hours). With the other lanes: a sample of 400 of src/base and src/io
# shown to the tests that need no device (eight minutes), with --nightly 2,000 of src/ shown to all.
# needs: python3 python3
# needs: ninja ninja-build
# needs: clang clang
set -u
case ${QEMB_MUTATE:-} in
"") if [ -n "${QEMB_NIGHTLY:-}" ]; then set -- --sample 2000 src; else set -- --quick --sample 400 src/base src/io; fi ;;
all) set -- ;;
*)
    # shellcheck disable=SC2086
    set -- ${QEMB_MUTATE#all}
    ;;
esac
exec python3 tests/mutation/mutate.py "$@"
