"""
By hand: awqc's GGUF files beside those of ggml's own quantizers, with an importance matrix from the same
ids, in llama.cpp itself: how far each is from the F32 model. Both have the same types of tensors, and so
the same number of bytes.

  against_ggml.py BUILD_DIR MODEL CALIBRATION.safetensors EVALUATION.safetensors [TYPE...]

TYPE is one of quantize.type, or "mix"; without one all of the table in README.md. Needs what with_llama.py
needs, and the package gguf.
"""
import ctypes
import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from safetensors.numpy import load_file

from with_llama import Model, divergence, ffi, library, log, shared_object

# Not among the declarations.
ggml_quantize_chunk = ctypes.CDLL(shared_object).ggml_quantize_chunk
ggml_quantize_chunk.restype = ctypes.c_size_t
ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]

TYPES = ("q4_k", "q4_0", "iq4_nl", "mxfp4", "mix")
WINDOWS = 6
# A matrix that a recipe has to name; its values are put back.
FIRST = "model.layers.0.self_attn.q_proj"


class Runs:
    """What awqc makes of a model."""

    def __init__(self, build, model, calibration, work):
        self.build, self.work = os.path.abspath(build), work
        self.start = [f"model: {os.path.abspath(model)}", "format: gguf", "calibration:",
                      f"  data: {os.path.abspath(calibration)}", "  samples: 16"]

    def run(self, command, name, lines=()):
        output = os.path.join(self.work, name)
        with open(output + ".yaml", "w", encoding="utf-8") as file:
            file.write("\n".join([*self.start, f"output: {output}", *lines, ""]))
        environment = dict(os.environ, AWQ_PLUGIN_PATH=os.path.join(self.build, "lib", "awq"))
        subprocess.run([os.path.join(self.build, "bin", "awqc"), command, output + ".yaml",
                        "--quiet"], check=True, env=environment, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return os.path.join(output, "imatrix.gguf" if command == "imatrix" else "model.gguf")


# ---- files ----

def copy_values(reader, writer):
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)


def write_like(template, path, convert):
    """The file again, with convert(tensor) -> (bytes or floats, type) in the place of tensors."""
    reader = gguf.GGUFReader(template)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    copy_values(reader, writer)
    for tensor in reader.tensors:
        data, kind = convert(tensor)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def floats_of(tensor):
    """[.., N, K] in F32, whatever the type."""
    values = gguf.quants.dequantize(np.asarray(tensor.data), tensor.tensor_type)
    return values.astype(np.float32).reshape(tuple(int(n) for n in tensor.shape[::-1]))


def source_of(directory, name):
    for file in sorted(os.listdir(directory)):
        if file.endswith(".safetensors") and file.startswith("model"):
            with open(os.path.join(directory, file), "rb") as data:
                header = data.read(int.from_bytes(data.read(8), "little"))
            if f'"{name}"'.encode() in header:
                return read_bf16(os.path.join(directory, file), name)
    sys.exit(f"{directory}: {name} is missing")


def read_bf16(path, name):
    """One tensor, since numpy has no BF16."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + length + begin)
        words = np.frombuffer(file.read(end - begin), np.uint16)
    return (words.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def write_floats(runs, model, path):
    """All in F32: only one matrix of the template is not the source's, and is put back."""
    template = runs.run("quantize", "template", [
        "quantize:", "  method: rtn", "  type: q8_0", f"  modules: [{FIRST}]"])
    first = source_of(model, FIRST + ".weight")

    def convert(tensor):
        values = floats_of(tensor)
        if tensor.name == "blk.0.attn_q.weight":
            # Of the orders that rows can have, the source's own or in pairs, the one that is near.
            heads = read_heads(template)
            paired = first.reshape(heads, 2, -1, first.shape[1]).swapaxes(1, 2).reshape(first.shape)
            values = min((first, paired), key=lambda rows: np.abs(rows - values).max())
        return np.ascontiguousarray(values), gguf.GGMLQuantizationType.F32
    write_like(template, path, convert)


