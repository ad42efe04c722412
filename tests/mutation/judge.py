"""Asks the tests about one mutant after the other in the build that holds all (build.py).

First every test runs once without a mutant and leaves which points it passes, and where a mutant would make a difference (`coverage`). A
mutant is then shown only to tests in which it makes one. Order: least time over the share of this file's mutants that the test killed so far.
"""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import threading

import build

LEFT_OUT = -1
LEAST, TIMES = 2000, 10  # a test that takes so many milliseconds more than so many times its usual time has noticed


def driver():
    """The library behind the tests' OpenCL driver: loaded once before the forks."""
    icd = pathlib.Path(os.environ.get("QEMB_TEST_ICD", "/etc/OpenCL/vendors/pocl.icd"))
    return icd.read_text().strip() if icd.is_file() else ""


class Servers:
    """One worker's test programs, each started once."""

    def __init__(self, made):
        self.made, self.started = made, {}
        for number in range(1000):  # the first that no other pass has
            self.home = made.folder / f"worker{number}"
            self.home.mkdir(exist_ok=True)
            self.lock = open(self.home / "lock", "w")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self.lock.close()
        compiled = build.TOP / "build/pocl-cache/finished"
        cache = self.home / "pocl"
        if not cache.exists() and compiled.is_dir():
            shutil.copytree(compiled, cache)  # what the release's tests compiled
        for name in ("pocl", "tmp", "xdg"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        icd = os.environ.get("QEMB_TEST_ICD", "/etc/OpenCL/vendors/pocl.icd")
        self.environment = dict(os.environ, OCL_ICD_VENDORS=icd, POCL_CACHE_DIR=str(cache), TMPDIR=str(self.home / "tmp"), QEMB_TUNE="",
                                XDG_CACHE_HOME=str(self.home / "xdg"), LD_PRELOAD=str(made.folder / "librunner.so"))
        for name in ("QEMB_SCOREBOARD", "QEMB_NIGHTLY"):
            self.environment.pop(name, None)

    def ask(self, program, line):
        server = self.started.get(program)
        if server is None or server.poll() is not None:
            environment = dict(self.environment, QEMB_MUTATION_DRIVER=driver() if program not in HOST else "")
            server = subprocess.Popen([self.made.build / "tests" / program], cwd=self.made.tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, env=environment)
            self.started[program] = server
        server.stdin.write(line + "\n")
        server.stdin.flush()
        return server

    def tests(self, program):
        server, names = self.ask(program, "list"), []
        while name := server.stdout.readline().strip():
            names.append(name)
        return names

    def run(self, program, test, number, limit, record=""):
        """(verdict, milliseconds); a verdict is pass, fail, signal or slow."""
        words = self.ask(program, f"{number} {limit} {test} {record}").stdout.readline().split()
        if not words or words[0] == "broken":
            raise RuntimeError(f"{program}: no answer about {test}")
        if words[0] != "pass":
            self.sweep()
        return words[0], int(words[-1])

    def sweep(self):
        for left in (self.home / "tmp").iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()

    def close(self):
        for server in self.started.values():
            server.stdin.close()
            server.wait()


HOST = {"test_base", "test_math", "test_bad_calls", "test_fuzz", "test_edges"} | {f"test_io_{n}" for n in (
    "clicks", "feed", "generator", "npy", "safetensors", "save", "crash", "hostile", "texts", "nomem")}


class Coverage:
    """Which test reaches which mutant, and how long it takes. Kept for every program until it, or the sources, change."""

    def __init__(self, made, programs, longest, retry=False):
        self.made, self.programs, self.longest, self.retry = made, programs, longest, retry
        self.known, self.lock = {}, threading.Lock()  # (program, test) -> milliseconds; LEFT_OUT: longer than `longest`, or it fails
        self.folder = made.folder / "coverage"
        self.folder.mkdir(exist_ok=True)
        whole = [made.folder, *sorted(made.refused), *(t.text for t in made.texts.values()),
                 *(p.read_text() for p in sorted((made.tree / "tests").glob("support*")))]
        self.sources = hashlib.sha256("\n".join(map(str, whole)).encode()).hexdigest()

    @property
    def usual(self):
        return {test: took for test, took in self.known.items() if took != LEFT_OUT}

    def key(self, program):
        return self.sources + hashlib.sha256((self.made.tree / "tests" / f"{program}.c").read_bytes()).hexdigest()

    def file(self, program, test):
        return self.folder / f"{program}.{test.replace('/', '.')}"

    def load(self, program):
        """What is known of a program; true where nothing is left to find out."""
        path = self.folder / f"{program}.tsv"
        lines = path.read_text().splitlines() if path.is_file() else []
        if not lines or lines[0] != self.key(program):
            return False
        for line in lines[1:]:
            test, took = line.split("\t")
            self.known[program, test] = int(took)
        return not (self.retry and any(self.known[k] == LEFT_OUT for k in self.known if k[0] == program))

    def record(self, servers, program):
        lines = [self.key(program)]
        for test in servers.tests(program):
            took = self.known.get((program, test), LEFT_OUT)
            if took == LEFT_OUT:
                took = self.known[program, test] = self.time(servers, program, test)
            lines.append(f"{test}\t{took}")
        (self.folder / f"{program}.tsv").write_text("\n".join(lines) + "\n")

    def time(self, servers, program, test):
        path = self.file(program, test)
        path.write_bytes(bytes(self.made.size))
        verdict, took = servers.run(program, test, 0, int(self.longest * 1000), str(path))
        if verdict == "pass" and took > 1000:  # once more, with the kernels compiled
            verdict, took = servers.run(program, test, 0, int(self.longest * 1000), str(path))
        if verdict != "pass":
            print(f"left out: {program} {test} ({verdict} without a mutant, {took} ms)", flush=True)
        return took if verdict == "pass" else LEFT_OUT

    def measure(self, workers):
        left = [p for p in sorted(self.programs, key=lambda p: (p in HOST, p)) if not self.load(p)]

        def work(servers):
            while left:
                with self.lock:
                    program = left.pop() if left else None
                if program:
                    self.record(servers, program)

        threads = [threading.Thread(target=work, args=(w,)) for w in workers]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def index(self):
        """number -> tests in which it makes a difference, quickest first; and the numbers that are passed at all."""
        differs, passed = {}, set()
        for (program, test), took in sorted(self.usual.items(), key=lambda item: item[1]):
            data = self.file(program, test).read_bytes()
            at = -1
            for value in (3, 1):
                while (at := data.find(value, at + 1)) >= 0:
                    passed.add(at)
                    if value == 3:
                        differs.setdefault(at, []).append((program, test))
        return differs, passed


class Judge:
    def __init__(self, coverage, cap):
        self.coverage, self.cap = coverage, cap
        self.differs, self.passed = coverage.index()
        self.usual = coverage.usual
        self.tried, self.lock = {}, threading.Lock()  # (file, program, test) -> [runs, kills]

    def order(self, m):
        def cost(test):
            runs, kills = self.tried.get((m.path, *test), (0, 0))
            return (self.usual[test] + 3) * (runs + 2) / (kills + 1)
        with self.lock:
            return sorted(self.differs.get(m.number, ()), key=cost)

    def judge(self, m, servers):
        """(verdict, who or why)."""
        if m.number not in self.differs:
            return "survived", "no difference in any test" if m.number in self.passed else "not reached"
        spent = 0
        for program, test in self.order(m):
            usual = self.usual[program, test]
            if spent and spent + usual > self.cap * 1000:
                continue
            verdict, took = servers.run(program, test, m.number, TIMES * usual + LEAST)
            spent += took
            with self.lock:
                count = self.tried.setdefault((m.path, program, test), [0, 0])
                count[0] += 1
                count[1] += verdict != "pass"
            if verdict != "pass":
                return "killed", f"{program} {test} ({verdict})"
        return "survived", f"{spent} ms of tests"
