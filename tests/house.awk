# house.awk - reads C and OpenCL sources, prints one line a broken rule: `rule: path:line: what`. Run by house.sh from the top folder.
#
# It does not know C: it drops comments, strings and preprocessor lines, then follows brackets. A statement outside braces that ends in
# `){` begins a function, one that ends in `);` is a prototype; the last bracket of either holds the parameters. In a kernel file the
# preprocessor chooses among forms of a function, and its lines are not counted; the arguments of kernels, and of OpenCL's own calls, are by their nature many.

function broken(rule, line, what) {
    printf "%s: %s:%d: %s\n", rule, file, line, what
}

# The part of the house that a path belongs to.
function area_of(path) {
    if (path ~ /^include\/qemb\//) return "public"
    if (path ~ /^kernels_cl\// || path ~ /\.cl$/) return "kernels"
    if (match(path, /^src\/[a-z]+\//)) return substr(path, 5, RLENGTH - 5)
    if (path ~ /^bench\//) return "bench"
    return "tests"
}

# The part that an include names; "system" when it is none of ours.
function area_of_include(name, quoted) {
    if (name ~ /^qemb\//) return "public"
    if (name ~ /^CL\//) return "CL"
    if (name ~ /^clblast/) return "clblast"
    if (name ~ /kernels_cl\//) return "kernels"
    if (name ~ /\.\./) return "outside"
    if (name ~ /^(base|core|reference|opencl|io|dlrm|cli|bench|ops)\//) return substr(name, 1, index(name, "/") - 1)
    return quoted ? area : "system"
}

function check_include(line,   name, quoted, target) {
    sub(/^[ \t]*#[ \t]*include[ \t]*/, "", line)
    quoted = substr(line, 1, 1) == "\""
    name = line
    sub(/^[<"]/, "", name)
    sub(/[>"].*$/, "", name)
    target = area_of_include(name, quoted)
    if (area == "tests" || target == "system") return
    if (area == "kernels" && quoted) broken("include", FNR, "a kernel file includes nothing of ours, not even " name)
    else if (area == "public" && target == "CL" && file != "include/qemb/qemb_opencl.h") broken("include", FNR, "only qemb_opencl.h includes " name)
    else if (index(may[area], " " target " ") == 0) broken("include", FNR, area " may not include " name)
}

# Words that the library may not use. `code` is a line without comments and strings.
function check_words(code) {
    if (!library) return
    if (file != "src/base/memory.c" && code ~ /(^|[^A-Za-z0-9_])(malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|strndup|asprintf)[ \t]*\(/)
        broken("memory", FNR, "only src/base/memory.c calls the allocator")
    if (file != "src/opencl/launch.c" && code ~ /(^|[^A-Za-z0-9_])clEnqueueNDRangeKernel[ \t]*\(/)
        broken("launch", FNR, "only src/opencl/launch.c enqueues kernels")
    if (file == "src/base/log.c") gsub(/(^|[^A-Za-z0-9_])fprintf[ \t]*\(stderr,/, "", code) # lines that $QEMB_LOG asked for
    if (code ~ /(^|[^A-Za-z0-9_])(printf|vprintf|puts|putchar|perror|abort|exit|_exit|_Exit|quick_exit)[ \t]*\(/ || code ~ /(^|[^A-Za-z0-9_])(stdout|stderr)($|[^A-Za-z0-9_])/)
        broken("silence", FNR, "the library never prints, aborts or exits")
}

# One line without comments, strings and characters; `in_comment` lasts from line to line.
function bare(line,   out, at, c, end) {
    out = ""
    while (line != "") {
        if (in_comment) {
            at = index(line, "*/")
            if (at == 0) return out
            line = substr(line, at + 2)
            in_comment = 0
            continue
        }
        at = match(line, /\/\*|\/\/|"|'/)
        if (at == 0) return out line
        out = out substr(line, 1, at - 1)
        c = substr(line, at, 1)
        line = substr(line, at + (c == "/" ? 2 : 1))
        if (RLENGTH == 2 && substr($0, length($0) - length(line), 1) == "/") return out
        if (c == "/") {
            in_comment = 1
            continue
        }
        end = c == "\"" ? "^([^\"\\\\]|\\\\.)*\"" : "^([^'\\\\]|\\\\.)*'"
        if (match(line, end)) line = substr(line, RLENGTH + 1)
        else line = ""
        out = out c c
    }
    return out
}

function check_parameters() {
    if (last_commas + 1 > 7 && area != "kernels" && text !~ /CL_API_CALL/) broken("parameters", start, last_commas + 1 " parameters, at most 7")
}

# Follows brackets through one bare line.
function follow(code,   at, c) {
    while ((at = match(code, /[(){};,]/)) > 0) {
        c = substr(code, at, 1)
        text = text substr(code, 1, at - 1)
        code = substr(code, at + 1)
        if (braces == 0 && start == 0) start = FNR
        if (braces > 0) {
            braces += (c == "{") - (c == "}")
            if (braces == 0 && c == "}") {
                if (in_function && FNR - start + 1 - choices > 60) broken("function", start, FNR - start + 1 - choices " lines, at most 60")
                in_function = start = 0
                text = ""
            }
            continue
        }
        if (c == "(") {
            parens++
            if (parens == 1) {
                commas = 0
                attribute = text ~ /__attribute__[ \t]*$/
            }
            text = text c
        } else if (c == ")") {
            parens--
            if (parens == 0 && !attribute) last_commas = commas
            text = text c
        } else if (c == "," && parens == 1) {
            commas++
        } else if (c == "{" && parens == 0) {
            if (text !~ /extern[ \t]*""[ \t]*$/) {
                braces = 1
                in_function = text ~ /\)[ \t]*$/
                choices = 0
                if (in_function) check_parameters()
            } else start = 0
            text = ""
            last_commas = 0
        } else if (c == ";" && parens == 0) {
            if (text ~ /\)[ \t]*$/) check_parameters()
            text = ""
            last_commas = start = 0
        } else if (c == "}") {
            text = ""
            start = 0
        }
    }
    if (braces == 0) {
        if (start == 0 && code ~ /[^ \t]/) start = FNR
        text = text code " "
    }
}

function end_of_file(   limit) {
    if (file == "") return
    limit = file == "include/qemb/qemb.h" ? 900 : file ~ /\.cl$/ ? 300 : 600
    if (lines > limit) printf "size: %s:%d: %d lines, at most %d\n", file, lines, lines, limit
}

BEGIN {
    may["public"] = " public CL "
    may["base"] = " public base kernels "
    may["core"] = " public base core kernels "
    may["reference"] = " public base core reference kernels "
    may["opencl"] = " public base core opencl kernels CL "
    may["io"] = " public base io "
    may["dlrm"] = " public dlrm CL clblast "
    may["cli"] = " public cli dlrm bench "
    may["bench"] = " public bench ops kernels CL "
    may["kernels"] = " "
}

FNR == 1 {
    end_of_file()
    file = FILENAME
    sub(/^\.\//, "", file)
    area = area_of(file)
    library = area ~ /^(base|core|reference|opencl|io)$/
    in_comment = braces = parens = commas = last_commas = start = in_function = directive = 0
    text = ""
}

{
    lines = FNR
    if (file !~ /\.(c|h|cl|inc)$/) next
    if (!in_comment && $0 ~ /^[ \t]*#[ \t]*include/) {
        check_include($0)
        next
    }
    if (!in_comment && $0 ~ /^[ \t]*#[ \t]*if[ \t]+0[ \t]*$/) broken("dead", FNR, "code switched off")
    starts_directive = !in_comment && $0 ~ /^[ \t]*#/
    code = bare($0)
    check_words(code)
    if (starts_directive || directive) {
        directive = $0 ~ /\\$/
        choices += area == "kernels"
        next
    }
    follow(code)
}

END {
    end_of_file()
}
