"""Writes one configuration of differential.py as a case file (a safetensors file) that qemb-replay takes."""
import json
import struct

import numpy as np

DTYPES = {"float32": "F32", "int32": "I32", "int64": "I64"}


def write_safetensors(path, tensors, metadata):
    header, at = {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": DTYPES[str(array.dtype)], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def is_expressible(c):
    """Whether a case file can say all of a run: plain optimisers, no events."""
    plain = not (c["dampening"] or c["nesterov"] or c["weight_decay"] or c["maximize"] or c["lr_decay"] or c["accumulator"] or c["clip"] or
                 c["lr_changes"]) and c["optimizer"] != "adam"
    return plain and not any(c["events"]) and c["observer"] != "memoryless"


def save(path, c, runner, final):
    """The steps so far, or, where the format has no word for the run, the last alone in a fresh module with the weights it began with.
    final: what torch's module holds at the end is expected too."""
    whole = is_expressible(c) and not runner.inexact
    record = runner.record if whole else [runner.last_step()]
    number = lambda x: "none" if x is None else repr(x)
    metadata = {"qemb_case": "1", "name": f"differential_{c['seed']}_{c['number']}", "source": "PyTorch, live",
                "op": "embedding" if c["mode"] is None else "embedding_bag", "num_embeddings": str(c["rows"]), "embedding_dim": str(c["dim"]),
                "padding_idx": number(c["padding_idx"]), "max_norm": number(c["max_norm"]), "norm_type": repr(c["norm_type"]),
                "scale_grad_by_freq": str(int(c["scale_grad_by_freq"])), "sparse": str(int(c["sparse"])),
                "quant_min": str(c["quant_min"]), "quant_max": str(c["quant_max"]),
                "observer": "min_max" if whole and c["observer"] == "min_max" else "moving_average", "averaging_constant": repr(c["averaging_constant"]),
                "fake_quant_enabled": str(int(runner.fake_quant_on)), "steps": str(len(record)), "expect": "ok",
                "optimizer": c["optimizer"] if whole else "none"}
    if not whole:
        metadata["averaging_constant"] = "1.0"
    if c["mode"] is not None:
        metadata.update(mode=c["mode"], include_last_offset=str(int(c["include_last_offset"])))
    if metadata["optimizer"] != "none":
        metadata.update(lr=repr(c["lr"]), momentum=repr(c["momentum"]))
    if metadata["optimizer"] in ("adagrad", "sparse_adam"):
        metadata["eps"] = repr(c["eps"])
    if metadata["optimizer"] == "sparse_adam":
        metadata.update(beta1=repr(c["betas"][0]), beta2=repr(c["betas"][1]))
    tensors = {"weight": record[0]["weight"]}
    for k, step in enumerate(record):
        for part in ("indices", "offsets", "per_sample_weights", "grad_output", "output", "grad_weight", "grad_per_sample_weights"):
            if step[part] is not None and (part != "grad_weight" or not c["scale_grad_by_freq"]):
                tensors[f"step{k}.{part}"] = step[part]
    if whole and final:
        own = runner.quantiser.activation_post_process
        for name, tensor in (("weight", runner.module.weight), ("min_val", own.min_val), ("max_val", own.max_val),
                             ("scale", runner.quantiser.scale), ("zero_point", runner.quantiser.zero_point)):
            tensors[f"final.{name}"] = tensor.detach().numpy()
    write_safetensors(path, tensors, metadata)
