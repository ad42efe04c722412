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
import copy
import sys

try:
    from qemb_library import KAGGLE, LAYOUT_TORCH_ROWWISE, OBSERVERS, Library, Qemb, compare, options, print_row
    import numpy as np
    import torch
except ImportError as error:
    sys.exit(f"compare_torch.py: {error}; install python3-torch and python3-numpy, or use the interpreter that has them")


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


def measure(args, library, weights, batch, bag, module, operation):
    packed = int(module[3:]) if module.startswith("int") else None
    theirs = TorchPacked(weights, packed) if packed else Torch(args.device, weights, module == "qat", args.lr)
    ours = Qemb(library, args.qemb, weights, batch, module in ("qat", "cross"), args.lr, (LAYOUT_TORCH_ROWWISE, packed) if packed else None, OBSERVERS[args.observer])
    return compare(args, ours, theirs, module, operation, weights, batch, bag,
                   {"peer": f"torch {torch.__version__}", "peer_device": args.device, "threads": torch.get_num_threads()})


def main():
    p = options(__doc__, "PyTorch on the CPU", {"rows": 1000000, "dim": 64, "batch": 2048})
    p.add_argument("--packed", action="store_true", help="quantised bags")
    p.add_argument("--scale", type=float, default=1.0, help="of the Kaggle cardinalities")
    p.add_argument("--module", nargs="*", choices=["float", "qat", "cross"], help="float qat cross; with --kaggle float cross")
    p.add_argument("--operation", nargs="*", choices=["forward", "step"], default=["forward", "step"])
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of PyTorch")
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
                        print_row(args, "PyTorch", measure(args, library, weights, batch, args.bag or (1 if args.kaggle else 20), module, operation))
                    except RuntimeError as error:
                        failed = 1
                        print(f"compare_torch.py: {operation} {module}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
