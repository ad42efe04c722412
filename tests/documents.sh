#!/bin/sh
# documents.sh - what README.md, ARCHITECTURE.md, CHANGELOG.md and the headers show is true.     sh tests/documents.sh BUILD_FOLDER
#
#   blocks   after `<!-- file: X -->` a block is the file X without its first line; after `<!-- output: X -->` it is what the program of X
#            prints; every other C block, and every @code of a header, compiles
#   header   the program at the top of qemb.h is the README's
#   links    a relative link names a file that exists, and an anchor a heading
#   names    a file or folder named in `code` in ARCHITECTURE.md exists
#   format   src/io/format.md has every field and word of the texts that src/io/state_texts.c writes
#   shell    a `sh` block uses no option of a script or program that its --help does not know
set -u
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/.." || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
LC_ALL=C
export LC_ALL
status=0

fail() {
    echo "documents: $*"
    status=1
}

# Writes the blocks of a page to $work/N.LANGUAGE, and the marker before each to $work/N.marker.
blocks_of() {
    rm -f "$work"/*
    awk -v work="$work" '
        /^<!-- .* -->$/ { marker = $0; next }
        /^```/ && !inside { inside = 1; n++; language = substr($0, 4); if (language == "") language = "text"
                            file = work "/" n "." language; printf "" >file; print marker >(work "/" n ".marker"); marker = ""; next }
        /^```/ { inside = 0; close(file); next }
        inside { print >file }
        !inside && NF { marker = "" }' "$1"
}

compile() { # FILE NAME
    "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c -Iinclude -I"$build/include" "$1" >"$work/log" 2>&1 ||
        { fail "$2 does not compile"; cat "$work/log"; }
}

check_blocks() { # PAGE
    blocks_of "$1"
    for marker in "$work"/*.marker; do
        [ -e "$marker" ] || continue
        block=$(ls "${marker%.marker}".* | grep -v marker)
        file=$(sed -n 's/^<!-- [a-z]*: \(.*\) -->$/\1/p' "$marker")
        case $(cat "$marker") in
        '<!-- file: '*) sed 1d "$file" | cmp -s - "$block" || fail "$1: a block differs from $file" ;;
        '<!-- output: '*)
            name=$(basename "$file" .c)
            "$build/examples/$name" >"$work/out" 2>"$work/log"
            cmp -s "$work/out" "$block" || { fail "$1: $name prints something else:"; diff "$block" "$work/out"; } ;;
        *) case $block in *.c) compile "$block" "a block of $1" ;; esac ;;
        esac
    done
}

# Blocks between @code and @endcode of a header, each a file.
check_header() {
    rm -f "$work"/*
    awk -v work="$work" '
        /@endcode/ { inside = 0 }
        inside { sub(/^ \* ?/, ""); print >file }
        /@code/ { inside = 1; file = work "/" ++n ".c"; printf "" >file }' "$1"
    for block in "$work"/*.c; do
        [ -e "$block" ] && compile "$block" "an example in $1"
    done
    if [ "$1" = include/qemb/qemb.h ]; then
        sed 1d bench/examples/train_a_bag.c | cmp -s - "$work/1.c" || fail "the program in qemb.h differs from bench/examples/train_a_bag.c"
    fi
}

# Headings as anchors, the way the usual renderers make them.
anchors_of() {
    awk '/^```/ { inside = !inside } !inside && /^#+ / { sub(/^#+ /, ""); $0 = tolower($0); gsub(/[^a-z0-9 _-]/, ""); gsub(/ /, "-"); print }' "$1"
}

check_links() {
    awk '/^```/ { inside = !inside } !inside' "$1" | grep -o '](\([^)]*\))' | sed 's/^](//; s/)$//' | sort -u | while read -r link; do
        case $link in
        http://* | https://*) continue ;;
        '#'*) target=$1 ;;
        *) target=${link%%#*} ;;
        esac
        [ -e "$target" ] || echo "$1: the link $link leads nowhere"
        case $link in
        *'#'*) anchors_of "$target" | grep -qx -e "${link#*#}" || echo "$1: no heading for the link $link" ;;
        esac
    done >"$work.links"
    [ -s "$work.links" ] && { cat "$work.links"; status=1; }
    rm -f "$work.links"
}

# `path/file.c` in the text of a page must exist, from the top, from src or from kernels_cl.
check_names() {
    awk '/^```/ { inside = !inside } !inside' "$1" | grep -o '`[a-z_0-9/]*/[a-z_0-9.]*`' | tr -d '`' | sort -u | while read -r name; do
        for folder in . src kernels_cl include; do
            [ -e "$folder/$name" ] && continue 2
        done
        case $name in build/*) continue ;; esac
        echo "$1: names $name, which is not there"
    done >"$work.names"
    [ -s "$work.names" ] && { cat "$work.names"; status=1; }
    rm -f "$work.names"
}

# Fields are `TYPE(T, name` and words the strings of the lists before them; both stand in `code` on the page.
check_format() {
    { grep -o '\(INTEGER\|WORD\|FLAG\|REAL\|TEXT\)(T, [a-z_0-9]*' src/io/state_texts.c | sed 's/.*, //'
      sed -n '/^static const char/,/;$/p' src/io/state_texts.c | grep -o '"[a-z_0-9]*"' | tr -d '"'; } | sort -u | while read -r name; do
        grep -q -F "\`$name\`" src/io/format.md || echo "src/io/format.md: lacks $name"
    done >"$work.format"
    [ -s "$work.format" ] && { cat "$work.format"; status=1; }
    rm -f "$work.format"
}

# Every --option in a line of a sh block, and in the README's table of figures, is known to the --help of what it is given to.
check_options() {
    { awk '/^```sh/ { inside = 1; next } /^```/ { inside = 0 } inside' README.md
      grep -o '`\(build/bin/qemb\|bench\|demo\|train\|serve-check\|ladder\|tune\|convert\|inspect\|lookup\) [^`]*`' README.md | tr -d '`' |
          sed 's/^build\/bin\/qemb //; s/^/build\/bin\/qemb /'; } | sed 's/ *#.*//' | grep 'bin/qemb [a-z]' | sort -u | while read -r line; do
        words=${line##*bin/qemb }
        command=${words%% *}
        "$build/bin/qemb" "$command" --help >"$work.help" 2>&1 || { echo "README.md: qemb has no command $command"; continue; }
        for word in $words; do
            case $word in
            --*) grep -q -e "$word\b" "$work.help" || echo "README.md: qemb $command has no option $word" ;;
            esac
        done
    done >"$work.options"
    [ -s "$work.options" ] && { cat "$work.options"; status=1; }
    rm -f "$work.options" "$work.help"
}

for page in README.md ARCHITECTURE.md CHANGELOG.md tests/README.md; do
    [ -e "$page" ] || continue
    [ "$page" = tests/README.md ] || check_links "$page"
    check_blocks "$page"
done
check_names ARCHITECTURE.md
check_format
for header in include/qemb/*.h; do
    check_header "$header"
done
check_options
[ $status = 0 ] && echo "documents: blocks, links, names and options are as they stand"
exit $status
