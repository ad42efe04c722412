# doxygen.awk - the filter of doxygen.sh: comments of a header become documentation blocks, shown as they are typeset.
function escaped(text) {
    gsub(/@|\\/, "\\\\&", text)
    gsub(/[<>&#%"]/, "\\\\&", text)
    return text
}

# A block that begins a line: verbatim, so that formulas and tables stay.
/^\/\*/ && !inside {
    first = FNR == 1
    inside = 1
    text = ""
    sub(/^\/\* ?/, "")
}
inside {
    line = $0
    end = index(line, "*/")
    rest = end ? substr(line, end + 2) : ""
    if (end) line = substr(line, 1, end - 1)
    if (!first || FNR > 1) sub(/^ \*( |$)/, "", line)
    if (line ~ /^ *@(end)?code/) line = ""
    text = text line "\n"
    if (!end) next
    inside = 0
    if (text ~ /^-+\n/) {
        n = split(text, part, "\n")
        print "/* " part[2] " */" rest
        next
    }
    name = FILENAME
    sub(/.*\//, "", name)
    printf "/** %s@verbatim\n%s@endverbatim */%s\n", first ? "@file " name "\n" : "", text, rest
    next
}
# A comment behind a declaration.
match($0, /[;,{0-9A-Za-z)] +\/\* .* \*\/$/) {
    at = index($0, "/* ")
    comment = substr($0, at + 3, length($0) - at - 5)
    print substr($0, 1, at - 1) "/**< " escaped(comment) " */"
    next
}
{ print }
