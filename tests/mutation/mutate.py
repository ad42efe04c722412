#!/usr/bin/env python3
"""Changes one token of the library at a time and asks the tests whether they notice.

    python3 tests/mutation/mutate.py [--sample N] [--seed S] [--jobs J] [--folder F] [--list] [--one ID] [FILE...]

FILE      files or folders below src/ and kernels_cl/ (default: both whole)
--sample  N mutants drawn evenly over the files instead of all of them
--list    prints the mutants and stops
--resume  verdicts of FOLDER/results.tsv about files that have not changed since are taken, only the rest is run
--minutes stop beginning mutants after so long; the figures are those of what was judged, and --resume goes on later
--one     one mutant by its name, FILE:LINE:COLUMN:OPERATOR, with the output of the test that judged it

Operators: relational (< for <=, == for !=, ...), arithmetic, off by one, logical (&& for ||, a dropped !), a statement taken out, a returned
value replaced, a barrier taken out. A mutant that does not compile, or whose object code is that of the original, does not count. The tests
of a file are named in tests.txt, the quickest first; the first that fails, crashes, or takes ten times its usual time kills the mutant.
Results, one line a mutant with a digest of its file, go to FOLDER/results.tsv; survivors that were looked at and found harmless are named in survivors.tsv.
"""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
RELATIONAL = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "&",
              "+=": "-=", "-=": "+=", "*=": "+=", "|=": "&=", "&=": "|=", "++": "--", "--": "++"}
LOGICAL = {"&&": "||", "||": "&&"}
TOKEN = re.compile(r"(?P<number>0[xX][0-9a-fA-F]+[uUlL]*|(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?f?|\d+(?:[eE][-+]?\d+)?[uUlLf]*)"
                   r"|(?P<word>[A-Za-z_]\w*)"
                   r"|(?P<op><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%<>&|!^])"
                   r"|(?P<other>\S)")
LITERALS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
MEMORY = 12 << 30  # bytes that a mutant may take


class Mutant:
    def __init__(self, path, line, column, kind, start, end, text):
        self.path, self.line, self.column, self.kind = path, line, column, kind
        self.start, self.end, self.text = start, end, text

    @property
    def name(self):
        return f"{self.path}:{self.line}:{self.column}:{self.kind}"


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def preprocessor_spans(code, kernel):
    """Where nothing is changed: preprocessor lines; in kernels a #define's body is code."""
    spans, at = [], 0
    while at < len(code):
        end = code.find("\n", at)
        end = len(code) if end < 0 else end
        line = code[at:end]
        if line.lstrip().startswith("#"):
            while code[at:end].endswith("\\") and end < len(code):
                following = code.find("\n", end + 1)
                end = len(code) if following < 0 else following
            define = kernel and re.match(r"\s*#\s*define\s+\w+(\([^)]*\))?", code[at:end])
            spans.append((at, at + define.end() if define else end))
        at = end + 1
    return spans


def statements(code, inside):
    """Whole-line statements that may be taken out: calls and assignments, not declarations."""
    for match in re.finditer(r"^([ \t]+)((?:\(void\))?[A-Za-z_][\w\->.\[\]*]*\s*(?:\(|=[^=]|[-+|&*/]=|\+\+|--)[^;{}\n]*;)[ \t]*$", code, re.M):
        first = re.match(r"(?:\(void\))?([A-Za-z_]\w*)", match.group(2)).group(1)
        if first not in ("return", "if", "for", "while", "switch", "case", "typedef", "goto", "break") and not inside(match.start(2)):
            kind = "barrier" if first == "barrier" else "statement"
            yield match.start(2), match.end(2), ";", kind


def tokens(code, inside):
    """(start, end, replacement, operator) for every token that has one."""
    before = None
    for match in TOKEN.finditer(code):
        text, start = match.group(), match.start()
        binary = before is not None and (before.lastgroup in ("number", "word") or before.group() in (")", "]"))
        before, previous = match, before
        if inside(start):
            continue
        if match.lastgroup == "op":
            if text in RELATIONAL:
                yield start, match.end(), RELATIONAL[text], "relational"
            elif text in LOGICAL:
                yield start, match.end(), LOGICAL[text], "logical"
            elif text == "!":
                yield start, match.end(), "", "logical"
            elif text in ("*", "&") and code[match.end():match.end() + 1].strip():
                continue  # a pointer or an address: binary operators stand between spaces
            elif text in ARITHMETIC and (binary or text in ("++", "--")) and not (previous and previous.group() in ("return", "case")):
                yield start, match.end(), ARITHMETIC[text], "arithmetic"
        elif match.lastgroup == "number" and not (previous and previous.group() in (".", "_")):
            if re.fullmatch(r"\d+", text):
                yield start, match.end(), str(int(text) + 1), "one"
            elif re.fullmatch(r"\d+\.\d*f?", text):
                yield start, match.end(), f"({text} + 1.0f)", "one"
        elif match.lastgroup == "word" and text in ("true", "false"):
            yield start, match.end(), "false" if text == "true" else "true", "value"


