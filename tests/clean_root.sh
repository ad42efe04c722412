#!/bin/sh
# clean_root.sh - what the README shows, as it stands, in an empty Debian 12 that has nothing but its package manager.
#     sh tests/clean_root.sh [--fast] FOLDER          as root; needs mmdebstrap, unshare, 6 GB in FOLDER, which must not exist yet
#
# Every block after `<!-- run: NAME -->` is cut out of README.md and run by `sh -e` in one root, in their order, timed. The Debian packages
# are then installed in a second empty root, where the program, the manual page and the examples run. $QEMB_ROOT_TAR names an archive of such a
# root that was made before. --fast builds without the tests instead of the two commands, which take half an hour.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
fast=no
if [ "${1:-}" = --fast ]; then
    fast=yes
    shift
fi
[ $# = 1 ] && [ ! -e "$1" ] || { echo "usage: sh tests/clean_root.sh [--fast] FOLDER_TO_MAKE" >&2; exit 2; }
mkdir -p "$1" || exit 2
work=$(cd "$1" && pwd)
status=0
report=

# new_root NAME: an empty Debian in $work/NAME
new_root() {
    mkdir "$work/$1" && tar -C "$work/$1" -xf "$archive" || exit 1
    cp /etc/resolv.conf "$work/$1/etc/resolv.conf" 2>/dev/null
}

# inside NAME SCRIPT: runs it in the root; the mounts are those of its own process and end with it
inside() {
    unshare --mount --propagation private sh -c '
        for folder in proc dev sys; do mount --rbind /$folder "$0/$folder" || exit 1; done
        exec chroot "$0" env -u CC -u OCL_ICD_VENDORS -u POCL_CACHE_DIR -u QEMB_DEVICE HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
            sh -e -c "$1"' "$work/$1" "$2"
}

# step NAME ROOT SCRIPT: runs, times, remembers
step() {
    began=$(date +%s)
    if inside "$2" "$3" >"$work/$1.log" 2>&1; then
        word=passed
    else
        word=FAILED
        status=1
        tail -n 30 "$work/$1.log"
    fi
    took=$(($(date +%s) - began))
    report="$report
   $1: $word, $((took / 60)) min $((took % 60)) s"
    echo "== $1: $word, $took s"
    [ $word = passed ]
}

# The block of README.md that is marked with this name.
block() {
    awk -v mark="<!-- run: $1 -->" '$0 == mark { ours = 1 } /^```/ && ours { if (inside) exit; inside = 1; next } inside' "$here/README.md"
}

finish() {
    echo "== summary$report"
    exit $status
}

archive=${QEMB_ROOT_TAR:-$work/debian.tar}
[ -e "$archive" ] || mmdebstrap --variant=apt bookworm "$archive" || exit 1
new_root source
git -C "$here" archive --prefix=root/qemb/ HEAD | tar -C "$work/source" -xf - || exit 1
for name in $(sed -n 's/^<!-- run: \(.*\) -->$/\1/p' "$here/README.md"); do
    script=$(block "$name")
    [ -n "$script" ] || { echo "clean_root: README.md has no block $name"; exit 1; }
    case $fast,$name in
    yes,commands) script='sh tests/run.sh --build-only' ;;
    esac
    step "$name" source "cd /root/qemb
$script" || finish
done

new_root packages
cp "$work"/source/root/qemb/build/*.deb "$work/packages/root/" && cp -R "$here/bench/examples" "$work/packages/root/" || exit 1
step deb packages 'apt-get update -q
apt-get install -q -y --no-install-recommends /root/*.deb
qemb --version
qemb devices
qemb demo --scale 0.0001 --rows 1237 --device reference
test -s /usr/share/man/man1/qemb.1* -o -e /etc/dpkg/dpkg.cfg.d/excludes' || finish
step deb_with_opencl packages 'apt-get install -q -y --no-install-recommends pocl-opencl-icd opencl-c-headers gcc g++ libc6-dev pkg-config ocl-icd-opencl-dev
cd /root/examples
qemb demo --scale 0.0001 --rows 1237
for source in *.c *.cc; do
    case $source in *.c) compiler=cc ;; *) compiler=c++ ;; esac
    $compiler -o ${source%.*} $source $(pkg-config --cflags --libs qemb) $(sed -n "s/.*include <qemb.qemb_opencl.h>.*/-lOpenCL/p" $source)
    echo "-- $source"
    ./${source%.*}
    QEMB_DEVICE=reference ./${source%.*}
done
apt-get purge -q -y qemb libqemb-dev libqemb0
! test -e /usr/bin/qemb' || finish
finish
