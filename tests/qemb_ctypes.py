"""libqemb.so for Python tests: descriptors of include/qemb/qemb.h, and one class a module. Needs numpy."""
import ctypes as C

import numpy as np

INT32, INT64 = 4, 5
MODES = {"mean": 0, "sum": 1, "max": 2}
OBSERVERS = {"moving_average": 0, "min_max": 1, "memoryless": 2}
OPTIMIZERS = {"sgd": 0, "adagrad": 1, "sparse_adam": 3, "adam": 4}


class QConfig(C.Structure):
    _fields_ = [("quant_min", C.c_int32), ("quant_max", C.c_int32), ("observer", C.c_int), ("averaging_constant", C.c_float),
                ("eps", C.c_float), ("arithmetic", C.c_int), ("layout", C.c_int), ("qparams", C.c_int), ("symmetric", C.c_bool),
                ("observer_off", C.c_bool), ("fake_quant_off", C.c_bool)]


TABLE = [("num_embeddings", C.c_int64), ("embedding_dim", C.c_int64), ("has_padding_idx", C.c_bool), ("padding_idx", C.c_int64),
         ("has_max_norm", C.c_bool), ("max_norm", C.c_float), ("norm_type", C.c_float), ("dtype", C.c_int), ("qconfig", QConfig),
         ("weight", C.c_void_p), ("weight_buffer", C.c_void_p), ("seed", C.c_uint64), ("name", C.c_char_p)]


class BagDesc(C.Structure):
    _fields_ = TABLE + [("mode", C.c_int), ("scale_grad_by_freq", C.c_bool), ("sparse", C.c_bool), ("include_last_offset", C.c_bool)]


class EmbeddingDesc(C.Structure):
    _fields_ = TABLE + [("scale_grad_by_freq", C.c_bool), ("sparse", C.c_bool)]


class Input(C.Structure):
    _fields_ = [("indices", C.c_void_p), ("num_indices", C.c_int64), ("indices_dtype", C.c_int), ("offsets", C.c_void_p),
                ("num_offsets", C.c_int64), ("offsets_dtype", C.c_int), ("columns", C.c_int64), ("per_sample_weights", C.c_void_p),
                ("num_per_sample_weights", C.c_int64), ("check", C.c_int)]


class Gradients(C.Structure):
    _fields_ = [("table", C.c_int32), ("dense", C.c_void_p), ("coo_indices", C.c_void_p), ("coo_values", C.c_void_p),
                ("coo_count", C.c_void_p), ("coalesced", C.c_bool), ("per_sample_weights", C.c_void_p)]


class ObserverRows(C.Structure):
    _fields_ = [(name, C.c_void_p) for name in ("min_val", "max_val", "scale", "zero_point")]


class OptimizerDesc(C.Structure):
    _fields_ = [("kind", C.c_int)] + [(name, C.c_double) for name in (
        "lr", "momentum", "dampening", "weight_decay", "lr_decay", "initial_accumulator_value", "eps", "beta1", "beta2", "max_norm", "trust",
        "clip_limit")] + [("clip", C.c_int), ("decay", C.c_int), ("form", C.c_int), ("nesterov", C.c_bool), ("maximize", C.c_bool)]


class OptimizerInfo(C.Structure):
    _fields_ = [("bag", C.c_void_p), ("kind", C.c_int), ("lr", C.c_double), ("steps", C.c_int64), ("desc", OptimizerDesc),
                ("num_arrays", C.c_int32), ("array_name", C.c_char_p * 2), ("array_row_wise", C.c_bool * 2), ("state_bytes", C.c_int64)]


