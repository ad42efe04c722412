#!/usr/bin/env python3
"""Changes one token of the library at a time and asks the tests whether they notice.

    python3 tests/mutation/mutate.py [--sample N] [--seed S] [--jobs J] [--folder F] [--list] [--one ID] [FILE...]

FILE      files or folders below src/ and kernels_cl/ (default: both whole)
--sample  N mutants drawn evenly over the files instead of all of them
--list    prints the mutants and stops
--resume  verdicts of FOLDER/results.tsv about files that have not changed since are taken, only the rest is run
--again   with --resume: survivors are asked about once more (tests were added)
--minutes stop beginning mutants after so long; the figures are those of what was judged, and --resume goes on later
--quick   only the tests that need no device
--cap     seconds of tests that a mutant may cost (20): one that is alive after them has survived
--longest seconds that a test may take to be asked at all (20)
--retry   tests that took longer, or failed, when they were first measured are measured again
--programs  a pattern of the test programs that are asked
--check   N of the verdicts are found out anew, each mutant compiled alone, and compared
--one     one mutant by its name, FILE:LINE:COLUMN:OPERATOR, compiled alone, with the output of the test that judged it

Operators: relational (< for <=, == for !=, ...), arithmetic, off by one, logical (&& for ||, a dropped !), a statement taken out, a returned
value replaced, a barrier taken out. A mutant that does not compile, or whose object code is that of the original, does not count.
All mutants of src/ and of the headers that host and device share are compiled at once and chosen at run time (points.py, build.py); each
test says which it reaches, and is shown those (judge.py). What cannot be chosen at run time, and kernels, are compiled one by one (alone.py)
and shown to the tests that tests.txt names. The first test that fails, crashes, or takes ten times its usual time kills the mutant.
Results, one line a mutant with a digest of its file, go to FOLDER/results.tsv; survivors that were looked at and found harmless are named in survivors.tsv.
"""
import argparse
import hashlib
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

import alone
import build
import judge
import points

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent


