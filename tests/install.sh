#!/bin/sh
# install.sh - an installed qemb serves projects outside the tree, and goes away again.     sh tests/install.sh BUILD_FOLDER
# CMake and pkg-config, C and C++, shared and static, warnings as errors; on the reference engine, on the tests' OpenCL device, and with no
# OpenCL to be found at run time.
set -u
build=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
status=0

fail() {
    echo "install: $*"
    status=1
}

# expect NAME WANT_STATUS WANT_TEXT COMMAND...: the command ends so, and its output holds the text.
expect() {
    name=$1
    want=$2
    text=$3
    shift 3
    got=$("$@" 2>&1)
    code=$?
    [ $code = "$want" ] || fail "$name: exit code $code, want $want: $got"
    case $got in
    *"$text"*) ;;
    *) fail "$name: says \"$got\", want \"$text\"" ;;
    esac
}

run_program() {
    expect "$1 on the reference engine" 0 "$sum" "$1" reference
    expect "$1 on OpenCL" 0 "$sum" "$1" opencl
    expect "$1 without OpenCL" 3 "OpenCL cannot be loaded" env QEMB_OPENCL_LIBRARY=/nowhere/libOpenCL.so.1 "$1"
    expect "$1 without OpenCL, on the reference engine" 0 "$sum" env QEMB_OPENCL_LIBRARY=/nowhere/libOpenCL.so.1 "$1" reference
}
sum='6.000 8.000'

prefix=$work/a\ folder/usr
cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
lib=$(dirname "$(find "$prefix" -name libqemb.so)")
manifest=$(wc -l <"$build/install_manifest.txt")
[ -L "$lib/libqemb.so" ] || fail "libqemb.so is not a link"
objdump -p "$lib/libqemb.so" | grep -q 'SONAME *libqemb\.so\.[0-9]*$' || fail "libqemb.so has no versioned SONAME"
objdump -p "$lib/libqemb.so" | grep 'NEEDED' | grep -q OpenCL && fail "libqemb.so is linked to OpenCL"
[ -s "$prefix/share/man/man1/qemb.1" ] || fail "no manual page"
expect "the installed program" 0 "qemb " "$prefix/bin/qemb" --version

cmake -S "$here/consumer" -B "$work/consumer" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_FLAGS='-Wall -Wextra -Werror' \
    -DCMAKE_CXX_FLAGS='-Wall -Wextra -Werror' >"$work/log" 2>&1 && cmake --build "$work/consumer" >>"$work/log" 2>&1 ||
    { cat "$work/log"; fail "the consumer does not build with CMake"; }
for program in c_qemb c_qemb_static cxx_qemb cxx_qemb_static; do
    run_program "$work/consumer/$program"
done

# As in the README: one compiler line with what pkg-config says. Its answer is split by eval, for the folder's name holds a space.
PKG_CONFIG_PATH=$lib/pkgconfig
export PKG_CONFIG_PATH
eval "cc -Wall -Werror -o \"$work/pc_c\" \"$here/consumer/consumer.c\" $(pkg-config --cflags --libs qemb)" || fail "pkg-config, C"
eval "c++ -Wall -Werror -o \"$work/pc_cxx\" \"$here/consumer/consumer.cc\" $(pkg-config --cflags --libs qemb)" || fail "pkg-config, C++"
eval "cc -o \"$work/pc_static\" \"$here/consumer/consumer.c\" \"$lib/libqemb.a\" \
    $(pkg-config --cflags qemb) $(pkg-config --static --libs-only-l --libs-only-other qemb | sed 's/-lqemb//')" || fail "pkg-config, static"
LD_LIBRARY_PATH=$lib
export LD_LIBRARY_PATH
run_program "$work/pc_c"
run_program "$work/pc_cxx"
run_program "$work/pc_static"

cmake --build "$build" --target uninstall >"$work/log" 2>&1 || { cat "$work/log"; fail "uninstall"; }
left=$(find "$prefix" ! -type d | head -3)
[ -z "$left" ] || fail "left after uninstall: $left"
[ $status = 0 ] && echo "install: $manifest files, 7 programs, 28 runs, nothing left"
exit $status
