# kernels.awk - reads preprocessed OpenCL C, prints for each kernel how to call it from an array of pointers to its arguments:
#   native_call_NAME(args), native_count_NAME(), native_size_NAME(i) (0 for __local memory), native_waits() whether there are barriers.
/^#/ { next }
{ text = text " " $0 }
END {
    waits = gsub(/native_barrier[ \t]*\(/, "&", text) > 1
    while ((at = match(text, /(^|[^A-Za-z0-9_])(__kernel|kernel)[ \t]+/)) > 0) {
        text = substr(text, at + RLENGTH)
        head = text
        # attributes may stand before the name
        while (match(head, /^[ \t]*(__attribute__|__attribute)[ \t]*/)) {
            head = substr(head, RLENGTH + 1)
            depth = 0
            for (i = 1; i <= length(head); i++) {
                c = substr(head, i, 1)
                depth += (c == "(") - (c == ")")
                if (depth == 0) break
            }
            head = substr(head, i + 1)
        }
        open = index(head, "(")
        name = substr(head, 1, open - 1)
        gsub(/[ \t]+$/, "", name)
        sub(/^.*[ \t]/, "", name)
        depth = 1
        count = 0
        part = ""
        for (i = open + 1; depth > 0; i++) {
            c = substr(head, i, 1)
            depth += (c == "(") - (c == ")")
            if (depth == 0 || (depth == 1 && c == ",")) {
                sub(/[ \t]+$/, "", part)
                sub(/[A-Za-z_0-9]+$/, "", part)
                type[count++] = part
                part = ""
            } else part = part c
        }
        call = ""
        sizes = ""
        for (k = 0; k < count; k++) {
            is_local = type[k] ~ /(^|[ \t])(__local|local)[ \t]/
            # an argument is a private copy: `T *p` is read through a pointer to a pointer
            call = call (k ? ", " : "") "*(" type[k] " __private *)args[" k "]"
            sizes = sizes "    case " k ": return " (is_local ? "0" : type[k] ~ /\*/ ? "~0u" : "(uint)sizeof(" type[k] ")") ";\n"
        }
        printf "void native_call_%s(__private void *__private *args) {\n    %s(%s);\n}\n", name, name, call
        printf "uint native_count_%s(void) {\n    return %d;\n}\n", name, count
        printf "uint native_size_%s(uint i) {\n    switch (i) {\n%s    default: return 1;\n    }\n}\n", name, sizes
    }
    printf "uint native_waits(void) {\n    return %d;\n}\n", waits
}
