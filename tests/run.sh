#!/bin/sh
# run.sh - installs what is missing, builds, runs every test.      sh tests/run.sh [options]
usage() {
    cat <<'USAGE'
usage: sh tests/run.sh [options]
  (none)        what a change must pass: release build and its tests, clang's warnings, the tests under the address sanitizer, style
  --release     only the release build (build/) and its tests
  --clang       only the build with clang (build-clang/)
  --asan        only the tests under the address, undefined and leak sanitizers (build-asan/)
  --tsan        only the tests under the thread sanitizer (build-tsan/)
  --coverage    only the tests with lines and branches counted (build-coverage/), against tests/coverage_exceptions.txt
  --NAME        only the lane tests/lanes/NAME.sh (its first lines say what it does)
  --mutation [FILE...]  only the mutation lane, the full pass over these files (none named: all)
  --scoreboard  every lane, then the table of reliability rows (tests/README.md); a red row gives exit status 1
  --nightly     every lane, with the long forms of the tests (QEMB_NIGHTLY=1); with --scoreboard the table too
  --build-only  the release build and its test programs (build/); runs none
  --no-install  install nothing; say what is missing and stop
Lanes add up: `--asan --tsan` runs both. On Debian and Ubuntu missing packages come from apt, with sudo when you are not root.
USAGE
}
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
cd "$root" || exit 2