def returns(code, inside):
    for match in re.finditer(r"\breturn\s+([^;{}\n]+);", code):
        value = match.group(1).strip()
        if inside(match.start()) or re.fullmatch(r"[-\d\"]+|NULL|true|false|QEMB_OK", value):
            continue
        new = "QEMB_OK" if value == "st" or value.startswith("qemb__fail") else "0"
        yield match.start(1), match.end(1), new, "returned"


def mutants_of(path):
    text = (TOP / path).read_text()
    code = LITERALS.sub(blank, text)
    kernel = str(path).startswith("kernels_cl")
    spans = preprocessor_spans(code, kernel)

    def inside(at):
        return any(a <= at < b for a, b in spans)

    found = {}
    for source in (tokens(code, inside), statements(code, inside), returns(code, inside)):
        for start, end, new, kind in source:
            line = text.count("\n", 0, start) + 1
            column = start - (text.rfind("\n", 0, start) + 1) + 1
            mutant = Mutant(path, line, column, kind, start, end, new)
            found.setdefault(mutant.name, mutant)
    return list(found.values())


def source_files(named):
    every = subprocess.run(["git", "ls-files", "src", "kernels_cl"], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()
    every = [p for p in every if re.search(r"\.(c|cl|h)$", p) and (p.startswith("kernels_cl") or p.endswith(".c"))]
    every = [p for p in every if not p.startswith(("src/cli/", "src/dlrm/"))]
    return [p for p in every if not named or any(p == n or p.startswith(n.rstrip("/") + "/") for n in named)]


def test_table():
    """The tests of a path: those of the longest prefix in tests.txt."""
    table = {}
    for line in (HERE / "tests.txt").read_text().splitlines():
        words = line.split("#")[0].split(maxsplit=1)
        if words:
            table[words[0]] = [t.strip() for t in words[1].split(";")]
    return table


def tests_of(path, table):
    best = max((p for p in table if path.startswith(p)), key=len, default=None)
    if best is None:
        sys.exit(f"mutate.py: tests.txt names no tests for {path}")
    return table[best]


class Worker:
    """A copy of the tree with a build of its own."""

    def __init__(self, folder, number):
        self.tree = folder / f"tree{number}"
        self.build = folder / f"build{number}"
        self.cache = folder / f"cache{number}"
        self.usual = {}
        files = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True).stdout.split("\n")
        for name in filter(None, files):
            target = self.tree / name
            if (TOP / name).is_file() and not (target.is_file() and target.read_bytes() == (TOP / name).read_bytes()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(TOP / name, target)
        self.cache.mkdir(parents=True, exist_ok=True)
        self.run(["cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O1"], check=True)

    def run(self, command, limit=1200, check=False, environment=None):
        def limits():
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            os.setsid()
        # A test's children (each Criterion test is a process) must not outlive it: the whole group is ended.
        child = subprocess.Popen([str(c) for c in command], cwd=self.tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 errors="replace", env=environment, preexec_fn=limits)
        try:
            output, _ = child.communicate(timeout=limit)
            code = child.returncode
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, code = child.communicate()[0] + "\n(too slow)", -9
        if check and code != 0:
            sys.exit(f"mutate.py: {' '.join(map(str, command))}\n{output}")
        return code, output

    def compile(self, targets):
        return self.run(["ninja", "-C", self.build, *targets])

    def object_of(self, path):
        return self.build / "CMakeFiles/qemb_objects.dir" / f"{path}.o"

    def digest(self, path):
        o = self.object_of(path)
        return hashlib.sha256(o.read_bytes()).hexdigest() if o.exists() else ""

    def test(self, words, limit, kernels):
        program = words.split()
        name = program[0]
        binary = self.build / ("bin" if name == "qemb-replay" else "tests") / name
        arguments = program[1:] if name == "qemb-replay" else ["-j1", "--fail-fast", *program[1:]]
        cache = self.cache / re.sub(r"\W+", "_", words)
        compiled = TOP / "build/pocl-cache/finished"
        if not cache.exists() and compiled.is_dir():
            shutil.copytree(compiled, cache)  # what the release's tests compiled
        cache.mkdir(exist_ok=True)
        environment = dict(os.environ, OCL_ICD_VENDORS=os.environ.get("QEMB_TEST_ICD", "/etc/OpenCL/vendors/pocl.icd"), POCL_CACHE_DIR=str(cache))
        environment.pop("QEMB_SCOREBOARD", None)
        if kernels:
            environment["QEMB_KERNEL_PATH"] = str(self.tree / "kernels_cl")
        return self.run([binary, *arguments], limit, environment=environment)

    def baseline(self, tests):
        code, output = self.compile(sorted({t.split()[0] for t in tests}))
        if code != 0:
            sys.exit(f"mutate.py: the tree does not build\n{output}")
        for t in tests:
            if t not in self.usual:
                self.test(t, 1200, False)  # fills the kernel cache
                began = time.monotonic()
                code, output = self.test(t, 1200, False)
                self.usual[t] = time.monotonic() - began
                if code != 0:
                    sys.exit(f"mutate.py: {t} fails on the unchanged tree\n{output}")

    def judge(self, mutant, tests, talk=False):
        kernel = mutant.path.startswith("kernels_cl")
        shared = mutant.path.startswith("kernels_cl/shared")
        self.baseline(tests)
        target = self.tree / mutant.path
        original = target.read_text()
        before = self.digest(mutant.path)
        target.write_text(original[:mutant.start] + mutant.text + original[mutant.end:])
        try:
            if not kernel or shared:
                code, output = self.compile(sorted({t.split()[0] for t in tests}))
                if code != 0:
                    return "does not compile", ""
                if not kernel and self.digest(mutant.path) == before:
                    return "same code", ""
            for t in tests:
                code, output = self.test(t, max(30.0, 10.0 * self.usual[t]) + (60.0 if kernel else 0.0), kernel)
                if talk:
                    print(output)
                if code != 0:
                    return ("does not compile" if kernel and "does not build" in output else "killed"), t
            return "survived", ""
        finally:
            target.write_text(original)


def triaged():
    path = HERE / "survivors.tsv"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.split("\t")[0] for line in lines if line and not line.startswith("#")}


