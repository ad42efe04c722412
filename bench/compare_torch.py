#!/usr/bin/env python3
"""Times the same lookups and training steps in PyTorch and in qemb, in turns, in one process.

    python3 bench/compare_torch.py                     1 million x 64, batch 2048 x 20: float and QAT, forward and step
    python3 bench/compare_torch.py --kaggle            26 Criteo Kaggle tables, D = 16, one lookup a feature, batches 128, 2048, 16384
    python3 bench/compare_torch.py --device cuda       PyTorch on its GPU, qemb on the best OpenCL device (or --qemb NAME)

Both sides get the same weights and the same fresh ids; they are put where each wants them before the clock starts, and the clock stops when
the device has finished. The first pair's outputs are compared. One line an operation: medians, and the median over the pairs of
PyTorch's time / qemb's time. Needs torch (Debian: python3-torch, 1.13 or newer) and build/libqemb.so; not part of the two commands.
"""
import argparse
import copy
import ctypes as C
import json
import os
import statistics
import sys
import time

try:
    import numpy as np
    import torch
except ImportError as error:
    sys.exit(f"compare_torch.py: {error}; install python3-torch and python3-numpy, or use the interpreter that has them")

KAGGLE = [1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652, 2173, 4, 7046547,
          18, 15, 286181, 105, 142572]
INT32, INT64 = 4, 5  # qemb_dtype
MODE_SUM = 1


class QConfig(C.Structure):
    _fields_ = [("quant_min", C.c_int32), ("quant_max", C.c_int32), ("observer", C.c_int), ("averaging_constant", C.c_float),
                ("eps", C.c_float), ("arithmetic", C.c_int), ("layout", C.c_int), ("observer_off", C.c_bool), ("fake_quant_off", C.c_bool)]


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


class Library:
    """libqemb.so; a call that fails ends the program with the library's sentence."""

    def __init__(self, path):
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

    def __init__(self, library, device, weights, batch, qat, learning_rate):
        self.lib, self.batch_size, self.columns = library, batch, sum(w.shape[1] for w in weights)
        self.ctx = library.create("qemb_context_create", device.encode() if device else None)
        qconfig = library.so.qemb_qconfig_8bit() if qat else library.so.qemb_qconfig_float()
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
        self.optimizer, self.learning_rate = None, learning_rate

    def set(self, ids):  # [T][B][L]
        flat = np.ascontiguousarray(ids.reshape(-1))
        given = Input(flat.ctypes.data, flat.size, INT64, None, 0, 0, ids.shape[2], None, 0, 0)
        self.lib.call("qemb_batch_set", self.batch, self.bag, C.byref(given))
        self.lib.call("qemb_context_finish", self.ctx)

    def set_grad(self, grad):
        self.lib.call("qemb_buffer_write", self.grad, C.c_size_t(0), self.bytes, C.c_void_p(grad.ctypes.data))

    def forward(self):
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
                                (so.qemb_buffer_destroy, self.out), (so.qemb_batch_destroy, self.batch),
                                (so.qemb_embedding_bag_destroy, self.bag), (so.qemb_context_destroy, self.ctx)):
            if handle is not None:
                destroy(handle)


class Torch:
    """One module a table, as PyTorch has it. The float bag takes sparse gradients; the QAT module has none, its gradient is dense."""

    def __init__(self, device, weights, qat, learning_rate):
        self.device, self.bags = device, []
        for w in weights:
            if qat:
                import torch.ao.quantization as q
                try:
                    from torch.ao.nn.qat import EmbeddingBag
                except ImportError:
                    from torch.nn.qat import EmbeddingBag
                bag = EmbeddingBag(*w.shape, mode="sum", _weight=w.clone(), qconfig=copy.copy(q.default_embedding_qat_qconfig))
            else:
                bag = torch.nn.EmbeddingBag(*w.shape, mode="sum", sparse=True, _weight=w.clone())
            self.bags.append(bag.to(device).train())
        self.optimizer = torch.optim.SGD([p for b in self.bags for p in b.parameters()], lr=learning_rate)

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def set(self, ids):
        self.ids = [torch.from_numpy(t.copy()).to(self.device) for t in ids]
        self.wait()

    def set_grad(self, grad):
        parts = np.split(grad, np.cumsum([b.embedding_dim for b in self.bags])[:-1], axis=1)
        self.grads = [torch.from_numpy(np.ascontiguousarray(p)).to(self.device) for p in parts]

    def forward(self):
        with torch.no_grad():
            self.outs = [bag(ids) for bag, ids in zip(self.bags, self.ids)]
        self.wait()

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.outs = [bag(ids) for bag, ids in zip(self.bags, self.ids)]
        torch.autograd.backward(self.outs, self.grads)
        self.optimizer.step()
        self.wait()

    def result(self):
        return torch.cat([o.detach() for o in self.outs], 1).cpu().numpy()

    def close(self):
        self.bags = self.optimizer = self.outs = None


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


