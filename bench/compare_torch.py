#!/usr/bin/env python3
"""Times the same lookups and training steps in PyTorch and in qemb, in turns, in one process.

    python3 bench/compare_torch.py                     1 million x 64, batch 2048 x 20: float and QAT, forward and step
    python3 bench/compare_torch.py --kaggle            26 Criteo Kaggle tables, D = 16, one lookup a feature, batches 128, 2048, 16384
    python3 bench/compare_torch.py --packed            packed rows against its quantised bags, 8 and 4 bits, D = 16, 64, 128
    python3 bench/compare_torch.py --device cuda       PyTorch on its GPU, qemb on the best OpenCL device (or --qemb NAME)

Both sides get the same weights and the same fresh ids; they are put where each wants them before the clock starts, and the clock stops when
the device has finished. The first pair's outputs are compared. One line an operation: medians, and the median over the pairs of
PyTorch's time / qemb's time. Module `cross` is qemb's QAT against PyTorch's float. Needs torch (Debian: python3-torch, 1.13 or newer) and build/libqemb.so; not part of the two commands.
"""
import argparse
import copy
import json
import os
import sys

try:
    from qemb_library import KAGGLE, LAYOUT_TORCH_ROWWISE, OBSERVER_MEMORYLESS, OBSERVER_MOVING_AVERAGE, Library, Qemb, alternate, draw
    import numpy as np
    import torch
except ImportError as error:
    sys.exit(f"compare_torch.py: {error}; install python3-torch and python3-numpy, or use the interpreter that has them")


OBSERVERS = {"memoryless": OBSERVER_MEMORYLESS, "moving_average": OBSERVER_MOVING_AVERAGE}


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


class TorchPacked:
    """PyTorch's quantised bags: one packed table and the operator of its width."""

    def __init__(self, weights, bits):
        ops = torch.ops.quantized
        self.table = (ops.embedding_bag_byte_prepack if bits == 8 else ops.embedding_bag_4bit_prepack)(weights[0])
        self.lookup = ops.embedding_bag_byte_rowwise_offsets if bits == 8 else ops.embedding_bag_4bit_rowwise_offsets

    def set(self, ids):
        self.ids = torch.from_numpy(ids[0].reshape(-1).copy())
        self.offsets = torch.arange(0, self.ids.numel(), ids.shape[2])

    def forward(self):
        self.out = self.lookup(self.table, self.ids, self.offsets, mode=0, include_last_offset=False)

    def result(self):
        return self.out.numpy()

    def close(self):
        self.table = self.out = None


def compare(args, library, weights, batch, bag, module, operation):
    rng = np.random.default_rng(args.seed)
    rows = [w.shape[0] for w in weights]
    packed = int(module[3:]) if module.startswith("int") else None
    theirs = TorchPacked(weights, packed) if packed else Torch(args.device, weights, module == "qat", args.lr)
    ours = Qemb(library, args.qemb, weights, batch, module in ("qat", "cross"), args.lr, (LAYOUT_TORCH_ROWWISE, packed) if packed else None, OBSERVERS[args.observer])
    try:
        if operation == "step":
            grad = (rng.random((batch, ours.columns), np.float32) - 0.5) * 1e-3
            ours.set_grad(grad)
            theirs.set_grad(grad)
        times = alternate(theirs, ours, operation, args.pairs, lambda: draw(rng, rows, batch, bag, args.alpha))
    finally:
        ours.close()
        theirs.close()
    return {"op": "packed_forward" if packed else operation, "module": module, "tables": len(rows), "rows": max(rows), "dim": weights[0].shape[1],
            "batch": batch, "bag": bag, "alpha": args.alpha, "peer": f"torch {torch.__version__}", "peer_device": args.device,
            "threads": torch.get_num_threads(), **times}


def print_line(args, r):
    if args.json:
        print(json.dumps(r), flush=True)
    else:
        same = "equal bits" if r["equal_bits"] else f"differ by at most {r['largest_difference']:.2g}"
        print(f"{r['op']:14} {r['module']:6} T={r['tables']} E={r['rows']} D={r['dim']} B={r['batch']} L={r['bag']} alpha={r['alpha']:g}:  PyTorch {r['peer_us']:.1f} us, "
              f"qemb {r['qemb_us']:.1f} us, ratio {r['ratio']:.2f} ({r['pairs']} pairs, first outputs {same})", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=int, default=1000000)
    p.add_argument("--dim", type=int, help="64; with --kaggle 16")
    p.add_argument("--batch", type=int, nargs="*", help="2048; with --kaggle 128 2048 16384")
    p.add_argument("--bag", type=int, help="20; with --kaggle 1")
    p.add_argument("--alpha", type=float, default=1.0, help="above 1: Zipf")
    p.add_argument("--packed", action="store_true", help="quantised bags")
    p.add_argument("--kaggle", action="store_true", help="the 26 Criteo Kaggle tables")
    p.add_argument("--scale", type=float, default=1.0, help="of the Kaggle cardinalities")
    p.add_argument("--module", nargs="*", choices=["float", "qat", "cross"], help="float qat cross; with --kaggle float cross")
    p.add_argument("--operation", nargs="*", choices=["forward", "step"], default=["forward", "step"])
    p.add_argument("--observer", choices=list(OBSERVERS), default="memoryless", help="of qemb's QAT; PyTorch's moving average of constant 1 gives the same numbers")
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
    rows = [max(int(-(-n * args.scale // 1)), min(n, 4)) for n in KAGGLE] if args.kaggle else [args.rows]
    library = Library(args.library)
    print(f"compare_torch.py: torch {torch.__version__}, {torch.__config__.show().splitlines()[-1].strip()[:160]}", file=sys.stderr)
    failed = 0
    for dim in [args.dim] if args.dim else [16] if args.kaggle else [16, 64, 128] if args.packed else [64]:
        torch.manual_seed(args.seed)
        weights = [torch.randn(n, dim) for n in rows]
        for batch in args.batch or ([128, 2048, 16384] if args.kaggle else [2048]):
            for module in ["int8", "int4"] if args.packed else args.module or (["float", "cross"] if args.kaggle else ["float", "qat", "cross"]):
                for operation in ["forward"] if args.packed else args.operation:
                    try:
                        print_line(args, compare(args, library, weights, batch, args.bag or (1 if args.kaggle else 20), module, operation))
                    except RuntimeError as error:
                        failed = 1
                        print(f"compare_torch.py: {operation} {module}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
