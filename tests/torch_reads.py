#!/usr/bin/env python3
"""torch_reads.py - PyTorch loads what qemb wrote and gives the same numbers, and the other way round.

usage: torch_reads.py LIBRARY PROGRAM FOLDER      libqemb.so, the program qemb, a folder for files

Needs torch and numpy. Every comparison is of bits. The last line says how many there were.
"""
import collections
import ctypes as c
import json
import struct
import subprocess
import sys

import numpy as np
import torch
import torch.ao.nn.qat as qat
from torch.ao.quantization import default_embedding_qat_qconfig, default_embedding_qat_qconfig_4bit

DTYPES = {"F32": np.float32, "U8": np.uint8, "I64": np.int64, "I32": np.int32}
compared = 0


def same(what, a, b):
    """The same type, shape and bytes."""
    global compared
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
        sys.exit(f"{what}: differs ({a.dtype} {a.shape}, {b.dtype} {b.shape})")
    compared += a.size


def read_file(path):
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            if t["dtype"] in DTYPES:
                tensors[name] = np.frombuffer(data[8 + length + begin : 8 + length + end], DTYPES[t["dtype"]]).reshape(t["shape"])
    return tensors


def write_file(path, tensors):
    names = {np.dtype(v): k for k, v in DTYPES.items()}
    header, at, body = {}, 0, b""
    for name, a in tensors.items():
        a = np.ascontiguousarray(a)
        header[name] = {"dtype": names[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
        body += a.tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


# ---- the library ---------------------------------------------------------------------------------------------------------


class QConfig(c.Structure):
    _fields_ = [("quant_min", c.c_int32), ("quant_max", c.c_int32), ("observer", c.c_int), ("averaging_constant", c.c_float), ("eps", c.c_float),
                ("arithmetic", c.c_int), ("layout", c.c_int), ("qparams", c.c_int), ("symmetric", c.c_bool), ("observer_off", c.c_bool),
                ("fake_quant_off", c.c_bool)]


class BagDesc(c.Structure):
    _fields_ = [("num_embeddings", c.c_int64), ("embedding_dim", c.c_int64), ("has_padding_idx", c.c_bool), ("padding_idx", c.c_int64),
                ("has_max_norm", c.c_bool), ("max_norm", c.c_float), ("norm_type", c.c_float), ("dtype", c.c_int), ("qconfig", QConfig),
                ("weight", c.c_void_p), ("weight_buffer", c.c_void_p), ("seed", c.c_uint64), ("name", c.c_char_p), ("mode", c.c_int),
                ("scale_grad_by_freq", c.c_bool), ("sparse", c.c_bool), ("include_last_offset", c.c_bool)]


class Input(c.Structure):
    _fields_ = [("indices", c.c_void_p), ("num_indices", c.c_int64), ("indices_dtype", c.c_int), ("offsets", c.c_void_p), ("num_offsets", c.c_int64),
                ("offsets_dtype", c.c_int), ("columns", c.c_int64), ("per_sample_weights", c.c_void_p), ("num_per_sample_weights", c.c_int64),
                ("check", c.c_int)]


MODES = {"mean": 0, "sum": 1, "max": 2}
lib = None


def ok(status):
    if status != 0:
        sys.exit(f"status {status}: {lib.qemb_last_error().decode()}")


class Module:
    """A bag of the library on one device."""

    def __init__(self, device, rows, dim, bits, mode, padding, seed):
        self.ctx, self.bag, self.batch = c.c_void_p(), c.c_void_p(), c.c_void_p()
        self.dim = dim
        ok(lib.qemb_context_create(device.encode(), c.byref(self.ctx)))
        desc = BagDesc(num_embeddings=rows, embedding_dim=dim, has_padding_idx=padding is not None, padding_idx=padding or 0, seed=seed,
                       qconfig=QConfig(quant_max=2**bits - 1), mode=MODES[mode])
        ok(lib.qemb_embedding_bag_create(self.ctx, c.byref(desc), c.byref(self.bag)))
        ok(lib.qemb_batch_create(self.ctx, c.byref(self.batch)))

    def _set(self, call, target, indices, offsets):
        self.kept = (indices, offsets)
        given = Input(indices=indices.ctypes.data, num_indices=indices.size, indices_dtype=5, offsets=offsets.ctypes.data, num_offsets=offsets.size)
        ok(call(*target, c.byref(given)))

    def _read(self, call, rows):
        out, buffer = np.empty((rows, self.dim), np.float32), c.c_void_p()
        ok(lib.qemb_buffer_create(self.ctx, c.c_size_t(out.nbytes), c.byref(buffer)))
        ok(call(buffer))
        ok(lib.qemb_buffer_read(buffer, c.c_size_t(0), c.c_size_t(out.nbytes), out.ctypes.data_as(c.c_void_p)))
        lib.qemb_buffer_destroy(buffer)
        return out

    def forward(self, indices, offsets):
        self._set(lib.qemb_batch_set, (self.batch, self.bag), indices, offsets)
        return self._read(lambda out: lib.qemb_embedding_bag_forward(self.bag, self.batch, out), offsets.size)

    def write_weight(self, weight):
        weight = np.ascontiguousarray(weight)
        ok(lib.qemb_embedding_bag_write_weight(self.bag, 0, c.c_int64(0), c.c_int64(weight.shape[0]), weight.ctypes.data_as(c.c_void_p)))

    def save(self, path):
        saver = c.c_void_p()
        ok(lib.qemb_saver_create(c.byref(saver)))
        ok(lib.qemb_saver_add_module(saver, None, self.bag))
        ok(lib.qemb_saver_write(saver, path.encode()))
        lib.qemb_saver_destroy(saver)

    def load(self, path):
        file = c.c_void_p()
        ok(lib.qemb_safetensors_open(path.encode(), c.byref(file)))
        ok(lib.qemb_load_module(file, None, self.bag))
        lib.qemb_safetensors_close(file)

    def serve(self, path, indices, offsets):
        """Sums of packed rows of a file."""
        file, packed = c.c_void_p(), c.c_void_p()
        ok(lib.qemb_safetensors_open(path.encode(), c.byref(file)))
        ok(lib.qemb_load_packed(self.ctx, file, None, c.c_uint32(1), c.byref(packed)))
        lib.qemb_safetensors_close(file)
        self._set(lib.qemb_packed_batch_set, (packed, self.batch), indices, offsets)
        out = self._read(lambda buffer: lib.qemb_packed_forward(packed, self.batch, buffer, 0), offsets.size)
        lib.qemb_packed_destroy(packed)
        return out

    def close(self):
        lib.qemb_batch_destroy(self.batch)
        lib.qemb_embedding_bag_destroy(self.bag)
        lib.qemb_context_destroy(self.ctx)


# ---- comparisons -----------------------------------------------------------------------------------------------------------


def lookups(random, rows, padding):
    """Bags of 0 to 6 indices."""
    counts = random.integers(0, 7, 17)
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    return random.integers(0, rows, counts.sum()).astype(np.int64), offsets


def torch_module(rows, dim, bits, mode, padding):
    qconfig = default_embedding_qat_qconfig if bits == 8 else default_embedding_qat_qconfig_4bit
    return qat.EmbeddingBag(rows, dim, mode=mode, padding_idx=padding, qconfig=qconfig)


def state_of(module):
    return {k: v.detach().clone().numpy() for k, v in module.state_dict().items()}  # a view would pin the storage, and torch resizes it


def as_state_dict(module, tensors):
    """Without the versions that torch keeps beside a state dict its observers look for the keys of old releases."""
    state = collections.OrderedDict((k, torch.from_numpy(v.copy())) for k, v in tensors.items())
    state._metadata = module.state_dict()._metadata
    return state


def compare_state_dicts(device, folder, shape, random):
    rows, dim, bits, mode, padding = shape
    path = f"{folder}/state"
    ours, theirs = Module(device, rows, dim, bits, mode, padding, 7), torch_module(rows, dim, bits, mode, padding)
    # ours after two forwards, the weights changed between them, into torch
    for _ in range(2):
        indices, offsets = lookups(random, rows, padding)
        ours.forward(indices, offsets)
        ours.save(path)
        state = read_file(path)
        expected = list(state_of(theirs))
        if sorted(state) != sorted(expected):
            sys.exit(f"keys {sorted(state)}, torch has {sorted(expected)}")
        theirs.load_state_dict(as_state_dict(theirs, state), strict=True)
        for k, v in state_of(theirs).items():
            same(f"{device} {shape} {k}", v, state[k])
        ours.write_weight(state["weight"] * np.float32(0.875))
        with torch.no_grad():
            theirs.weight.mul_(0.875)
        indices, offsets = lookups(random, rows, padding)
        got, want = ours.forward(indices, offsets), theirs(torch.from_numpy(indices), torch.from_numpy(offsets))
        same(f"{device} {shape} forward of a state of ours", got, want.detach().numpy())
    # torch's into a fresh module of ours
    write_file(path, state_of(theirs))
    fresh = Module(device, rows, dim, bits, mode, padding, 11)
    fresh.load(path)
    indices, offsets = lookups(random, rows, padding)
    got, want = fresh.forward(indices, offsets), theirs(torch.from_numpy(indices), torch.from_numpy(offsets))
    same(f"{device} {shape} forward of a state of torch", got, want.detach().numpy())
    fresh.save(path)
    for k, v in state_of(theirs).items():
        same(f"{device} {shape} {k} back", read_file(path)[k], v)
    fresh.close()
    ours.close()


def compare_rows(device, program, folder, rows, dim, random):
    prepack = {8: torch.ops.quantized.embedding_bag_byte_prepack, 4: torch.ops.quantized.embedding_bag_4bit_prepack,
               2: torch.ops.quantized.embedding_bag_2bit_prepack}
    lookup = {8: torch.ops.quantized.embedding_bag_byte_rowwise_offsets, 4: torch.ops.quantized.embedding_bag_4bit_rowwise_offsets,
              2: torch.ops.quantized.embedding_bag_2bit_rowwise_offsets}
    weight = (random.standard_normal((rows, dim)) * 2.0 ** random.integers(-8, 5, (rows, 1))).astype(np.float32)
    weight[3] = 0.25
    weight[5] = 0.0
    write_file(f"{folder}/float", {"weight": weight})
    module = Module(device, rows, dim, 8, "sum", None, 1)
    for bits in (8, 4, 2):
        path = f"{folder}/packed"
        subprocess.run([program, "convert", f"{folder}/float", "--bits", str(bits), "--layout", "torch_rowwise", "--mode", "sum", "--device", device, "-o", path],
                       check=True, stdout=subprocess.DEVNULL)
        ours = read_file(path)["table0.rows"]
        theirs = prepack[bits](torch.from_numpy(weight))
        same(f"{device} rows of {dim} at {bits} bits", ours, theirs.numpy())
        indices, offsets = lookups(random, rows, None)
        want = lookup[bits](torch.from_numpy(ours.copy()), torch.from_numpy(indices), torch.from_numpy(offsets), mode=0)
        same(f"{device} sums of {dim} at {bits} bits", module.serve(path, indices, offsets), want.numpy())
    module.close()


def main():
    global lib
    library, program, folder = sys.argv[1:4]
    lib = c.CDLL(library)
    lib.qemb_last_error.restype = c.c_char_p
    for name in ("qemb_embedding_bag_destroy", "qemb_batch_destroy", "qemb_context_destroy", "qemb_buffer_destroy", "qemb_saver_destroy",
                 "qemb_safetensors_close", "qemb_packed_destroy"):
        getattr(lib, name).restype = None
    random = np.random.default_rng(3)
    torch.manual_seed(3)
    for device in ("reference", "opencl"):
        for shape in ((31, 11, 8, "sum", None), (53, 16, 4, "mean", 3), (13, 64, 8, "max", None), (101, 7, 4, "sum", 5)):
            compare_state_dicts(device, folder, shape, random)
        for rows, dim in ((37, 8), (41, 32), (29, 52)):
            compare_rows(device, program, folder, rows, dim, random)
    print(f"PyTorch {torch.__version__}: {compared} numbers compared, all the same")


if __name__ == "__main__":
    main()