class Library:
    """libqemb.so and a context; a call that fails raises RuntimeError with the library's sentence."""

    def __init__(self, path, device):
        self.so = C.CDLL(path)
        self.so.qemb_last_error.restype = C.c_char_p
        self.so.qemb_embedding_as_bag.restype = C.c_void_p
        self.so.qemb_embedding_as_bag.argtypes = [C.c_void_p]
        self.ctx = self.create("qemb_context_create", device.encode())

    def call(self, name, *arguments):
        if getattr(self.so, name)(*arguments) != 0:
            raise RuntimeError(self.so.qemb_last_error().decode())

    def create(self, name, *arguments):
        handle = C.c_void_p()
        self.call(name, *arguments, C.byref(handle))
        return handle

    def destroy(self, kind, handle):
        if handle:
            getattr(self.so, f"qemb_{kind}_destroy")(handle)

    def buffer(self, size):
        return self.create("qemb_buffer_create", self.ctx, C.c_size_t(max(int(size), 1)))

    def read(self, buffer, shape, dtype=np.float32):
        out = np.empty(shape, dtype)
        self.call("qemb_buffer_read", buffer, C.c_size_t(0), C.c_size_t(out.nbytes), C.c_void_p(out.ctypes.data))
        return out

    def write(self, buffer, array):
        self.call("qemb_buffer_write", buffer, C.c_size_t(0), C.c_size_t(array.nbytes), C.c_void_p(array.ctypes.data))