def source_files(named):
    every = subprocess.run(["git", "ls-files", "src", "kernels_cl"], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()
    every = [p for p in every if re.search(r"\.(c|cl|h)$", p) and (p.startswith("kernels_cl") or p.endswith(".c"))]
    every = [p for p in every if not p.startswith(("src/cli/", "src/dlrm/"))]
    return [p for p in every if not named or any(p == n or p.startswith(n.rstrip("/") + "/") for n in named)]


def on_host(path):
    return path.startswith(("src/", "kernels_cl/shared/"))


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


class Pass:
    """One run of mutate.py: what is known, what is left, the log."""

    def __init__(self, args, texts, chosen):
        self.args, self.texts = args, {t.path: t for t in texts}
        self.folder = pathlib.Path(args.folder)
        self.folder.mkdir(exist_ok=True)
        known = known_verdicts(self.folder / "results.tsv") if args.resume else {}
        if args.again:
            known = {k: v for k, v in known.items() if v[0] != "survived"}
        self.results = [(m, *known[m.name, digest_of(m.path)]) for m in chosen if (m.name, digest_of(m.path)) in known]
        self.left = [m for m in chosen if (m.name, digest_of(m.path)) not in known]
        self.lock, self.began = threading.Lock(), time.monotonic()
        if self.results:
            print(f"{len(self.results)} verdicts are known, {len(self.left)} mutants are left", flush=True)
        self.log = open(self.folder / "results.tsv", "a" if args.sample or args.one or args.resume else "w")

    def note(self, m, verdict, by):
        with self.lock:
            self.results.append((m, verdict, by))
            self.log.write(f"{m.name}\t{verdict}\t{by}\t{digest_of(m.path)}\n")
            self.log.flush()
            if verdict == "survived" or self.args.one or len(self.results) % 100 == 0:
                print(f"[{len(self.results)}, {time.monotonic() - self.began:.0f} s] {verdict:9} {m.name}  {by}", flush=True)

    def take(self, pool):
        """The next mutant of the pool, or None at its end or when time is up."""
        with self.lock:
            over = self.args.minutes and time.monotonic() - self.began > 60 * self.args.minutes
            return None if over or not pool else pool.pop()

    def together(self, mutants):
        """Those that can be chosen at run time; returns what is left for the other way."""
        whole = [points.Text(p, (TOP / p).read_text()) for p in source_files([]) if on_host(p)]
        made = build.Build(self.folder, whole, self.args.jobs)
        programs = [p for p in made.make() if re.fullmatch(self.args.programs, p) and (not self.args.quick or p in judge.HOST)]
        numbered = {m.name: m for t in whole for m in t.mutants if m.edits is not None}
        workers = [judge.Servers(made) for _ in range(self.args.jobs)]
        coverage = judge.Coverage(made, programs, self.args.longest, self.args.retry)
        coverage.measure(workers)
        print(f"[{time.monotonic() - self.began:.0f} s] {len(numbered)} mutants compiled, {len(coverage.usual)} tests", flush=True)
        asked = judge.Judge(coverage, self.args.cap)
        pool = [m for m in mutants if m.name in numbered]
        random.Random(self.args.seed).shuffle(pool)  # whatever time ends the pass, what was judged is a fair sample

        def work(servers):
            while (m := self.take(pool)) is not None:
                verdict, by = asked.judge(numbered[m.name], servers)
                if verdict == "survived" and made.same_code(self.texts[m.path], m):
                    verdict = "same code"
                self.note(m, verdict, by)
            servers.close()

        threads = [threading.Thread(target=work, args=(w,)) for w in workers]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return [m for m in mutants if m.name not in numbered]

    def one_by_one(self, mutants, talk=False):
        table, pool = alone.test_table(), list(reversed(mutants))

        def work(worker):
            while (m := self.take(pool)) is not None:
                self.note(m, *worker.judge(self.texts[m.path], m, alone.tests_of(m.path, table), talk))

        threads = [threading.Thread(target=work, args=(alone.Worker(self.folder, n),)) for n in range(min(self.args.jobs, len(mutants)))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def check(self, count):
        """Some verdicts anew, the other way."""
        table, dice = alone.test_table(), random.Random(self.args.seed)
        worker, same, other = alone.Worker(self.folder, 0), 0, []
        for m, verdict, by in dice.sample(self.results, min(count, len(self.results))):
            tests = alone.tests_of(m.path, table)
            if verdict == "killed":
                program, test = by.split()[:2]
                tests = [f"{program} --filter {test}"]
            anew, _ = worker.judge(self.texts[m.path], m, tests)
            same += anew == verdict
            other += [] if anew == verdict else [f"{m.name}: {verdict} by {by}, alone {anew}"]
        print(f"{same} verdicts are the same alone, {len(other)} are not", *other, sep="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    for name, kind, value in (("sample", int, 0), ("seed", int, 1), ("jobs", int, os.cpu_count() or 1), ("minutes", float, 0), ("cap", float, 20), ("longest", float, 20),
                              ("check", int, 0)):
        parser.add_argument(f"--{name}", type=kind, default=value)
    for name in ("list", "resume", "again", "quick", "retry"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--folder", default=str(TOP / "build-mutation"))
    parser.add_argument("--programs", default=".*")
    parser.add_argument("--one")
    args = parser.parse_args()
    files = source_files([args.one.split(":")[0]] if args.one else args.files)
    texts = [points.Text(path, (TOP / path).read_text()) for path in files]
    every = [m for t in texts for m in t.mutants if not args.one or m.name == args.one]
    if not every:
        sys.exit("mutate.py: no such mutant")
    if args.sample:
        every = draw(every, args.sample, args.seed)
    if args.list:
        print("\n".join(m.name for m in every))
        return 0
    run = Pass(args, texts, every)
    if args.one:
        run.one_by_one(run.left, True)
    else:
        left = run.together(run.left) if any(on_host(m.path) for m in run.left) else run.left
        run.one_by_one(left)
    if args.check:
        run.check(args.check)
    return 0 if report(run.results, triaged()) else 1


if __name__ == "__main__":
    sys.exit(main())