def compare(args, library, weights, batch, bag, qat, operation):
    """Alternating pairs; the one that goes first changes from pair to pair."""
    rng, times, agree = np.random.default_rng(args.seed), ([], []), None
    rows = [w.shape[0] for w in weights]
    theirs = Torch(args.device, weights, qat, args.lr)
    ours = Qemb(library, args.qemb, weights, batch, qat, args.lr)
    try:
        grad = (rng.random((batch, ours.columns), np.float32) - 0.5) * 1e-3
        ours.set_grad(grad)
        theirs.set_grad(grad)
        for pair in range(-2, args.pairs):
            ids = draw(rng, rows, batch, bag, args.alpha)
            sides = [theirs, ours]
            for k in (0, 1) if pair % 2 else (1, 0):
                sides[k].set(ids)
                taken = seconds(getattr(sides[k], operation))
                if pair >= 0:
                    times[k].append(taken)
            if pair == -2:
                a, b = theirs.result(), ours.result()
                agree = {"equal_bits": bool((a.view(np.int32) == b.view(np.int32)).all()), "largest_difference": float(np.abs(a - b).max())}
    finally:
        ours.close()
        theirs.close()
    return {"op": operation, "module": "qat" if qat else "float", "tables": len(rows), "rows": max(rows), "dim": weights[0].shape[1], "batch": batch,
            "bag": bag, "alpha": args.alpha, "pairs": args.pairs, "torch": torch.__version__, "torch_device": args.device, "threads": torch.get_num_threads(),
            "torch_us": 1e6 * statistics.median(times[0]), "qemb_us": 1e6 * statistics.median(times[1]),
            "ratio": statistics.median(a / b for a, b in zip(*times)), **agree}


def print_line(args, r):
    if args.json:
        print(json.dumps(r), flush=True)
    else:
        same = "equal bits" if r["equal_bits"] else f"differ by at most {r['largest_difference']:.2g}"
        print(f"{r['op']:8} {r['module']:6} T={r['tables']} E={r['rows']} D={r['dim']} B={r['batch']} L={r['bag']} alpha={r['alpha']:g}:  PyTorch {r['torch_us']:.1f} us, "
              f"qemb {r['qemb_us']:.1f} us, ratio {r['ratio']:.2f} ({r['pairs']} pairs, first outputs {same})", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=int, default=1000000)
    p.add_argument("--dim", type=int, help="64; with --kaggle 16")
    p.add_argument("--batch", type=int, nargs="*", help="2048; with --kaggle 128 2048 16384")
    p.add_argument("--bag", type=int, help="20; with --kaggle 1")
    p.add_argument("--alpha", type=float, default=1.0, help="above 1: Zipf")
    p.add_argument("--kaggle", action="store_true", help="the 26 Criteo Kaggle tables")
    p.add_argument("--scale", type=float, default=1.0, help="of the Kaggle cardinalities")
    p.add_argument("--module", nargs="*", choices=["float", "qat"], help="both; with --kaggle float")
    p.add_argument("--operation", nargs="*", choices=["forward", "step"], default=["forward", "step"])
    p.add_argument("--pairs", type=int, default=15)
    p.add_argument("--lr", type=float, default=0.01)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch on the CPU: all")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of PyTorch")
    p.add_argument("--qemb", help="device of qemb, see `qemb devices`")
    p.add_argument("--library", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "libqemb.so"))
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    dim = args.dim or (16 if args.kaggle else 64)
    rows = [max(int(-(-n * args.scale // 1)), min(n, 4)) for n in KAGGLE] if args.kaggle else [args.rows]
    library = Library(args.library)
    torch.manual_seed(args.seed)
    weights = [torch.randn(n, dim) for n in rows]
    failed = 0
    for batch in args.batch or ([128, 2048, 16384] if args.kaggle else [2048]):
        for module in args.module or (["float"] if args.kaggle else ["float", "qat"]):
            for operation in args.operation:
                try:
                    print_line(args, compare(args, library, weights, batch, args.bag or (1 if args.kaggle else 20), module == "qat", operation))
                except RuntimeError as error:
                    failed = 1
                    print(f"compare_torch.py: {operation} {module}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