lanes=
install=yes
tests=yes
scoreboard=no
mutate=
# Every lane there is: the built-in ones, then the scripts of tests/lanes.
every_lane() {
    echo release clang asan tsan coverage
    for script in tests/lanes/*.sh; do
        [ -e "$script" ] && basename "$script" .sh
    done
}
for option in "$@"; do
    case $option in
    --release | --clang | --asan | --tsan | --coverage) lanes="$lanes ${option#--}" ;;
    --nightly)
        lanes=$(every_lane)
        QEMB_NIGHTLY=1
        export QEMB_NIGHTLY
        ;;
    --scoreboard)
        lanes=$(every_lane)
        scoreboard=yes
        ;;
    --mutation)
        lanes="$lanes mutation"
        mutate=all
        ;;
    --build-only)
        lanes=release
        tests=no
        ;;
    --no-install) install=no ;;
    -h | --help)
        usage
        exit 0
        ;;
    --*)
        if [ ! -e "tests/lanes/${option#--}.sh" ]; then
            echo "run.sh: unknown option $option" >&2
            usage >&2
            exit 2
        fi
        lanes="$lanes ${option#--}"
        ;;
    *)
        if [ -z "$mutate" ]; then
            echo "run.sh: unknown option $option" >&2
            usage >&2
            exit 2
        fi
        mutate="$mutate $option"
        ;;
    esac
done
QEMB_MUTATE=$mutate
export QEMB_MUTATE
if [ $scoreboard = yes ]; then
    mkdir -p build
    QEMB_SCOREBOARD=$root/build/scoreboard.tsv
    export QEMB_SCOREBOARD
    : >"$QEMB_SCOREBOARD"
fi
if [ -z "$lanes" ]; then
    lanes="release clang asan style"
    QEMB_STYLE=changed
    export QEMB_STYLE
fi

# ---- what is needed --------------------------------------------------------------------------------------------------------
has() { command -v "$1" >/dev/null 2>&1; }
has_module() { has pkg-config && pkg-config --exists "$1"; }
has_header() { echo "#include <$1>" | gcc -E -x c - >/dev/null 2>&1; }

# Prints the packages whose contents are not there.
missing_packages() {
    has gcc || echo gcc
    has_header stdio.h || echo libc6-dev
    has g++ || echo g++
    has clang || echo clang
    has cmake || echo cmake
    has ninja || echo ninja-build
    has make || echo make # a project of a user's own, as CMake builds it when nothing else is said
    has pkg-config || echo pkg-config
    has_header CL/cl.h || echo opencl-c-headers
    has_module OpenCL || echo ocl-icd-opencl-dev
    [ -e "${QEMB_TEST_ICD:-/etc/OpenCL/vendors/pocl.icd}" ] || echo pocl-opencl-icd
    has_module criterion || echo libcriterion-dev
    has_module clblast || echo libclblast-dev
    has_module jansson || echo libjansson-dev
    has_module zlib || echo zlib1g-dev
    case " $lanes " in
    *" coverage "*) has python3 || echo python3 ;;
    esac
    # a lane script names what it needs:  # needs: COMMAND PACKAGE
    for lane in $lanes; do
        [ -e "tests/lanes/$lane.sh" ] && sed -n 's/^# needs: //p' "tests/lanes/$lane.sh" | while read -r tool package; do
            case $tool in
            /*) [ -e "$tool" ] || echo "$package" ;;
            *) has "$tool" || echo "$package" ;;
            esac
        done
    done
}

install_missing() {
    packages=$(missing_packages | tr '\n' ' ')
    [ -z "$packages" ] && return 0
    if [ $install = no ]; then
        echo "run.sh: missing (names of Debian and Ubuntu): $packages" >&2
        return 1
    fi
    if ! has apt-get; then
        echo "run.sh: no apt here; please install what Debian and Ubuntu call: $packages" >&2
        return 1
    fi
    as_root=
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        if ! has sudo; then
            echo "run.sh: not root and no sudo; please have these installed: $packages" >&2
            return 1
        fi
    fi
    echo "== install: ${as_root:+$as_root }apt-get install $packages"
    $as_root apt-get update -q &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages || return 1
    packages=$(missing_packages | tr '\n' ' ')
    [ -z "$packages" ] && return 0
    echo "run.sh: still missing after the installation: $packages" >&2
    return 1
}

# ---- lanes -----------------------------------------------------------------------------------------------------------------
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# configure FOLDER ARGUMENTS...: a folder that cannot be configured (moved, half written, another CMake's) is made anew, once.
configure() {
    folder=$1
    shift
    if [ -e "$folder/CMakeCache.txt" ]; then
        cmake -S . -B "$folder" "$@" >"$folder/configure.log" 2>&1 && return 0
        echo "   $folder cannot be used as it is: making it anew"
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    cmake -S . -B "$folder" -G Ninja "$@" >"$folder/configure.log" 2>&1 && return 0
    cat "$folder/configure.log"
    return 1
}

build() {
    cmake --build "$1" -j "$cores" >"$1/build.log" 2>&1 && return 0
    cat "$1/build.log"
    return 1
}

# run_tests FOLDER [ARGUMENTS of ctest...]
run_tests() {
    tested=$1
    shift
    # Kernels of versions long gone: a run needs about 1100 programs.
    [ "$(find "$tested/pocl-cache/finished" -name program.bc 2>/dev/null | wc -l)" -lt 4000 ] || rm -rf "$tested/pocl-cache"
    # Criterion is slow where the limit of open files is huge.
    (ulimit -n 1024 2>/dev/null; cd "$tested" && ctest -j "$cores" "$@" --no-tests=error --output-on-failure) >"$tested/tests.log" 2>&1
    status=$?
    ended=$(grep -c ' Passed  ' "$tested/tests.log")
    passed=$((passed + ended))
    ended=$(grep -c '[*][*][*]' "$tested/tests.log")
    broken=$((broken + ended))
    if [ $status = 0 ]; then
        tail -n 3 "$tested/tests.log"
    else
        cat "$tested/tests.log"
    fi
    return $status
}

# board ROW FIGURE STATUS DETAIL: a line for the scoreboard; status 0 is good
board() {
    [ $scoreboard = no ] || printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$([ "$3" = 0 ] && echo ok || echo red)" "$4" >>"$QEMB_SCOREBOARD"
}

# The tests twice over one count: without those that make calls fail, then those alone, every way to every call. What only they reach is row R20.
covered_tests() {
    find build-coverage -name '*.gcda' -exec rm -f {} +
    fault='test_fault|test_program|test_io_nomem|test_io_crash'
    figures=${QEMB_SCOREBOARD:-}
    QEMB_SCOREBOARD= # the tests' own figures are those of the release
    QEMB_ALL_WAYS=1
    export QEMB_ALL_WAYS
    run_tests build-coverage -E "$fault" && python3 tests/coverage.py build-coverage --save build-coverage/without_faults.json &&
        run_tests build-coverage -R "$fault"
    status=$?
    unset QEMB_ALL_WAYS
    QEMB_SCOREBOARD=$figures
    [ $status = 0 ] || return 1
    python3 tests/coverage.py build-coverage --missing --without build-coverage/without_faults.json >build-coverage/coverage.log
    status=$?
    grep -E '^ |^R|exception for' build-coverage/coverage.log
    echo "   what was never run: build-coverage/coverage.log"
    return $status
}

# The kernels of a lane are those of the release: what its tests compiled needs no second compiling, which is most of a lane's time.
take_kernel_cache() {
    mkdir -p build/pocl-cache/finished "$1/pocl-cache" || return 1
    cp -Rnl build/pocl-cache/finished "$1/pocl-cache" 2>/dev/null # an old one is added to, which some versions of cp call a failure
    return 0
}

# instrumented LANE SANITIZERS ARGUMENTS of ctest...: a debug build in build-LANE and its tests
instrumented() {
    lane_folder=build-$1
    sanitizers=$2
    shift 2
    # Lines are what a report needs: without the variables a fifth less to compile, and half as much to link.
    CC=gcc configure "$lane_folder" -DCMAKE_BUILD_TYPE=Debug -DQEMB_OPTIONS=-g1 "-DQEMB_SANITIZE=$sanitizers" && build "$lane_folder" &&
        take_kernel_cache "$lane_folder" && run_tests "$lane_folder" "$@"
    lane_status=$?
    board R17 "$(grep -c ' Passed  ' "$lane_folder/tests.log") test programs, $(grep -c '[*][*][*]' "$lane_folder/tests.log") with reports" \
        $lane_status "gcc, $sanitizers"
    return $lane_status
}

run_lane() {
    case $1 in
    release) CC=gcc configure build -DCMAKE_BUILD_TYPE=Release && build build && { [ $tests = no ] || run_tests build; } ;;
    clang) CC=clang configure build-clang -DCMAKE_BUILD_TYPE=Release -DQEMB_OPTIONS=-g0 && build build-clang ;;
    asan) instrumented asan address,undefined,leak ;;
    tsan)
        # The table's fast form runs what has threads of its own; the lane by itself, and at night, all.
        if [ $scoreboard = yes ] && [ -z "${QEMB_NIGHTLY:-}" ]; then
            instrumented tsan thread -R 'test_threads|test_context|test_interop|test_io_feed|soak'
        else
            instrumented tsan thread
        fi
        ;;
    coverage)
        CC=gcc configure build-coverage -DCMAKE_BUILD_TYPE=Release "-DQEMB_OPTIONS=-O0;-g1" -DQEMB_COVERAGE=ON &&
            build build-coverage && take_kernel_cache build-coverage && covered_tests
        ;;
    *) sh "tests/lanes/$1.sh" ;;
    esac
}

install_missing || exit 1
began=$(date +%s)
summary=
failed=0
passed=0
broken=0
for lane in $lanes; do
    echo "== $lane"
    lane_began=$(date +%s)
    if run_lane "$lane"; then
        word=passed
    else
        word=FAILED
        failed=1
    fi
    summary="$summary
   $lane: $word, $(($(date +%s) - lane_began)) s"
done
[ $tests = no ] && [ $failed = 0 ] && exit 0
echo "== summary, $(($(date +%s) - began)) s$summary"
[ $failed = 0 ] || echo "   something FAILED: see above"
echo "$passed passed, $broken failed"
if [ $scoreboard = yes ]; then
    sh tests/scoreboard.sh "$QEMB_SCOREBOARD" || failed=1
fi
exit $failed
