# calls.awk - reads headers, prints for each function that returns a status what stands in its place where the linker bends calls (--wrap):
# in the program of faulty.c the public functions, in test_fault_calls.c those inside the library too.   awk -f calls.awk HEADERS
FNR == 1 && FILENAME ~ /\/src\// {
    header = FILENAME
    sub(/^.*\/src\//, "", header)
    printf "#include \"%s\"\n", header
}
# These hand a failure on, or take over what was begun.
/qemb__(fail|fail_in|named|lose|settle|contents_add|contents_add_text|cl_fail|cl_enqueued|cl_waited)\(/ { next }
/qemb__scan_/ { next } # the second look at a header that was found good
/^(QEMB_API )?qemb_status qemb_/ { inside = 1; text = "" }
inside {
    line = $0
    sub(/\/\*.*$/, "", line)
    text = text " " line
    if (line !~ /;/) next
    inside = 0
    gsub(/[ \t]+/, " ", text)
    open = index(text, "(")
    name = substr(text, 1, open - 1)
    sub(/^.* /, "", name)
    params = substr(text, open + 1)
    sub(/\) *;.*$/, "", params)
    names = ""
    count = split(params, part, ",")
    for (i = 1; i <= count; i++) {
        one = part[i]
        sub(/\[[^]]*\]$/, "", one)
        sub(/^.*[ *]/, "", one)
        names = names (i > 1 ? ", " : "") one
    }
    quick = "" # by itself the bandwidth is measured for half a second
    if (name == "qemb_context_copy_bandwidth") quick = "    if (bytes == 0) {\n        *gbps = 10.0;\n        return QEMB_OK;\n    }\n"
    # the devices' visitor is the program's: its calls count
    deeper = name == "qemb_devices" ? "" : "    depth++;\n"
    back = name == "qemb_devices" ? "" : "    depth--;\n"
    if (name ~ /^qemb__(reference|opencl)_open$/) back = back "    bend_engine(ctx, st);\n" # its operations can fail too
    printf "qemb_status __real_%s(%s);\nqemb_status __wrap_%s(%s);\nqemb_status __wrap_%s(%s) {\n", name, params, name, params, name, params
    printf "    if (fails(\"%s\")) {\n        return planted(\"%s\");\n    }\n%s%s", name, substr(name, 6), quick, deeper
    printf "    const qemb_status st = __real_%s(%s);\n%s    return st;\n}\n\n", name, names, back
}
