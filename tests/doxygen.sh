#!/bin/sh
# doxygen.sh - the public headers as HTML, warnings are errors.     sh tests/doxygen.sh OUTPUT_FOLDER
# The headers are plain C comments, typeset by hand. A filter turns each block into a documentation block that is shown as it stands, and a
# comment behind a member or value into its description.
set -u
out=$1
cd "$(dirname "$0")/.." || exit 2
mkdir -p "$out"
version=$(sed -n 's/^project(qemb VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
doxygen - <<CONFIG
PROJECT_NAME = qemb
PROJECT_NUMBER = $version
PROJECT_BRIEF = "quantised embedding tables on any OpenCL device"
INPUT = include/qemb
FILTER_PATTERNS = *.h="awk -f tests/doxygen.awk"
OUTPUT_DIRECTORY = $out
OPTIMIZE_OUTPUT_FOR_C = YES
EXTRACT_ALL = YES
GENERATE_LATEX = NO
HTML_OUTPUT = .
MACRO_EXPANSION = YES
EXPAND_ONLY_PREDEF = YES
PREDEFINED = QEMB_API=
HAVE_DOT = NO
QUIET = YES
WARNINGS = YES
WARN_IF_UNDOCUMENTED = NO
WARN_AS_ERROR = NO
SORT_MEMBER_DOCS = NO
TYPEDEF_HIDES_STRUCT = YES
CONFIG
[ -s "$out/index.html" ] || { echo "doxygen: no page was written"; exit 1; }
