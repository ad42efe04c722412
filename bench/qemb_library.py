"""What the comparison scripts share: libqemb.so by ctypes, its modules and packed tables behind a few methods, ids, the clock of pairs, options, lines.

The structures below are those of include/qemb/qemb.h, field by field; Library() has the C compiler say where every field of the header lies and
refuses to run when one lies elsewhere (without a compiler it says that this was not checked).
"""
import argparse
import ctypes as C
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

INT32, INT64 = 4, 5  # qemb_dtype
MODE_SUM = 1
SGD = 0
OBSERVER_MOVING_AVERAGE, OBSERVER_MEMORYLESS = 0, 2
OBSERVERS = {"memoryless": OBSERVER_MEMORYLESS, "moving_average": OBSERVER_MOVING_AVERAGE}
LAYOUT_TORCH_ROWWISE, LAYOUT_FBGEMM, LAYOUT_PLANAR = 0, 2, 3
PACK_AS_PEER = 1
KAGGLE = [1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652, 2173, 4, 7046547,
          18, 15, 286181, 105, 142572]


class QConfig(C.Structure):
    _fields_ = [("quant_min", C.c_int32), ("quant_max", C.c_int32), ("observer", C.c_int), ("averaging_constant", C.c_float),
                ("eps", C.c_float), ("arithmetic", C.c_int), ("layout", C.c_int), ("qparams", C.c_int), ("symmetric", C.c_bool), ("observer_off", C.c_bool), ("fake_quant_off", C.c_bool)]


class TableDesc(C.Structure):
    _fields_ = [("num_embeddings", C.c_int64), ("embedding_dim", C.c_int64), ("has_padding_idx", C.c_bool), ("padding_idx", C.c_int64),
                ("has_max_norm", C.c_bool), ("max_norm", C.c_float), ("norm_type", C.c_float), ("dtype", C.c_int), ("qconfig", QConfig),
                ("weight", C.c_void_p), ("weight_buffer", C.c_void_p), ("seed", C.c_uint64), ("name", C.c_char_p)]


class BagOptions(C.Structure):
    _fields_ = [("mode", C.c_int), ("scale_grad_by_freq", C.c_bool), ("sparse", C.c_bool), ("include_last_offset", C.c_bool)]


class CollectionDesc(C.Structure):
    _fields_ = [("tables", C.POINTER(TableDesc)), ("num_tables", C.c_int32), ("feature_table", C.c_void_p), ("num_features", C.c_int32),
                ("options", BagOptions)]


class Input(C.Structure):
    _fields_ = [("indices", C.c_void_p), ("num_indices", C.c_int64), ("indices_dtype", C.c_int), ("offsets", C.c_void_p),
                ("num_offsets", C.c_int64), ("offsets_dtype", C.c_int), ("columns", C.c_int64), ("per_sample_weights", C.c_void_p),
                ("num_per_sample_weights", C.c_int64), ("check", C.c_int)]


class OptimizerDesc(C.Structure):
    _fields_ = [("kind", C.c_int)] + [(name, C.c_double) for name in (
        "lr", "momentum", "dampening", "weight_decay", "lr_decay", "initial_accumulator_value", "eps", "beta1", "beta2", "max_norm", "trust",
        "clip_limit")] + [("clip", C.c_int), ("decay", C.c_int), ("form", C.c_int), ("nesterov", C.c_bool), ("maximize", C.c_bool)]


class PackedFormat(C.Structure):
    _fields_ = [("layout", C.c_int), ("bits", C.c_int32), ("row_alignment", C.c_int32), ("qparams", C.c_int), ("symmetric", C.c_bool)]


class PackedDesc(C.Structure):
    _fields_ = [("format", PackedFormat), ("method", C.c_int), ("ranges", C.c_void_p), ("row_map", C.c_void_p), ("flags", C.c_uint32)]


STRUCTURES = {"qemb_qconfig": QConfig, "qemb_table_desc": TableDesc, "qemb_bag_options": BagOptions, "qemb_collection_desc": CollectionDesc,
              "qemb_input": Input, "qemb_optimizer_desc": OptimizerDesc, "qemb_packed_format": PackedFormat, "qemb_packed_desc": PackedDesc}


