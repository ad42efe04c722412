#!/usr/bin/env python3
"""Times the same lookups and training steps in FBGEMM's CPU table-batched embeddings and in qemb, in turns, in one process.

    python3 -m venv ENV && ENV/bin/pip install fbgemm-gpu-cpu==1.2.0 torch==2.7.1 numpy
    ENV/bin/python bench/compare_fbgemm.py              W1 scaled to this machine: T = 8, E = 100 thousand, D = 128, B = 512, L = 20
    ENV/bin/python bench/compare_fbgemm.py --kaggle     26 Criteo Kaggle tables, D = 16, one lookup a feature, batches 128, 2048, 16384

float: SplitTableBatchedEmbeddingBagsCodegen with exact SGD, forward and step; int8 and int4: IntNBitTableBatchedEmbeddingBagsCodegen with float32
output against qemb's FBGEMM layout. FBGEMM has no fake-quantised training; `cross` is qemb's QAT against its float. Same weights, same fresh ids;
one line an operation, ratio: median over the pairs of FBGEMM's time / qemb's. Not part of the two commands.
"""
import sys

try:
    from qemb_library import KAGGLE, LAYOUT_FBGEMM, OBSERVERS, Library, Qemb, compare, options, print_row
    import numpy as np
    import torch
    import fbgemm_gpu
    from fbgemm_gpu.split_embedding_configs import EmbOptimType, SparseType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_inference import IntNBitTableBatchedEmbeddingBagsCodegen
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import ComputeDevice, SplitTableBatchedEmbeddingBagsCodegen
except ImportError as error:
    sys.exit(f"compare_fbgemm.py: {error}; see the head of this file")


class Fbgemm:
    """The tables as one TBE; bits 32 trains, 8 and 4 serve."""

    def __init__(self, weights, bits, learning_rate):
        self.bits, self.tables = bits, len(weights)
        if bits == 32:
            self.tbe = SplitTableBatchedEmbeddingBagsCodegen(
                [(*w.shape, EmbeddingLocation.HOST, ComputeDevice.CPU) for w in weights], optimizer=EmbOptimType.EXACT_SGD, learning_rate=learning_rate,
                bounds_check_mode=BoundsCheckMode.NONE, device="cpu")
            for mine, given in zip(self.tbe.split_embedding_weights(), weights):
                mine.data.copy_(given)
            return
        kind = SparseType.INT8 if bits == 8 else SparseType.INT4
        self.tbe = IntNBitTableBatchedEmbeddingBagsCodegen(
            [(f"table{i}", *w.shape, kind, EmbeddingLocation.HOST) for i, w in enumerate(weights)], bounds_check_mode=BoundsCheckMode.NONE, device="cpu",
            output_dtype=SparseType.FP32, row_alignment=1)
        self.tbe.fill_random_weights()
        for (mine, _), given in zip(self.tbe.split_embedding_weights(split_scale_shifts=False), weights):
            packed = torch.ops.fbgemm.FloatToFusedNBitRowwiseQuantizedSBHalf(given, bits)
            mine[:, : packed.shape[1]].copy_(torch.cat([packed[:, -4:], packed[:, :-4]], 1))  # scale and bias in front

    def set(self, ids):
        flat = torch.from_numpy(ids.reshape(-1).copy())
        offsets = torch.arange(0, flat.numel() + 1, ids.shape[2])
        self.arguments = (flat, offsets) if self.bits == 32 else (flat.int(), offsets.int())

    def set_grad(self, grad):
        self.grad = torch.from_numpy(grad)

    def forward(self):
        with torch.no_grad():
            self.out = self.tbe(*self.arguments)

    def step(self):
        self.out = self.tbe(*self.arguments)
        self.out.backward(self.grad)

    def result(self):
        return np.ascontiguousarray(self.out.detach().numpy())

    def close(self):
        self.tbe = self.out = None


def measure(args, library, weights, batch, bag, module, operation):
    bits = int(module[3:]) if module.startswith("int") else 32
    theirs = Fbgemm(weights, bits, args.lr)
    ours = Qemb(library, args.qemb, weights, batch, module == "cross", args.lr, (LAYOUT_FBGEMM, bits) if bits < 32 else None, OBSERVERS[args.observer])
    return compare(args, ours, theirs, module, operation, weights, batch, bag,
                   {"peer": f"fbgemm_gpu {fbgemm_gpu.__version__} torch {torch.__version__}", "threads": torch.get_num_threads()})


def main():
    p = options(__doc__, "FBGEMM", {"rows": 100000, "dim": 128, "batch": 512})
    p.add_argument("--tables", type=int, default=8)
    p.add_argument("--module", nargs="*", choices=["float", "cross", "int8", "int4"], default=["float", "cross", "int8", "int4"])
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    dim = args.dim or (16 if args.kaggle else 128)
    library = Library(args.library)
    torch.manual_seed(args.seed)
    weights = [torch.randn(n, dim) for n in (KAGGLE if args.kaggle else [args.rows] * args.tables)]
    failed = 0
    for batch in args.batch or ([128, 2048, 16384] if args.kaggle else [512]):
        for module in args.module:
            for operation in ["forward"] if module.startswith("int") else ["forward", "step"]:
                try:
                    print_row(args, "FBGEMM", measure(args, library, weights, batch, args.bag or (1 if args.kaggle else 20), module, operation))
                except RuntimeError as error:
                    failed = 1
                    print(f"compare_fbgemm.py: {operation} {module}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
