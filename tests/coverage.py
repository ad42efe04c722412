#!/usr/bin/env python3
"""Lines and branches of src/ that a coverage build has run, against a reviewed list of exceptions.

    python3 tests/coverage.py BUILD [--exceptions FILE] [--missing [PREFIX]] [--save FILE] [--without FILE]

BUILD         a folder built with -DQEMB_COVERAGE=ON whose tests have run
--missing     prints what was never run, below PREFIX; without it only the figures of each file
--exceptions  the list (default: tests/coverage_exceptions.txt), one entry a line, four columns between tabs:
                  FILE  line      TEXT            REASON
                  FILE  branch N  FUNCTION: TEXT  REASON
              TEXT is the source line without its indentation, * stands for anything, in FILE and FUNCTION too; or
              `in NAME` for all of a function (without N). N sides of the branches of these lines are never taken (1 when
              left out): no more are excused, and fewer are an error, as is an entry that meets nothing, or only what was
              run: the list must shrink with the tests.
--save        writes the counts to FILE; --without reads such a file, of a run without the tests that make calls fail: the error
              returns (TRY, REQUIRE, qemb__fail, ...) that only those tests reach are then told apart (row R20 of the scoreboard)

Figures come from gcov's JSON. What a header defines is counted once, over all files that include it. Exit status 1: something is neither
run nor excepted, or the list is not in order.
"""
import argparse
import collections
import fnmatch
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent
ERROR_RETURN = re.compile(r"\b(TRY|REQUIRE|qemb__fail\w*|qemb__lose)\s*\(")


def counts_of(build):
    """{file: {line: [count, [branch counts]]}} summed over every object."""
    # The library's objects and the programs', and what tests include of the headers. Not the twin, whose float is double.
    objects = [str(p.resolve()) for p in pathlib.Path(build).glob("CMakeFiles/*.dir/**/*.gcno") if "/twin.dir/" not in str(p)]
    files = collections.defaultdict(dict)
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(objects), 20):
            some = [p[:-5] + ".gcda" if os.path.exists(p[:-5] + ".gcda") else p for p in objects[start:start + 20]]
            subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--hash-filenames", *some], cwd=folder, check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for path in sorted(pathlib.Path(folder).glob("*.gcov.json.gz")):
            with gzip.open(path) as f:
                add(files, json.load(f))
    if not files:
        sys.exit(f"coverage.py: {build} holds no counts")
    return files


def add(files, report):
    for part in report["files"]:
        name = pathlib.Path(report["current_working_directory"], part["file"]).resolve()
        if not name.is_relative_to(TOP / "src") and not name.is_relative_to(TOP / "kernels_cl/shared"):
            continue
        lines = files[str(name.relative_to(TOP))]
        for line in part["lines"]:
            branches = [b["count"] for b in line["branches"]]
            known = lines.setdefault(line["line_number"], [0, [], line.get("function_name", "")])
            known[0] += line["count"]
            if len(known[1]) == len(branches):
                known[1] = [a + b for a, b in zip(known[1], branches)]
            elif len(known[1]) < len(branches):  # the same line in another object, with other code: the fuller one counts
                known[1] = branches


class Exception_:
    """One line of the list."""

    def __init__(self, where, file, kind, text, reason):
        self.file, self.text = file, text
        self.kind, _, count = kind.partition(" ")
        whole = re.fullmatch(r"in (\S+)", text)
        function, colon, rest = text.partition(": ")
        if self.kind not in ("line", "branch") or not re.fullmatch(r"|[1-9][0-9]*", count) or not reason.strip():
            sys.exit(f"{where}: want FILE, `line` or `branch N`, TEXT, REASON between tabs")
        if self.kind == "branch" and not whole and not colon:
            sys.exit(f"{where}: want FUNCTION: TEXT for a branch")
        self.function = whole.group(1) if whole else function if self.kind == "branch" else "*"
        self.line = "*" if whole else rest if self.kind == "branch" else text
        self.sides = None if whole or self.kind == "line" else int(count or 1)  # None: as many as there are
        self.met = self.used = 0

    def takes(self, file, kind, text, function, missing):
        """How many of the missing sides (or lines) this entry excuses."""
        if kind != self.kind or not all(fnmatch.fnmatchcase(a, escape(b)) for a, b in ((file, self.file), (text, self.line), (function, self.function))):
            return 0
        self.met += 1
        taken = missing if self.sides is None else min(missing, self.sides - self.used)
        self.used += taken
        return taken

    def complaint(self):
        what = f"{self.file}: the exception for the {self.kind} `{self.text}`"
        if not self.used:
            return f"{what} {'is run: take it out' if self.met else 'meets nothing: take it out'}"
        if self.sides and self.used < self.sides:
            return f"{what} is for {self.sides} sides, and only {self.used} are never taken"
        return None