def layout_differences(folder):
    """Where the header's structures and those above differ, in words; None when there is no compiler to ask. `folder`: the library's."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return None
    wanted, lines = [], []
    for name, structure in STRUCTURES.items():
        wanted.append((f"sizeof({name})", C.sizeof(structure)))
        wanted += [(f"offsetof({name}, {field[0]})", getattr(structure, field[0]).offset) for field in structure._fields_]
    for expression, _ in wanted:
        lines.append(f'    printf("%zu\\n", {expression});')
    with tempfile.TemporaryDirectory() as folder_of_program:
        source, program = os.path.join(folder_of_program, "layout.c"), os.path.join(folder_of_program, "layout")
        with open(source, "w", encoding="utf-8") as file:
            file.write("#include <qemb/qemb.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n" + "\n".join(lines) + "\n    return 0;\n}\n")
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
        includes = [f"-I{os.path.join(*place)}" for place in ((root, "include"), (folder, "include"), (root, "build", "include"))]
        built = subprocess.run([compiler, *includes, "-o", program, source], capture_output=True, text=True, check=False)
        if built.returncode:
            return [f"the header does not compile with these fields: {built.stderr.strip().splitlines()[0]}"]
        real = [int(word) for word in subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()]
    return [f"{expression} is {there}, here {here}" for (expression, here), there in zip(wanted, real) if here != there]


class Library:
    """libqemb.so; a call that fails ends the program with the library's sentence."""

    def __init__(self, path):
        differences = layout_differences(os.path.dirname(os.path.abspath(path)))
        if differences is None:
            print("qemb_library.py: no C compiler, so the structures were not checked against the header", file=sys.stderr)
        elif differences:
            sys.exit("qemb_library.py: the header has changed: " + "; ".join(differences[:5]))
        if len(os.sched_getaffinity(0)) == os.cpu_count():  # as the program does: src/cli/cli.h, cli_spread_threads
            os.environ.setdefault("POCL_AFFINITY", "1")
        self.so = C.CDLL(path)
        self.so.qemb_last_error.restype = C.c_char_p
        self.so.qemb_qconfig_8bit.restype = QConfig
        self.so.qemb_qconfig_float.restype = QConfig

    def call(self, name, *arguments):
        status = getattr(self.so, name)(*arguments)
        if status != 0:
            raise RuntimeError(self.so.qemb_last_error().decode())

    def create(self, name, *arguments):
        handle = C.c_void_p()
        self.call(name, *arguments, C.byref(handle))
        return handle


class Qemb:
    """The tables as one collection."""

    def __init__(self, library, device, weights, batch, qat, learning_rate=0.01, packed=None, observer=OBSERVER_MEMORYLESS):
        """packed: (layout, bits), rows are packed by minmax and looked up so; else they are looked up as the module has them."""
        self.lib, self.batch_size, self.columns = library, batch, sum(w.shape[1] for w in weights)
        self.ctx = library.create("qemb_context_create", device.encode() if device else None)
        qconfig = library.so.qemb_qconfig_8bit() if qat else library.so.qemb_qconfig_float()
        qconfig.observer = observer if qat else qconfig.observer
        tables = (TableDesc * len(weights))()
        for table, w in zip(tables, weights):
            table.num_embeddings, table.embedding_dim = w.shape
            table.qconfig, table.weight = qconfig, w.data_ptr()
        desc = CollectionDesc(tables, len(weights), None, 0, BagOptions(MODE_SUM, False, False, False))
        self.bag = library.create("qemb_embedding_bag_collection_create", self.ctx, C.byref(desc))
        self.batch = library.create("qemb_batch_create", self.ctx)
        self.bytes = C.c_size_t(4 * batch * self.columns)
        self.out = library.create("qemb_buffer_create", self.ctx, self.bytes)
        self.grad = library.create("qemb_buffer_create", self.ctx, self.bytes)
        self.optimizer, self.learning_rate, self.packed = None, learning_rate, None
        if packed:
            how = PackedDesc(format=PackedFormat(layout=packed[0], bits=packed[1], row_alignment=1), flags=PACK_AS_PEER)
            self.packed = library.create("qemb_packed_create", self.bag, C.byref(how))

    def set(self, ids):  # [T][B][L]
        flat = np.ascontiguousarray(ids.reshape(-1))
        given = Input(flat.ctypes.data, flat.size, INT64, None, 0, 0, ids.shape[2], None, 0, 0)
        if self.packed:
            self.lib.call("qemb_packed_batch_set", self.packed, self.batch, C.byref(given))
        else:
            self.lib.call("qemb_batch_set", self.batch, self.bag, C.byref(given))
        self.lib.call("qemb_context_finish", self.ctx)

    def set_grad(self, grad):
        self.lib.call("qemb_buffer_write", self.grad, C.c_size_t(0), self.bytes, C.c_void_p(grad.ctypes.data))

    def forward(self):
        if self.packed:
            self.lib.call("qemb_packed_forward", self.packed, self.batch, self.out, 0)
        else:
            self.lib.call("qemb_embedding_bag_forward", self.bag, self.batch, self.out)
        self.lib.call("qemb_context_finish", self.ctx)

    def step(self):
        if self.optimizer is None:
            desc = OptimizerDesc(kind=0, lr=self.learning_rate)
            self.optimizer = self.lib.create("qemb_optimizer_create", self.ctx, self.bag, C.byref(desc))
        self.lib.call("qemb_embedding_bag_forward", self.bag, self.batch, self.out)
        self.lib.call("qemb_embedding_bag_step", self.bag, self.batch, self.grad, self.optimizer)
        self.lib.call("qemb_context_finish", self.ctx)

    def result(self):
        values = np.empty((self.batch_size, self.columns), np.float32)
        self.lib.call("qemb_buffer_read", self.out, C.c_size_t(0), self.bytes, C.c_void_p(values.ctypes.data))
        return values

    def close(self):
        so = self.lib.so
        for destroy, handle in ((so.qemb_optimizer_destroy, self.optimizer), (so.qemb_buffer_destroy, self.grad),
                                (so.qemb_buffer_destroy, self.out), (so.qemb_batch_destroy, self.batch), (so.qemb_packed_destroy, self.packed),
                                (so.qemb_embedding_bag_destroy, self.bag), (so.qemb_context_destroy, self.ctx)):
            if handle is not None:
                destroy(handle)