def read_heads(path):
    reader = gguf.GGUFReader(path)
    name = reader.fields["general.architecture"].contents()
    return reader.fields[f"{name}.attention.head_count"].contents()


# ---- ggml's quantizers ----

def ggml_bytes(values, kind, importance):
    """[E,N,K] or [N,K], with [E,K] of what columns count or None."""
    stacked = values.reshape(-1, *values.shape[-2:])
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = stacked.shape[1:]
    out = np.empty((len(stacked), rows, columns // block * size), np.uint8)
    for index, matrix in enumerate(stacked):
        matrix = np.ascontiguousarray(matrix)
        weights = None if importance is None else np.ascontiguousarray(importance[index])
        ggml_quantize_chunk(int(kind), matrix.ctypes.data, out[index].ctypes.data, 0, rows,
                            columns, None if weights is None else weights.ctypes.data)
    return out.reshape(*values.shape[:-1], -1)


def read_importance(path):
    """Mean squares [E,K] by the names of tensors; ones where there were no tokens."""
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    found = {}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            counts = tensors[name.replace(".in_sum2", ".counts")].reshape(-1, 1)
            sums = sums.reshape(len(counts), -1)
            mean = np.where(counts > 0, sums / np.maximum(counts, 1), 1)
            found[name.removesuffix(".in_sum2")] = mean.astype(np.float32)
    return found


def write_by_ggml(floats, types, path, importance):
    """The types are those of the file `types`."""
    kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(types).tensors}

    def convert(tensor):
        kind, values = kinds[tensor.name], floats_of(tensor)
        if kind == gguf.GGMLQuantizationType.F32:
            return values, kind
        return ggml_bytes(values, kind, importance.get(tensor.name)), kind
    write_like(floats, path, convert)


# ---- the comparison ----

def logits_of(path, windows):
    model = Model(path)
    return [model.logits(window) for window in windows]


def kl(path, reference, windows):
    return np.mean([divergence(expected, found)
                    for expected, found in zip(reference, logits_of(path, windows))])


def compare(runs, kind, floats, reference, windows, importance):
    lines = ["quantize:"] if kind == "mix" else ["quantize:", f"  type: {kind}"]
    ours = runs.run("quantize", f"nearest-{kind}", [*lines, "  rounding: nearest"])
    compensated = runs.run("quantize", f"gptq-{kind}", [*lines, "  rounding: gptq"])
    files = []
    for name, matrix in (("plain", {}), ("imatrix", importance)):
        files.append(os.path.join(runs.work, f"{name}-{kind}.gguf"))
        write_by_ggml(floats, ours, files[-1], matrix)
    figures = [kl(path, reference, windows) for path in (*files, ours, compensated)]
    sizes = {os.path.getsize(path) // 4096 for path in (*files, ours)}
    print(f"{kind:7} ggml {figures[0]:.4f}  with an imatrix {figures[1]:.4f}  awqc {figures[2]:.4f} "
          f"({figures[2] / figures[1]:.2f})  by GPTQ {figures[3]:.4f} "
          f"({figures[3] / figures[1]:.2f})  of {'/'.join(map(str, sorted(sizes)))} x 4 KiB", flush=True)
    return figures


def main():
    build, model, calibration, evaluation, *kinds = sys.argv[1:]
    library.llama_log_set(log, ffi.NULL)
    library.llama_backend_init()
    windows = next(iter(load_file(evaluation).values()))[:WINDOWS]
    with tempfile.TemporaryDirectory() as work:
        runs = Runs(build, model, calibration, work)
        floats = os.path.join(work, "floats.gguf")
        write_floats(runs, model, floats)
        importance = read_importance(runs.run("imatrix", "imatrix"))
        reference = logits_of(floats, windows)
        figures = [compare(runs, kind, floats, reference, windows, importance)
                   for kind in kinds or TYPES]
    shares = [row[2] / row[1] for row in figures]
    print(f"mean share of ggml's divergence with an imatrix: {np.mean(shares):.2f}")


if __name__ == "__main__":
    main()