class Exceptions:
    def __init__(self, path):
        self.entries = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line and not line.startswith("#"):
                columns = line.split("\t")
                if len(columns) != 4:
                    sys.exit(f"{path}:{number}: want four columns between tabs")
                self.entries.append(Exception_(f"{path}:{number}", *columns))

    def excuse(self, file, kind, text, function, missing):
        """How many of the missing ones are excused; all entries that meet the line are asked, so that none seems out of date."""
        excused = 0
        for entry in self.entries:
            excused += entry.takes(file, kind, text, function, missing - excused)
        return excused

    def complaints(self):
        return [c for c in (entry.complaint() for entry in self.entries) if c]


def escape(pattern):
    return re.sub(r"[\[?]", lambda m: f"[{m.group()}]", pattern)


def count_file(file, lines, exceptions, show):
    """[lines, run, excepted, branches, run, excepted] of a file."""
    text = (TOP / file).read_text().splitlines()
    figures = [0] * 6
    for number, (count, branches, function) in sorted(lines.items()):
        source = text[number - 1].strip() if number <= len(text) else ""
        missing = sum(b == 0 for b in branches)
        for at, kind, total, open_ in ((0, "line", 1, int(count == 0)), (3, "branch", len(branches), missing)):
            excused = exceptions.excuse(file, kind, source, function, open_)
            figures[at] += total
            figures[at + 1] += total - open_
            figures[at + 2] += excused
            if open_ > excused and show is not None and file.startswith(show):
                print(f"{file}:{number}: {kind}{f' {open_ - excused} of {total}' if total > 1 else ''}: {function}: {source}")
    return figures


def error_returns(files):
    """{(file, line, branch)} of lines that return an error, and which of them were reached."""
    found = {}
    for file, lines in files.items():
        text = (TOP / file).read_text().splitlines()
        for number, (count, branches, _) in lines.items():
            if number <= len(text) and ERROR_RETURN.search(text[number - 1]) and not text[number - 1].startswith("#"):
                for k, taken in enumerate(branches or [count]):
                    found[f"{file}:{number}:{k}"] = taken
    return found


def board(row, figure, good, detail):
    path = os.environ.get("QEMB_SCOREBOARD")
    print(f"{row}: {figure}: {'ok' if good else 'red'}")
    if path:
        with open(path, "a") as f:
            f.write(f"{row}\t{figure}\t{'ok' if good else 'red'}\t{detail}\n")


def share(run, total):
    return 100.0 * run / total if total else 100.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--exceptions", default=str(TOP / "tests/coverage_exceptions.txt"))
    parser.add_argument("--missing", nargs="?", const="")
    parser.add_argument("--save")
    parser.add_argument("--without")
    args = parser.parse_args()
    files = counts_of(args.build)
    if args.save:
        pathlib.Path(args.save).write_text(json.dumps(error_returns(files)))
        return 0
    exceptions = Exceptions(pathlib.Path(args.exceptions))
    table = [(count_file(file, lines, exceptions, args.missing), file) for file, lines in sorted(files.items())]
    every = [sum(column) for column in zip(*(f for f, _ in table))]
    for figures, file in sorted(table, key=lambda t: share(t[0][1], t[0][0])) + [(every, "src/")]:
        print(f"{share(figures[1], figures[0]):7.2f} % of {figures[0]:5d} lines  {share(figures[4], figures[3]):7.2f} % of {figures[3]:5d} "
              f"branches  {figures[2]:4d} {figures[5]:4d} excepted  {file}")
    for what, names in (("library", ("base", "core", "reference", "opencl", "io")), ("programs", ("cli", "dlrm"))):
        of = [sum(column) for column in zip(*(f for f, file in table if file.split("/")[1] in names))] or [0] * 6
        print(f"   the {what}: {share(of[1], of[0]):.2f} % of {of[0]} lines, {share(of[4], of[3]):.2f} % of {of[3]} branches")
    complaints = exceptions.complaints()
    print("".join(f"{c}\n" for c in complaints), end="")
    lines, run, but, branches, taken, though = every
    good = not complaints and run + but == lines and taken + though == branches
    board("R18", f"host {share(run, lines):.2f} % of {lines} lines ({but} excepted), {share(taken, branches):.2f} % of {branches} branches "
          f"({though} excepted)", good, f"gcov; {len(exceptions.entries)} reviewed exceptions, {len(complaints)} of them out of date")
    if args.without:
        before, now = json.loads(pathlib.Path(args.without).read_text()), error_returns(files)
        reached = sum(n > 0 for n in now.values())
        only = sum(n > 0 and not before.get(k) for k, n in now.items())
        board("R20", f"{reached} of {len(now)} ways of error returns reached, {only} of them by injected faults alone", reached == len(now) or good,
              "gcov with and without the tests that make calls fail; the rest are exceptions of the list" if good else "gcov")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
