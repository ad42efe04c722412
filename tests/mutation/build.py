"""The build that holds all mutants: the tree copied, its texts rewritten (points.py), what the compiler refuses taken back, compiled once."""
import concurrent.futures
import hashlib
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
# Programs of their own that start others a hundred times, or whose library is a second one.
LEFT_OUT = re.compile(r"test_(cli|dlrm|program|peak)")
ERROR = re.compile(r"^(.*?):(\d+):(\d+): (?:fatal )?error: (.*)$", re.M)
NOTE = re.compile(r"^(.*?):(\d+):(\d+): note: (jump bypasses.*)$", re.M)


# The cases are a test like others here: with the files that replay them.
REPLAYS = """file(GLOB replayed tests/replay_*.c)
foreach(source IN LISTS test_sources)
  set(more "")
  if(source MATCHES "test_replay_cases")
    set(more ${replayed})
  endif()
"""


def sh(command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", **more)


def write(path, text):
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def tracked():
    return [n for n in sh(["git", "ls-files"], cwd=TOP, check=True).stdout.split("\n") if n and (TOP / n).is_file()]


class Build:
    def __init__(self, folder, texts, jobs):
        self.folder, self.texts, self.jobs = folder, {t.path: t for t in texts}, jobs
        self.tree, self.build = folder / "tree", folder / "build"
        names = [m.name for t in texts for m in t.mutants]
        self.numbers = {name: n + 1 for n, name in enumerate(names)}
        self.size = len(names) + 1
        self.refused = set()
        self.objects, self.lock = {}, threading.Lock()

    def make(self):
        for name in tracked():
            if name not in self.texts and name != "tests/tests.cmake":
                data = (TOP / name).read_bytes()
                target = self.tree / name
                if not target.is_file() or target.read_bytes() != data:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
        write(self.tree / "src/base/mutant.c", (HERE / "mutant.c").read_text())
        write(self.tree / "tests/test_replay_cases.c", (HERE / "replay_cases.c").read_text())
        cmake = (TOP / "tests/tests.cmake").read_text()
        write(self.tree / "tests/tests.cmake", cmake.replace("foreach(source IN LISTS test_sources)\n", REPLAYS, 1).replace(
            "add_executable(${name} ${source})", "add_executable(${name} ${source} ${more})", 1))
        write(self.folder / "mutant.h", (HERE / "mutant.h").read_text())
        for path in self.texts:
            self.rewrite(path)
        flags = f"-w;-Wno-error;-O1;-include;{self.folder}/mutant.h"
        self.must(["cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_COMPILER=clang",
                   f"-DQEMB_OPTIONS={flags}", "-DCMAKE_EXE_LINKER_FLAGS=-rdynamic"])
        self.settle()
        programs = [p for p in self.programs() if not LEFT_OUT.match(p)]
        self.must(["ninja", "-C", self.build, "-j", self.jobs, "fault_layer", *programs])
        self.must(["clang", "-O1", "-shared", "-fPIC", HERE / "runner.c", "-o", self.folder / "librunner.so", "-ldl"])
        return programs

    def must(self, command):
        done = sh(command)
        if done.returncode != 0:
            sys.exit(f"mutate.py: {' '.join(map(str, command))}\n{done.stdout[-6000:]}{done.stderr[-6000:]}")

    def programs(self):
        return sorted(p.stem for p in (self.tree / "tests").glob("test_*.c"))

    def rewrite(self, path):
        """Writes the text with its mutants; remembers where each point lies."""
        text = self.texts[path]
        new, text.places = text.schema(self.numbers, self.refused)
        if path.startswith("kernels_cl"):  # the device compiles what it always did
            head = "#ifdef QEMB_MUTATION_BUILD\n"
            text.places = {n: (a + len(head), b + len(head)) for n, (a, b) in text.places.items()}
            new = f"{head}{new}\n#else\n{text.text}\n#endif\n"
        text.new = new
        write(self.tree / path, new)

    def settle(self):
        """Asks the compiler about every file until it accepts all: a point that it refuses is compiled alone later."""
        key = hashlib.sha256(json.dumps([sorted(self.numbers), [t.text for t in self.texts.values()],
                                         (HERE / "points.py").read_text()]).encode()).hexdigest()
        kept = self.folder / "refused.json"
        if kept.is_file() and json.loads(kept.read_text())["key"] == key:
            self.refused = set(json.loads(kept.read_text())["refused"])
            for path in self.texts:
                self.rewrite(path)
            return
        left = self.commands()
        for _ in range(12):
            with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
                outputs = list(pool.map(self.check, left))
            again, hit, before = [], set(), set(self.refused)
            for command, output in zip(left, outputs):
                if output:
                    again.append(command)
                    hit |= self.blame(output, before)
            if not again:
                break
            for path in hit:
                self.rewrite(path)
            left = again
        else:
            sys.exit(f"mutate.py: the compiler still refuses\n{outputs[-1][:3000]}")
        kept.write_text(json.dumps({"key": key, "refused": sorted(self.refused)}))

    def same_code(self, text, m):
        """Is the object code of this mutant that of the original? (A header's is not looked at: it has none of its own.)"""
        if not text.path.endswith(".c"):
            return False
        before = self.object_of(text.path, text.text)
        after = self.object_of(text.path, text.alone(m))
        return bool(after) and after == before

    def object_of(self, path, code):
        """The object code of a text as the library's is made, or nothing where it does not compile."""
        with self.lock:
            if (path, code) not in self.objects:
                self.objects[path, code] = None
        if self.objects[path, code] is None:
            self.objects[path, code] = self.compile(path, code)
        return self.objects[path, code]

    def compile(self, path, code):
        command = next(c for c in self.commands() if c["file"] == f"{self.tree}/{path}")
        words = shlex.split(command["command"])
        at = words.index("-include")  # without what chooses mutants
        words = [w for w in words[:at] + words[at + 2:] if w not in ("-g", "-c", command["file"])]
        words = words[:words.index("-o")] + words[words.index("-o") + 2:]
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "mutant.c").write_text(code)
            done = sh([*words, "-O2", "-c", "mutant.c", "-o", "mutant.o"], cwd=folder)
            return (pathlib.Path(folder) / "mutant.o").read_bytes() if done.returncode == 0 else b""

    def commands(self):
        return [c for c in json.loads((self.build / "compile_commands.json").read_text())
                if c["file"].startswith(f"{self.tree}/src/") and "qemb_objects.dir" in c.get("output", c["command"])]

    def check(self, command):
        words = shlex.split(command["command"])
        words = words[:words.index("-o")] + words[words.index("-o") + 2:]
        done = sh([*[w for w in words if w != "-c"], "-fsyntax-only", "-ferror-limit=0"], cwd=command["directory"])
        return done.stderr if done.returncode != 0 else ""

    def blame(self, output, before):
        """Takes back the innermost point round every error; the files that changed."""
        hit, found = set(), False
        lines = [m.groups() for pattern in (ERROR, NOTE) for m in pattern.finditer(output)]
        for name, line, column, _ in lines:
            try:
                path = str(pathlib.Path(name).relative_to(self.tree))
            except ValueError:
                continue
            if path not in self.texts:
                continue
            text = self.texts[path]
            starts = [0] + [m.end() for m in re.finditer("\n", text.new)]
            at = starts[int(line) - 1] + int(column) - 1
            around = [(b - a, n) for n, (a, b) in text.places.items() if a <= at <= b and n not in before]
            if not around:  # the error lies beside what was inserted: all of its line
                end = starts[int(line)] if int(line) < len(starts) else len(text.new)
                around = [(0, n) for n, (a, b) in text.places.items() if a < end and b > starts[int(line) - 1] and n not in before]
                self.refused |= {n for _, n in around}
            else:
                self.refused.add(min(around)[1])
            if around:
                found = True
                hit.add(path)
        if not found:
            sys.exit(f"mutate.py: cannot tell which point the compiler refuses\n{output[:3000]}")
        return hit