class Module:
    """One table: a bag, or an embedding (mode None)."""

    def __init__(self, lib, weight, mode, qconfig, options, optimizer=None):
        self.lib, self.rows, self.dim, self.mode = lib, weight.shape[0], weight.shape[1], mode
        pad, norm = options.get("padding_idx"), options.get("max_norm")
        desc = (EmbeddingDesc if mode is None else BagDesc)(
            num_embeddings=self.rows, embedding_dim=self.dim, has_padding_idx=pad is not None, padding_idx=pad or 0,
            has_max_norm=norm is not None, max_norm=norm or 0.0, norm_type=options.get("norm_type", 2.0) if norm is not None else 0.0,
            qconfig=qconfig, weight=weight.ctypes.data, scale_grad_by_freq=options["scale_grad_by_freq"], sparse=options["sparse"])
        self.embedding = None
        if mode is None:
            self.embedding = lib.create("qemb_embedding_create", lib.ctx, C.byref(desc))
            self.bag = C.c_void_p(lib.so.qemb_embedding_as_bag(self.embedding))
        else:
            desc.mode, desc.include_last_offset = MODES[mode], options["include_last_offset"]
            self.bag = lib.create("qemb_embedding_bag_create", lib.ctx, C.byref(desc))
        self.batch = lib.create("qemb_batch_create", lib.ctx)
        self.optimizer = lib.create("qemb_optimizer_create", lib.ctx, self.bag, C.byref(optimizer)) if optimizer else None
        self.out = self.grad = None

    def close(self):
        for kind, handle in (("buffer", self.out), ("buffer", self.grad), ("optimizer", self.optimizer), ("batch", self.batch)):
            self.lib.destroy(kind, handle)
        if self.embedding:
            self.lib.destroy("embedding", self.embedding)
        else:
            self.lib.destroy("embedding_bag", self.bag)

    def switch(self, which, on):
        self.lib.call(f"qemb_embedding_bag_set_{which}", self.bag, C.c_int32(0), C.c_bool(on))

    def forward(self, ids, offsets, psw, bags, columns):
        """ids and offsets int32 or int64 arrays; offsets None: [bags][columns], or an embedding."""
        kind = {np.dtype(np.int32): INT32, np.dtype(np.int64): INT64}
        given = Input(ids.ctypes.data, ids.size, kind[ids.dtype])
        if offsets is not None:
            given.offsets, given.num_offsets, given.offsets_dtype = offsets.ctypes.data, offsets.size, kind[offsets.dtype]
        elif self.mode is not None:
            given.columns = columns
        if psw is not None:
            given.per_sample_weights, given.num_per_sample_weights = psw.ctypes.data, psw.size
        self.lookups, self.bags = ids.size, ids.size if self.mode is None else bags
        for name in ("out", "grad"):
            self.lib.destroy("buffer", getattr(self, name))
            setattr(self, name, self.lib.buffer(4 * self.bags * self.dim))
        self.lib.call("qemb_batch_set", self.batch, self.bag, C.byref(given))
        if self.embedding:
            self.lib.call("qemb_embedding_forward", self.embedding, self.batch, self.out)
        else:
            self.lib.call("qemb_embedding_bag_forward", self.bag, self.batch, self.out)
        self.lib.call("qemb_context_finish", self.lib.ctx)
        return self.lib.read(self.out, (self.bags, self.dim))

    def backward(self, grad_output, coo=False, psw=False):
        """Dense gradient, (rows, values) of the sparse one or None, gradient of the weights or None."""
        self.lib.write(self.grad, grad_output)
        n, sizes = self.lookups, {"dense": 4 * self.rows * self.dim}
        if coo:
            sizes.update(coo_indices=8 * n, coo_values=4 * n * self.dim, coo_count=8)
        if psw:
            sizes.update(per_sample_weights=4 * n)
        buffers = {name: self.lib.buffer(size) for name, size in sizes.items()}
        want = Gradients(table=0, **{name: b.value for name, b in buffers.items()})
        self.lib.call("qemb_embedding_bag_backward", self.bag, self.batch, self.grad, C.byref(want))
        self.lib.call("qemb_context_finish", self.lib.ctx)
        dense, sparse, weights = self.lib.read(buffers["dense"], (self.rows, self.dim)), None, None
        if coo:
            count = int(self.lib.read(buffers["coo_count"], 1, np.int64)[0])
            sparse = self.lib.read(buffers["coo_indices"], count, np.int64), self.lib.read(buffers["coo_values"], (count, self.dim))
        if psw:
            weights = self.lib.read(buffers["per_sample_weights"], n)
        for b in buffers.values():
            self.lib.destroy("buffer", b)
        return dense, sparse, weights

    def step(self, lr):
        self.lib.call("qemb_optimizer_set_lr", self.optimizer, C.c_double(lr))
        self.lib.call("qemb_embedding_bag_step", self.bag, self.batch, self.grad, self.optimizer)
        self.lib.call("qemb_context_finish", self.lib.ctx)

    def rows_call(self, name, array):
        self.lib.call(name, self.bag, C.c_int32(0), C.c_int64(0), C.c_int64(self.rows), C.c_void_p(array.ctypes.data))

    def weight(self):
        out = np.empty((self.rows, self.dim), np.float32)
        self.rows_call("qemb_embedding_bag_read_weight", out)
        return out

    def set_weight(self, array):
        self.rows_call("qemb_embedding_bag_write_weight", np.ascontiguousarray(array))

    def observer(self):
        """min_val, max_val, scale, zero_point."""
        out = np.empty((4, self.rows), np.float32)
        self.lib.call("qemb_embedding_bag_read_observer", self.bag, C.c_int32(0), C.c_int64(0), C.c_int64(self.rows),
                      C.byref(ObserverRows(*(row.ctypes.data for row in out))))
        return out

    def optimizer_state(self):
        """Arrays by torch's names; only element-wise ones."""
        info = OptimizerInfo()
        self.lib.call("qemb_optimizer_info_get", self.optimizer, C.byref(info))
        state = {}
        for k in range(info.num_arrays):
            out = np.empty((self.rows, self.dim), np.float32)
            self.lib.call("qemb_optimizer_read_state", self.optimizer, C.c_int32(k), C.c_int32(0), C.c_int64(0), C.c_int64(self.rows),
                          C.c_void_p(out.ctypes.data))
            state[info.array_name[k].decode()] = out
        return state

    def set_optimizer_state(self, state):
        info = OptimizerInfo()
        self.lib.call("qemb_optimizer_info_get", self.optimizer, C.byref(info))
        for k in range(info.num_arrays):
            array = np.ascontiguousarray(state[info.array_name[k].decode()])
            self.lib.call("qemb_optimizer_write_state", self.optimizer, C.c_int32(k), C.c_int32(0), C.c_int64(0), C.c_int64(self.rows),
                          C.c_void_p(array.ctypes.data))
