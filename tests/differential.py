#!/usr/bin/env python3
"""Random configurations in PyTorch and in qemb, step by step: outputs, gradients, observers, optimisers.

    python3 tests/differential.py                       400 configurations on the reference engine ($QEMB_NIGHTLY: 12,000)
    python3 tests/differential.py --count N --seed S --device NAME
    python3 tests/differential.py --seed S --only K     the one configuration that a failure names
    python3 tests/differential.py --save FILE ...       writes the first failing one as a case file that qemb-replay takes
    python3 tests/differential.py --replay PROGRAM      writes every one that agrees, and has qemb-replay run them: none may fail

Every argument of both QAT modules, their observers and switches, ids of both widths, CSR and 2-D input, padding, weights, clipping, and
every optimiser that PyTorch and qemb share. Inputs are multiples of powers of two, so that sums round in neither program's order; then
everything is compared exactly but what tolerance() names. Where a result is not exact, the modules go on from the same weights.
Needs torch (1.13 or newer), numpy and libqemb.so. Exit 0: all agree.
"""
import argparse
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torch import nn
from torch.ao.nn import qat
from torch.ao.quantization import fake_quantize, observer, qconfig as torch_qconfig

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import case_file
import qemb_ctypes as q

HERE = os.path.dirname(os.path.abspath(__file__))


class Kink(Exception):
    """Two rows of a bag that max_norm has clipped are equal but for a rounding: either may be the largest."""


class Memoryless(observer.MovingAveragePerChannelMinMaxObserver):
    """Forgets before it observes: what qemb calls memoryless."""

    def forward(self, x):
        self.reset_min_max_vals()
        return super().forward(x)


# ---- a configuration ------------------------------------------------------------------------------------------------------

def pick_options(rng, c):
    mode = c["mode"]
    rows = c["rows"]
    c["padding_idx"] = rng.choice([None, None, rng.randrange(rows), -rng.randint(1, rows)])
    c["max_norm"] = rng.choice([None, None, None, rng.choice([0.5, 1.0, 2.5])])
    c["norm_type"] = rng.choice([2.0, 2.0, 1.0, 3.0, math.inf])
    c["scale_grad_by_freq"] = mode != "max" and rng.random() < 0.2
    c["sparse"] = mode != "max" and not c["scale_grad_by_freq"] and rng.random() < 0.5
    c["include_last_offset"] = mode is not None and rng.random() < 0.5
    c["weighted"] = mode == "sum" and rng.random() < 0.5
    low, high = rng.choice([(0, 255), (0, 255), (0, 15), (0, 3), (0, 1), (-128, 127), (-8, 7), (0, 100)])
    c["quant_min"], c["quant_max"] = low, high
    c["observer"] = rng.choice(["moving_average", "moving_average", "min_max", "memoryless"])
    c["averaging_constant"] = rng.choice([1.0, 1.0, 0.5, 0.01, 0.3]) if c["observer"] == "moving_average" else 1.0
    c["fake_quant"] = rng.random() < 0.85


