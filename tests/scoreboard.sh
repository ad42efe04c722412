#!/bin/sh
# scoreboard.sh - the table of reliability rows from the lines that a run left.     sh tests/scoreboard.sh FILE
# A row without a line is red (not produced), except R27 where no GPU is. One red row gives exit status 1.
set -u
here=$(dirname "$0")
lines=${1:?usage: sh tests/scoreboard.sh FILE}
[ -r "$lines" ] || { echo "scoreboard: no lines in $lines" >&2; lines=/dev/null; }
awk -F '\t' -v OFS='' '
    produced { # what the run produced: figures of a row in order, each once
        if (NF < 3 || $1 !~ /^R[0-9]+$/ || ($3 != "ok" && $3 != "red" && $3 != "none")) {
            print "scoreboard: not a line of the protocol: " $0 > "/dev/stderr"; malformed = 1; next
        }
        text = $2 ($4 == "" ? "" : " (" $4 ")")
        if (!(($1, text, $3) in seen)) {
            seen[$1, text, $3] = 1
            figure[$1] = figure[$1] (figure[$1] == "" ? "" : "; ") ($3 == "red" ? "RED: " : "") text
        }
        if (state[$1] != "red" && !(state[$1] == "ok" && $3 == "none")) state[$1] = $3
        next
    }
    /^#/ { next }
    {
        known[$1] = 1
        if (!($1 in state)) { state[$1] = $1 == "R27" ? "none" : "red"; figure[$1] = $1 == "R27" ? "no GPU here: does not apply" : "not produced in this run" }
        word = state[$1] == "none" ? "n/a" : state[$1]
        count[word]++
        printf "%-4s %-4s %s\n          figure   %s\n          target   %s\n          anchor   %s\n", $1, word, $2, figure[$1], $3, $4
    }
    END {
        for (row in state) if (!(row in known)) { print "scoreboard: no such row: " row > "/dev/stderr"; malformed = 1 }
        printf "scoreboard: %d ok, %d red, %d not applicable\n", count["ok"], count["red"], count["n/a"]
        exit (count["red"] > 0 || malformed) ? 1 : 0
    }' produced=1 "$lines" produced=0 "$here/scoreboard.tsv"
