"""
A copy of a Qwen-MoE checkpoint whose experts are in fused tensors, as newer releases have them:
  gate_up_proj [experts, 2I, H], the rows of gate before those of up   down_proj [experts, H, I]
"""
import os
import re
import shutil

import numpy
import safetensors

from reader import Checkpoint

SAFETENSORS_TYPES = {"BF16": "bfloat16", "F32": "float32"}
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight$")


def fuse(tensors):
    """{name: (dtype, array)} with the experts of each layer stacked."""
    fused, experts = {}, {}
    for name, tensor in tensors.items():
        match = EXPERT.match(name)
        if match:
            parts = experts.setdefault(match[1], {}).setdefault(int(match[2]), {})
            parts[match[3]] = tensor.array
        else:
            fused[name] = (tensor.dtype, tensor.array)
    for prefix, parts in experts.items():
        stacked = [parts[number] for number in sorted(parts)]
        gate_up = [numpy.concatenate([e["gate_proj"], e["up_proj"]]) for e in stacked]
        fused[prefix + ".gate_up_proj"] = ("BF16", numpy.stack(gate_up))
        fused[prefix + ".down_proj"] = ("BF16", numpy.stack([e["down_proj"] for e in stacked]))
    return fused


def write(tensors, path):
    """With the package's own writer, which numpy's arrays are handed to by address: numpy has no
    BF16."""
    arrays = {name: numpy.ascontiguousarray(array) for name, (_, array) in tensors.items()}
    safetensors.serialize_file(
        {name: safetensors.TensorSpec(dtype=SAFETENSORS_TYPES[tensors[name][0]], shape=array.shape,
                                      data_ptr=array.ctypes.data, data_len=array.nbytes)
         for name, array in arrays.items()}, path, {"format": "pt"})


def copy_texts(source, target):
    os.mkdir(target)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(source, name), target)


def make_fused(source, target):
    copy_texts(source, target)
    write(fuse(Checkpoint(source).tensors), os.path.join(target, "model.safetensors"))