def pick_optimizer(rng, c):
    kinds = ["none", "sgd", "sgd", "sgd"]
    if not c["scale_grad_by_freq"] and not c["weighted"]:
        kinds += ["adagrad", "sparse_adam" if c["sparse"] else "adam"]
    kind = c["optimizer"] = rng.choice(kinds)
    c["lr"] = rng.choice([0.5, 0.125, 2.0 ** -6])
    c["lr_changes"] = rng.random() < 0.2
    dense = not c["sparse"]
    c["momentum"] = rng.choice([0.0, 0.5, 0.9]) if kind == "sgd" and dense else 0.0
    c["dampening"] = rng.choice([0.0, 0.0, 0.5]) if c["momentum"] else 0.0
    c["nesterov"] = bool(c["momentum"] and not c["dampening"] and rng.random() < 0.4)
    c["weight_decay"] = rng.choice([0.0, 0.0, 2.0 ** -7, 0.01]) if kind in ("sgd", "adam") and dense else 0.0
    c["maximize"] = kind in ("sgd", "adagrad", "adam") and rng.random() < 0.15
    c["lr_decay"] = rng.choice([0.0, 0.1]) if kind == "adagrad" else 0.0
    c["accumulator"] = rng.choice([0.0, 0.25]) if kind == "adagrad" else 0.0
    c["eps"] = {"adagrad": rng.choice([1e-10, 1e-4]), "adam": rng.choice([1e-8, 1e-4])}.get(kind, 1e-8)
    c["betas"] = rng.choice([(0.9, 0.999), (0.5, 0.75)])
    c["clip"] = rng.choice([None, None, "value", "norm"]) if kind == "sgd" and dense else None
    c["limit"] = rng.choice([0.25, 1.0, 8.0]) if c["clip"] else 0.0
    if kind in ("adagrad", "adam", "sparse_adam"):  # a division by a gradient that is only noise would show: no inexact gradients
        c["padding_idx"] = None
        c["exact_means"] = True


def configuration(seed, k):
    rng = random.Random(f"{seed}:{k}")
    c = {"seed": seed, "number": k, "mode": rng.choice(["sum", "mean", "max", None]), "exact_means": False}
    c["rows"] = rng.choice([1, 2, 3, 7, 13, 31, 61])
    c["dim"] = rng.choice([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 32, 37, 64, 67, 129])
    pick_options(rng, c)
    pick_optimizer(rng, c)
    c["bags"] = rng.choice([1, 2, 5, 11])
    c["length"] = rng.choice([1, 2, 4]) if c["exact_means"] else rng.choice([1, 2, 3, 4, 7])
    c["two_d"] = c["mode"] is not None and not c["include_last_offset"] and rng.random() < 0.25
    c["ragged"] = not c["two_d"] and not c["exact_means"] and rng.random() < 0.8
    c["ids"] = rng.choice(["int32", "int64"])
    c["offsets"] = rng.choice(["int32", "int64"])
    c["values"] = rng.choice(["normal", "normal", "wide", "odd"])
    c["steps"] = rng.choice([1, 2, 3, 5])
    events = [{}] + [{} for _ in range(c["steps"] - 1)]
    for e in events[1:]:
        if rng.random() < 0.25:
            e["observer"] = rng.random() < 0.5
        if rng.random() < 0.25:
            e["fake_quant"] = rng.random() < 0.5
        if rng.random() < 0.15:
            e["rewrite"] = rng.randrange(c["rows"])
    c["events"] = events
    return c


def table_of(c, rng):
    shape = c["rows"], c["dim"]
    w = rng.standard_normal(shape)
    if c["values"] == "wide":
        w = w * 10.0 ** rng.integers(-6, 5, (shape[0], 1)) + rng.choice([0.0, 0.0, 3.0, -700.0], (shape[0], 1))
    elif c["values"] == "odd":
        kind = rng.integers(0, 5, (shape[0], 1))
        w = np.where(kind == 0, 0.0, np.where(kind == 1, w[:, :1], np.where(kind == 2, np.abs(w), np.where(kind == 3, np.round(w * 2) / 2, w))))
    return w.astype(np.float32)


