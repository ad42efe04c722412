#!/bin/sh
# man.sh - writes the manual page of `qemb` from what the program says of itself.     sh src/cli/man.sh build/bin/qemb qemb.1
# One section a command, the text of its --help as it stands: the page cannot fall behind the program.
set -u
program=$1
page=$2
escape() {
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/'/\\\\(aq/g" -e 's/^\./\\\&./'
}
verbatim() {
    printf '.nf\n'
    escape
    printf '.fi\n'
}
{
    version=$("$program" --version) || exit 1
    printf '.TH QEMB 1 "" "%s" "User Commands"\n' "$version"
    printf '.SH NAME\nqemb \\- quantised embedding tables on any OpenCL device\n'
    printf '.SH SYNOPSIS\n.B qemb\n.I COMMAND\n[\\fIoptions\\fR]\n'
    printf '.SH DESCRIPTION\n'
    "$program" --help | sed 1,2d | verbatim
    for command in $("$program" --help | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p'); do
        [ "$command" = qemb ] && continue
        printf '.SH "QEMB %s"\n' "$(echo "$command" | tr a-z- A-Z-)"
        "$program" "$command" --help | verbatim
    done
    printf '.SH SEE ALSO\nqemb/qemb.h, the manual of the library.\n'
} >"$page.new" && mv "$page.new" "$page"
