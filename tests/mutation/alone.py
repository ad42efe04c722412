"""One mutant compiled by itself: a copy of the tree with a build of its own. The way of what cannot be chosen at run time, and of kernels."""
import hashlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
MEMORY = 12 << 30  # bytes that a mutant may take


def test_table():
    """The tests of a path: those of the longest prefix in tests.txt."""
    table = {}
    for line in (TOP / "tests/mutation/tests.txt").read_text().splitlines():
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
        self.run(["cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DQEMB_OPTIONS=-w;-Wno-error;-O1"], check=True)

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

    def judge(self, text, mutant, tests, talk=False):
        kernel = mutant.path.startswith("kernels_cl")
        shared = mutant.path.startswith("kernels_cl/shared")
        self.baseline(tests)
        target = self.tree / mutant.path
        original = target.read_text()
        before = self.digest(mutant.path)
        target.write_text(text.alone(mutant))
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