def digest_of(path, seen={}):
    if path not in seen:
        seen[path] = hashlib.sha256((TOP / path).read_bytes()).hexdigest()[:12]
    return seen[path]


def known_verdicts(path):
    known = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        columns = line.split("\t")
        if len(columns) == 4:
            known[columns[0], columns[3]] = (columns[1], columns[2])
    return known


def draw(every, count, seed):
    """`count` mutants, files in turn, so that small files are looked at too."""
    chosen, pools, dice = [], {}, random.Random(seed)
    for m in every:
        pools.setdefault(m.path, []).append(m)
    for pool in pools.values():
        dice.shuffle(pool)
    order = list(pools)
    dice.shuffle(order)
    while len(chosen) < count and any(pools.values()):
        for path in order:
            if pools[path] and len(chosen) < count:
                chosen.append(pools[path].pop())
    return chosen


def report(results, harmless):
    good = True
    for part, goal in (("src", 95), ("kernels_cl", 90)):
        judged = [(m, v) for m, v, _ in results if m.path.startswith(part) and v in ("killed", "survived")]
        counted = [(m, v) for m, v in judged if not (v == "survived" and m.name in harmless)]
        killed = sum(v == "killed" for _, v in counted)
        if counted:
            share = 100.0 * killed / len(counted)
            good = good and share >= goal
            print(f"{part}: {killed} of {len(counted)} mutants killed, {share:.1f} % (goal {goal} %); {len(judged) - len(counted)} harmless survivors")
            board = os.environ.get("QEMB_SCOREBOARD")
            if board:
                with open(board, "a") as f:
                    f.write(f"R19\t{killed} of {len(counted)} mutants killed, {share:.1f} %\t{'ok' if share >= goal else 'red'}\t{part}\n")
    for m, v, _ in results:
        if v == "survived":
            print(f"survived{' (triaged)' if m.name in harmless else ''}: {m.name}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", default=str(TOP / "build-mutation"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--one")
    args = parser.parse_args()
    every = [m for path in source_files(args.files) for m in mutants_of(path)]
    if args.one:
        every = [m for path in source_files([args.one.split(":")[0]]) for m in mutants_of(path) if m.name == args.one]
        if not every:
            sys.exit(f"mutate.py: no mutant {args.one}")
    elif args.sample:
        every = draw(every, args.sample, args.seed)
    if args.list:
        print("\n".join(m.name for m in every))
        return 0
    table, folder = test_table(), pathlib.Path(args.folder)
    folder.mkdir(exist_ok=True)
    known = known_verdicts(folder / "results.tsv") if args.resume else {}
    results = [(m, *known[m.name, digest_of(m.path)]) for m in every if (m.name, digest_of(m.path)) in known]
    every = [m for m in every if (m.name, digest_of(m.path)) not in known]
    if results:
        print(f"{len(results)} verdicts are known, {len(every)} mutants are left", flush=True)
    free, lock = [Worker(folder, n) for n in range(1 if args.one else args.jobs)], threading.Lock()
    log = open(folder / "results.tsv", "a" if args.sample or args.one or args.resume else "w")
    began, before = time.monotonic(), len(results)

    def one(mutant):
        if args.minutes and time.monotonic() - began > 60 * args.minutes:
            return
        with lock:
            worker = free.pop()
        verdict, by = worker.judge(mutant, tests_of(mutant.path, table), bool(args.one))
        with lock:
            free.append(worker)
            results.append((mutant, verdict, by))
            log.write(f"{mutant.name}\t{verdict}\t{by}\t{digest_of(mutant.path)}\n")
            log.flush()
            print(f"[{len(results) - before}/{len(every)}] {verdict:17} {mutant.name}  {by}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(len(free)) as pool:
        list(pool.map(one, every))
    return 0 if report(results, triaged()) else 1


if __name__ == "__main__":
    sys.exit(main())