def draw(rng, rows, batch, bag, alpha):
    """Ids [T][B][L]; Zipf draws are spread over the table by an odd multiplier."""
    ids = np.empty((len(rows), batch, bag), np.int64)
    for t, e in enumerate(rows):
        if alpha > 1.0:
            ids[t] = ((rng.zipf(alpha, (batch, bag)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) % np.uint64(e)).astype(np.int64)
        else:
            ids[t] = rng.integers(0, e, (batch, bag))
    return ids


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


SMALL_PART, TURN = 16, 5


def alternate(theirs, ours, operation, pairs, next_ids):
    """Alternating pairs with the same fresh ids; the side that goes first changes from pair to pair. Times of both, and how the first outputs agree.

    What takes a 16th of the other's time or less runs five times in its turn, with fresh ids each, and the median counts: in a program it follows itself
    and not the other, which leaves nothing of it in the caches (`qemb bench --compare` does the same)."""
    times, agree, turns = ([], []), None, [1, 1]
    for pair in range(-2, pairs):
        first_ids = next_ids()
        sides = [theirs, ours]
        for k in (0, 1) if pair % 2 else (1, 0):
            taken = []
            for run in range(turns[k]):
                sides[k].set(next_ids() if run else first_ids)
                taken.append(seconds(getattr(sides[k], operation)))
            times[k].append(statistics.median(taken))
        if pair == -2:
            a, b = theirs.result(), ours.result()
            agree = {"equal_bits": bool((a.view(np.int32) == b.view(np.int32)).all()), "largest_difference": float(np.abs(a - b).max())}
        if pair == -1:
            turns = [TURN if SMALL_PART * times[k][-1] < times[1 - k][-1] else 1 for k in (0, 1)]
            times = ([], [])
    return {"pairs": pairs, "peer_us": 1e6 * statistics.median(times[0]), "qemb_us": 1e6 * statistics.median(times[1]),
            "ratio": statistics.median(a / b for a, b in zip(*times)), **agree}


def compare(args, ours, theirs, module, operation, weights, batch, bag, described):
    """One comparison as a row; both sides are closed. `described`: what else the row says of the peer."""
    rng = np.random.default_rng(args.seed)
    rows = [w.shape[0] for w in weights]
    try:
        if operation == "step":
            grad = (rng.random((batch, ours.columns), np.float32) - 0.5) * 1e-3
            ours.set_grad(grad)
            theirs.set_grad(grad)
        times = alternate(theirs, ours, operation, args.pairs, lambda: draw(rng, rows, batch, bag, args.alpha))
    finally:
        ours.close()
        theirs.close()
    return {"op": "packed_forward" if module.startswith("int") else operation, "module": module, "tables": len(rows), "rows": max(rows),
            "dim": weights[0].shape[1], "batch": batch, "bag": bag, "alpha": args.alpha, **described, **times}


def print_row(args, peer, r):
    if args.json:
        print(json.dumps(r), flush=True)
        return
    same = "equal bits" if r["equal_bits"] else f"differ by at most {r['largest_difference']:.2g}"
    print(f"{r['op']:14} {r['module']:6} T={r['tables']} E={r['rows']} D={r['dim']} B={r['batch']} L={r['bag']} alpha={r['alpha']:g}:  {peer} {r['peer_us']:.1f} us, "
          f"qemb {r['qemb_us']:.1f} us, ratio {r['ratio']:.2f} ({r['pairs']} pairs, first outputs {same})", flush=True)


def options(text, peer, shape):
    """The options that every comparison has; shape: usual rows, width, batch and bag, in words where --kaggle has others."""
    p = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=int, default=shape["rows"])
    p.add_argument("--dim", type=int, help=f"{shape['dim']}; with --kaggle 16")
    p.add_argument("--batch", type=int, nargs="*", help=f"{shape['batch']}; with --kaggle 128 2048 16384")
    p.add_argument("--bag", type=int, help="20; with --kaggle 1")
    p.add_argument("--alpha", type=float, default=1.0, help="above 1: Zipf")
    p.add_argument("--kaggle", action="store_true", help="the 26 Criteo Kaggle tables")
    p.add_argument("--observer", choices=list(OBSERVERS), default="memoryless", help="of qemb's QAT; PyTorch's moving average of constant 1 gives the same numbers")
    p.add_argument("--pairs", type=int, default=15)
    p.add_argument("--lr", type=float, default=0.01)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=os.cpu_count(), help=f"of {peer}: all")
    p.add_argument("--qemb", help="device of qemb, see `qemb devices`")
    p.add_argument("--library", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "libqemb.so"))
    p.add_argument("--json", action="store_true")
    return p