def step_input(c, rng):
    """ids, offsets (one entry a bag and the end; None: 2-D or embedding), weights, gradient of the output."""
    bags = c["bags"]
    lengths = rng.integers(0, 2 * c["length"] + 1, bags) if c["ragged"] else np.full(bags, c["length"])
    if c["optimizer"] == "adam":  # torch moves every row; so that qemb does, every row is looked up once more
        rest = np.arange(c["rows"])
        ids = np.concatenate([rng.integers(0, c["rows"], int(lengths.sum())), rest])
        lengths = np.concatenate([lengths, np.ones(c["rows"], np.int64)]) if not c["two_d"] else lengths
        if c["two_d"]:
            ids = rng.permutation(np.resize(rest, max(1, -(-c["rows"] // c["length"])) * c["length"]))
            lengths = np.full(ids.size // c["length"], c["length"])
    else:
        ids = rng.integers(0, c["rows"], int(lengths.sum()))
    n = int(lengths.sum())
    offsets = None if c["two_d"] or c["mode"] is None else np.concatenate([[0], np.cumsum(lengths)]).astype(c["offsets"])
    psw = (rng.integers(-8, 9, n) / 8).astype(np.float32) if c["weighted"] else None
    out_rows = n if c["mode"] is None else len(lengths)
    grad = (rng.integers(-64, 65, (out_rows, c["dim"])) / 64).astype(np.float32)
    return ids[:n].astype(c["ids"]), offsets, psw, grad, len(lengths)


# ---- PyTorch ----------------------------------------------------------------------------------------------------------------

def torch_module(c, weight):
    kind = {"moving_average": observer.MovingAveragePerChannelMinMaxObserver, "min_max": observer.PerChannelMinMaxObserver,
            "memoryless": Memoryless}[c["observer"]]
    extra = {"averaging_constant": c["averaging_constant"]} if c["observer"] == "moving_average" else {}
    signed = c["quant_min"] < 0
    quantiser = fake_quantize.FakeQuantize.with_args(
        observer=kind, quant_min=c["quant_min"], quant_max=c["quant_max"], dtype=torch.qint8 if signed else torch.quint8,
        qscheme=torch.per_channel_affine_float_qparams, ch_axis=0, **extra)
    common = dict(padding_idx=c["padding_idx"], max_norm=c["max_norm"], norm_type=c["norm_type"], sparse=c["sparse"],
                  _weight=torch.from_numpy(weight.copy()), qconfig=torch_qconfig.QConfig(activation=observer.NoopObserver, weight=quantiser))
    if c["mode"] is None:
        return qat.Embedding(c["rows"], c["dim"], scale_grad_by_freq=c["scale_grad_by_freq"], **common)
    return qat.EmbeddingBag(c["rows"], c["dim"], mode=c["mode"], include_last_offset=c["include_last_offset"], **common)


def torch_optimizer(c, module):
    p = [module.weight]
    kind = c["optimizer"]
    if kind == "sgd":
        return torch.optim.SGD(p, lr=c["lr"], momentum=c["momentum"], dampening=c["dampening"], nesterov=c["nesterov"],
                               weight_decay=c["weight_decay"], maximize=c["maximize"])
    if kind == "adagrad":
        return torch.optim.Adagrad(p, lr=c["lr"], lr_decay=c["lr_decay"], initial_accumulator_value=c["accumulator"], eps=c["eps"],
                                   maximize=c["maximize"])
    if kind == "sparse_adam":
        return torch.optim.SparseAdam(p, lr=c["lr"], betas=c["betas"], eps=c["eps"])
    if kind == "adam":
        return torch.optim.AdamW(p, lr=c["lr"], betas=c["betas"], eps=c["eps"], weight_decay=c["weight_decay"], maximize=c["maximize"])
    return None


def torch_forward(c, module, ids, offsets, psw, bags, cut=False):
    """offsets: of each bag and the end, or as the module takes them."""
    i = torch.from_numpy(ids)
    if c["mode"] is None:
        return module(i), None
    w = torch.from_numpy(psw).requires_grad_() if psw is not None else None
    if c["two_d"]:
        return module(i.view(bags, -1), per_sample_weights=w.view(bags, -1) if w is not None else None), w
    o = torch.from_numpy(offsets if c["include_last_offset"] or cut else offsets[:-1].copy())
    return module(i, o, per_sample_weights=w), w


def bag_module(c, weight):
    """torch's bags with scale_grad_by_freq off: see freq_gradient."""
    return torch_module(dict(c, scale_grad_by_freq=c["scale_grad_by_freq"] and c["mode"] is None), weight)


def step_alone(c, taken, fake_quant, bags):
    """What PyTorch gives for the input of one step of a run in a module that has not seen another."""
    module = bag_module(dict(c, observer="moving_average", averaging_constant=1.0), taken["weight"])
    module.weight_fake_quant.enable_fake_quant(fake_quant)
    output, weights = torch_forward(c, module, taken["indices"].reshape(-1) if c["mode"] else taken["indices"], taken["offsets"],
                                    taken["per_sample_weights"], bags, True)
    output.backward(torch.from_numpy(taken["grad_output"]))
    grad = module.weight.grad
    return dict(taken, output=output.detach().numpy(), grad_weight=(grad.to_dense() if grad.is_sparse else grad).numpy(),
                grad_per_sample_weights=weights.grad.numpy().reshape(-1) if weights is not None else None)


def freq_gradient(c, module, ids, offsets, psw, grad, bags, dense):
    """PyTorch's CPU kernel for bags divides by another row's count: each row's own count here."""
    counts = np.maximum(np.bincount(ids, minlength=c["rows"]), 1).astype(np.float32)
    return dense / counts[:, None] if c["scale_grad_by_freq"] and c["mode"] is not None else dense


# ---- qemb -------------------------------------------------------------------------------------------------------------------

def qemb_module(c, lib, weight):
    config = q.QConfig(c["quant_min"], c["quant_max"], q.OBSERVERS[c["observer"]], c["averaging_constant"])
    config.fake_quant_off = not c["fake_quant"]
    optimizer = None
    if c["optimizer"] != "none":
        optimizer = q.OptimizerDesc(kind=q.OPTIMIZERS[c["optimizer"]], lr=c["lr"], momentum=c["momentum"], dampening=c["dampening"],
                                    weight_decay=c["weight_decay"], lr_decay=c["lr_decay"], initial_accumulator_value=c["accumulator"],
                                    nesterov=c["nesterov"], maximize=c["maximize"], clip={None: 0, "value": 1, "norm": 2}[c["clip"]],
                                    clip_limit=c["limit"], form=1 if c["optimizer"] == "sgd" else 0)
        if c["optimizer"] != "sgd":
            optimizer.eps = c["eps"]
        if c["optimizer"] in ("adam", "sparse_adam"):
            optimizer.beta1, optimizer.beta2 = c["betas"]
    return q.Module(lib, weight, c["mode"], config, c, optimizer)


# ---- comparing ----------------------------------------------------------------------------------------------------------------

def tolerance(want, factor, least):
    """least: one number, of the size that errors are relative to where terms may cancel; or a limit for each element."""
    if isinstance(least, np.ndarray):
        return 1.3e-6 * np.abs(want) + least
    return 1.3e-6 * np.abs(want) + factor * max(np.abs(want).max() if want.size else 0.0, least)


def compare(what, got, want, factor=None, least=0.0):
    """factor None: equal as numbers."""
    want = np.asarray(want, np.float32)
    if got.shape != want.shape:
        raise AssertionError(f"{what}: shape {got.shape}, want {want.shape}")
    limit = 0.0 if factor is None else tolerance(want, factor, least)
    bad = ~((np.abs(got - want) <= limit) | (got == want) | (np.isnan(got) & np.isnan(want)))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise AssertionError(f"{what} at {at}: got {got[at]!r}, want {want[at]!r}, {int(bad.sum())} elements differ")


class Runner:
    """One configuration in both programs."""

    def __init__(self, lib, c):
        self.c = c
        self.rng = np.random.default_rng([c["seed"], c["number"]])
        self.initial = table_of(c, self.rng)
        self.record = []  # of each step, for a case file
        self.module = bag_module(c, self.initial)
        self.quantiser = self.module.weight_fake_quant
        self.quantiser.enable_fake_quant(c["fake_quant"])
        self.quantiser.register_forward_hook(lambda module, given, rows: setattr(self, "looked_up", rows.detach()))
        self.optimizer = torch_optimizer(c, self.module)
        self.ours = qemb_module(c, lib, self.initial)
        self.observer_on, self.fake_quant_on = True, c["fake_quant"]
        self.inexact = False  # the modules went on from weights that were copied

    def close(self):
        self.ours.close()

    def apply(self, event):
        if "observer" in event:
            if self.c["observer"] == "memoryless" and self.observer_on and not event["observer"]:
                return  # it keeps no statistics of rows that a step has changed since
            self.observer_on = event["observer"]
            self.quantiser.enable_observer(self.observer_on)
            self.ours.switch("observer", self.observer_on)
        if "fake_quant" in event:
            self.fake_quant_on = event["fake_quant"]
            self.quantiser.enable_fake_quant(self.fake_quant_on)
            self.ours.switch("fake_quant", self.fake_quant_on)
        if "rewrite" in event:
            with torch.no_grad():
                self.module.weight[event["rewrite"]] = torch.from_numpy(self.rng.standard_normal(self.c["dim"]).astype(np.float32))
            self.ours.set_weight(self.module.weight.detach().numpy())

    def observers(self, when):
        if self.c["observer"] == "memoryless" and when == "after the step":
            return
        own = self.quantiser.activation_post_process
        got = self.ours.observer()
        for k, want in enumerate((own.min_val, own.max_val, self.quantiser.scale, self.quantiser.zero_point)):
            compare(f"{('min_val', 'max_val', 'scale', 'zero_point')[k]} {when}", got[k], want.detach().numpy())

    def gradients(self, grad, ids, offsets, psw, bags, weights):
        c, weight = self.c, self.module.weight
        dense, coo, ours_psw = self.ours.backward(grad, c["sparse"], psw is not None)
        want = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
        want = freq_gradient(c, self.module, ids, offsets, psw, grad, bags, want.numpy())
        bag = np.repeat(np.arange(bags), ids.size // max(bags, 1)) if offsets is None else np.repeat(np.arange(bags), np.diff(offsets))
        least = 0.0
        if c["scale_grad_by_freq"] and (psw is not None or c["mode"] == "mean"):  # thirds of terms that may cancel: the error is relative to the terms
            counts = np.maximum(np.bincount(ids, minlength=c["rows"]), 1)[:, None]
            padding = c["padding_idx"] % c["rows"] if c["padding_idx"] is not None else -1
            share = np.abs(np.asarray(psw).reshape(-1)) if psw is not None else 1.0 / np.maximum(np.bincount(bag[ids != padding], minlength=bags), 1)[bag]
            terms = np.zeros(want.shape)
            np.add.at(terms, ids, np.abs(share[:, None] * grad[bag]))
            least = 1e-5 * np.abs(want).max(initial=0.0) + (counts + 2) * 2.0 ** -24 * terms / counts
        compare("grad_weight", dense, want, 1e-5, least)
        if c["scale_grad_by_freq"]:  # the optimisers are compared on one gradient
            weight.grad = torch.from_numpy((want if psw is None else dense).copy())
        if c["sparse"]:
            raw = weight.grad
            compare("sparse indices", coo[0], raw._indices()[0].numpy())
            compare("sparse values", coo[1], raw._values().numpy().reshape(coo[1].shape), 1e-5)
        if psw is not None:
            sizes = (np.abs(grad[bag]) * np.abs(self.looked_up.numpy()[ids])).sum(axis=1)
            compare("grad_per_sample_weights", ours_psw, weights.grad.numpy().reshape(-1), 1.0, sizes * (c["dim"] * 2.0 ** -24))
        return dense, want

    def last_step(self):
        taken = self.record[-1]
        return step_alone(self.c, taken, self.fake_quant_on, taken["bags"])

    def check_kinks(self, ids, bags, offsets):
        if self.c["mode"] != "max" or self.c["max_norm"] is None:
            return
        rows, padding = self.looked_up.numpy(), (self.c["padding_idx"] or 0) % self.c["rows"] if self.c["padding_idx"] is not None else -1
        ends = offsets if offsets is not None else np.linspace(0, ids.size, bags + 1).astype(int)
        for b in range(bags):
            used = np.unique(ids[ends[b]:ends[b + 1]])
            top = np.sort(rows[used[used != padding]], axis=0)[-2:]
            if len(top) == 2 and (top[1] - top[0] <= 1e-5 * np.abs(top[1])).any():
                raise Kink

    def meets_a_tie(self, rows, ids):
        """PyTorch rounds (code - zero point) * scale to double and then to float, qemb once: they differ where the double is a tie of floats."""
        scale, zero = (x.detach().numpy()[ids, None] for x in (self.quantiser.scale, self.quantiser.zero_point.float()))
        inverse = np.float32(1) / scale
        code = np.rint((rows.astype(np.float64) * inverse + zero).astype(np.float32))
        code = np.clip(code, self.c["quant_min"], self.c["quant_max"]).astype(np.float64)
        product = (code - zero) * scale.astype(np.float64)
        return bool(((product.view(np.int64) & 0x1FFFFFFF) == 0x10000000).any())

    def is_exact(self, dense, want, clipped):
        """Whether the update has the same roundings in both programs."""
        c = self.c
        powers = c["weight_decay"] in (0.0, 2.0 ** -7) and not (c["nesterov"] and c["momentum"] != 0.5)
        powers = powers and not c["sparse"]  # torch takes lr * g off once a duplicate
        return c["optimizer"] in ("none", "sgd") and powers and c["clip"] != "norm" and not clipped and np.array_equal(dense, want)

    def update(self, k, exact):
        c, weight = self.c, self.module.weight
        lr = c["lr"] * (0.5 if c["lr_changes"] and k % 2 else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if c["clip"] == "value":
            nn.utils.clip_grad_value_([weight], c["limit"])
        elif c["clip"] == "norm":
            nn.utils.clip_grad_norm_([weight], c["limit"])
        self.optimizer.step()
        self.ours.step(lr)
        compare("weight after the step", self.ours.weight(), weight.detach().numpy(), None if exact else 2e-6)
        theirs = self.optimizer.state[weight]
        for name, got in self.ours.optimizer_state().items():
            compare(f"optimizer state {name}", got, theirs[name].numpy(), None if exact else 1e-5)
        if not exact:  # the same from here on
            self.inexact = True
            self.ours.set_weight(weight.detach().numpy())
            self.ours.set_optimizer_state({name: theirs[name].numpy() for name in self.ours.optimizer_state()})

    def step(self, k):
        c, weight = self.c, self.module.weight
        self.apply(c["events"][k])
        ids, offsets, psw, grad, bags = step_input(c, self.rng)
        taken = {"weight": weight.detach().numpy().copy(), "indices": ids.reshape(bags, -1) if c["two_d"] else ids, "offsets": offsets,
                 "per_sample_weights": psw, "grad_output": grad, "bags": bags}
        self.record.append(taken)
        if offsets is not None and not c["include_last_offset"]:
            taken["offsets"] = offsets[:-1].copy()
        weight.grad = None
        output, weights = torch_forward(c, self.module, ids, offsets, psw, bags)
        output.backward(torch.from_numpy(grad))
        taken["output"] = output.detach().numpy().copy()
        taken["grad_weight"] = (weight.grad.to_dense() if weight.grad.is_sparse else weight.grad).numpy().copy()
        taken["grad_per_sample_weights"] = weights.grad.numpy().reshape(-1).copy() if weights is not None else None
        got = self.ours.forward(ids, taken["offsets"], psw, bags, ids.size // bags if bags else 0)
        try:
            compare("output", got, output.detach().numpy(), 2e-6 if c["max_norm"] is not None else None, c["max_norm"] or 0.0)
        except AssertionError:
            if self.fake_quant_on and self.meets_a_tie(taken["weight"][np.unique(ids)], np.unique(ids)):
                raise Kink from None
            raise
        clipped = c["max_norm"] is not None and not self.fake_quant_on
        if not (clipped and c["observer"] == "memoryless"):  # it keeps no statistics of rows that the forward itself has clipped
            self.observers("after the forward")
        compare("weight after the forward", self.ours.weight(), weight.detach().numpy(), 2e-6 if clipped else None)
        self.check_kinks(ids, bags, offsets)
        dense, want = self.gradients(grad, ids, offsets, psw, bags, weights)
        exact = self.is_exact(dense, want, clipped)
        if self.optimizer:
            self.update(k, exact)
        elif clipped:
            self.inexact = True
            self.ours.set_weight(weight.detach().numpy())
        self.observers("after the step")


def run(lib, c):
    """The runner with its record, and what differs: None, "kink" or a sentence."""
    runner = Runner(lib, c)
    try:
        for k in range(c["steps"]):
            try:
                runner.step(k)
            except Kink:
                return runner, "kink"
            except AssertionError as error:
                if "min_val" in str(error) and "should be less" in str(error):
                    return runner, "kink"  # torch stops at its own rounding (README: repaired rows); nothing to compare
                return runner, f"step {k}: {error}"
            except RuntimeError as error:
                return runner, f"step {k}: {error}"
        return runner, None
    finally:
        runner.close()


def replay(program, device, folder):
    """Runs the case files of a folder; the sentence for people, and whether all passed."""
    done = subprocess.run([program, "--device", device, folder], capture_output=True, text=True, check=False)
    failures = [line for line in done.stdout.splitlines() if not line.startswith("PASS")]
    return "\n".join(failures), done.returncode == 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    nightly = bool(os.environ.get("QEMB_NIGHTLY"))
    parser.add_argument("--count", type=int, default=12000 if nightly else 400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one configuration to run")
    parser.add_argument("--device", default="reference")
    parser.add_argument("--library", default=os.path.join(HERE, "..", "build", "libqemb.so"))
    parser.add_argument("--save", help="case file for the first failure")
    parser.add_argument("--replay", help="qemb-replay")
    return parser.parse_args()


def report(options, count, failed):
    board = os.environ.get("QEMB_SCOREBOARD")
    if board:
        with open(board, "a", encoding="utf-8") as file:
            file.write(f"R1\t{count} live configurations, {failed} failing\t{'red' if failed else 'ok'}\t"
                       f"PyTorch {torch.__version__}, {options.device}\n")


def main():
    options = parse()
    torch.set_num_threads(1)
    lib = q.Library(options.library, options.device)
    failed = kinks = saved = 0
    numbers = range(options.count) if options.only is None else [options.only]
    folder = tempfile.mkdtemp(prefix="qemb-differential-")
    for k in numbers:
        c = configuration(options.seed, k)
        runner, what = run(lib, c)
        if what == "kink":
            kinks += 1
        elif what:
            failed += 1
            print(f"FAIL {what}\n     {c}\n     rerun: python3 tests/differential.py --device {options.device} --seed {options.seed} --only {k}")
            if options.save:
                case_file.save(options.save, c, runner, False)
                print(f"     saved: {options.save}")
                options.save = None
        elif options.replay and c["values"] == "normal":
            saved += 1
            case_file.save(os.path.join(folder, f"{k:06}.safetensors"), c, runner, True)
    if options.replay and (saved or options.only is None):
        text, good = replay(options.replay, options.device, folder)
        print(f"{saved} saved and replayed: {text}")
        failed += not good
    shutil.rmtree(folder)
    print(f"{len(numbers)} configurations, {failed} failing, {kinks} ended at a kink (PyTorch {torch.__version__}, device {options.device}, "
          f"seed {options.seed})")
    report(options, len(numbers), failed)
    return 1 if failed or not len(numbers) else 0


if __name__ == "__main__":
    sys.exit(main())
