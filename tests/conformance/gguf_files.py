"""
GGUF files of the gguf package through libawq, and libawq's through the gguf package: the same tensors,
values, and weights, bit for bit. And an importance matrix beside the model that it is for.

  gguf_files.py BUILD_DIR [SEED]
"""
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from gguf.quants import dequantize

from report import Report, expect

SEED = 5
BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
          "IQ4_XS", "MXFP4", "NVFP4")
SHAPES = ((3, 2, 512), (7, 256), (1, 768))


def random_tensors(random):
    """[(name, type, bytes as an array of U8)]; scales are among the bytes, NaN too."""
    tensors = []
    for name in BLOCKS:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        for number, shape in enumerate(SHAPES):
            stored = (*shape[:-1], shape[-1] // block * size)
            data = random.integers(0, 256, stored, dtype=np.uint8)
            tensors.append((f"blk.{number}.{name.lower()}.weight", kind, data))
    return tensors


def write_file(path, tensors, random):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("u32", 7)
    writer.add_array("strings", ["a", "", "Ġb"])
    writer.add_float64("f64", 0.25)
    for name, kind, data in tensors:
        writer.add_tensor(name, data, raw_dtype=kind)
    for name, dtype in (("f32", np.float32), ("f16", np.float16)):
        writer.add_tensor(name, random.standard_normal((5, 3)).astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def weights_of(tensor):
    if tensor.tensor_type.name in BLOCKS:
        rows = np.asarray(tensor.data)
        with np.errstate(invalid="ignore", over="ignore"):
            return dequantize(rows, tensor.tensor_type).astype(np.float32).reshape(-1)
    return tensor.data.astype(np.float32).reshape(-1)


def read_tensors(path):
    return sorted(gguf.GGUFReader(path).tensors, key=lambda tensor: tensor.name)


def same_bits(a, b):
    both_nan = np.isnan(a) & np.isnan(b)
    return bool(np.all((a.view(np.uint32) == b.view(np.uint32)) | both_nan))


def check_weights(path, floats):
    """What libawq computed, beside the package's own."""
    read = np.fromfile(floats, np.float32)
    at = 0
    for tensor in read_tensors(path):
        expected = weights_of(tensor)
        expect(same_bits(read[at:at + expected.size], expected), f"{tensor.name} differs")
        at += expected.size
    expect(at == read.size, f"{read.size} weights, expected {at}")
    return f"{at} weights of {len(BLOCKS)} types"


def check_values(path):
    reader = gguf.GGUFReader(path)
    for key, expected in (("general.architecture", "llama"), ("number", 4000000000),
                          ("float", float(np.float32(1e-6))), ("truth", True),
                          ("words", ["one", "", "Ġtwo"]), ("kinds", [1, -3])):
        found = reader.fields[key].contents()
        expect(found == expected, f"{key} is {found}, expected {expected}")
    return "the values of a file that libawq wrote"


def check_tensors(original, written):
    """Each tensor of the original is in one of the files, with the same type, shape and bytes."""
    found = {tensor.name: tensor for path in written for tensor in read_tensors(path)}
    expected = read_tensors(original)
    expect(len(found) == len(expected), f"{len(found)} tensors, expected {len(expected)}")
    for tensor in expected:
        other = found[tensor.name]
        expect(other.tensor_type == tensor.tensor_type, f"{tensor.name}: {other.tensor_type}")
        expect(list(other.shape) == list(tensor.shape), f"{tensor.name}: {other.shape}")
        expect(np.array_equal(other.data.view(np.uint8), tensor.data.view(np.uint8)),
               f"{tensor.name}: other bytes")
    return f"{len(expected)} tensors in {len(written)} files"


def convert(program, source, work, name, shard_bytes):
    target = os.path.join(work, name)
    subprocess.run([program, source, target + ".f32", target, str(shard_bytes)], check=True)
    return [os.path.join(target, file) for file in sorted(os.listdir(target))]


# ---- an importance matrix ----

def run_awqc(build, command, output, *options):
    here = os.path.dirname(os.path.abspath(__file__))
    model = os.path.join(here, "..", "data", "qwen2_moe-tiny")
    recipe = output + ".yaml"
    with open(recipe, "w", encoding="utf-8") as file:
        file.write(f"model: {model}\noutput: {output}\nformat: gguf\nquantize:\n  method: rtn\n"
                   f"calibration:\n  data: {model}/calib.jsonl\n  samples: 4\n"
                   "  sequence_length: 64\n")
    environment = dict(os.environ, AWQ_PLUGIN_PATH=os.path.join(build, "lib", "awq"))
    subprocess.run([os.path.join(build, "bin", "awqc"), command, recipe, "--quiet", *options],
                   check=True, env=environment, stdout=subprocess.DEVNULL)


def check_imatrix(build, work):
    """llama-quantize wants of each matrix [K,E] as many sums as it has columns, and E counts."""
    matrix, model = os.path.join(work, "imatrix"), os.path.join(work, "model")
    run_awqc(build, "imatrix", matrix)
    run_awqc(build, "quantize", model)
    entries = {tensor.name: tensor for tensor in
               read_tensors(os.path.join(matrix, "imatrix.gguf"))}
    reader = gguf.GGUFReader(os.path.join(matrix, "imatrix.gguf"))
    expect(reader.fields["general.type"].contents() == "imatrix", "general.type is wrong")
    expect(reader.fields["imatrix.chunk_count"].contents() == 4, "other chunks than 4")
    found = 0
    for tensor in read_tensors(os.path.join(model, "model.gguf")):
        if not tensor.name.startswith("blk.") or tensor.tensor_type.name not in BLOCKS:
            continue
        sums, counts = (entries[f"{tensor.name}.{what}"] for what in ("in_sum2", "counts"))
        experts = int(tensor.shape[2]) if len(tensor.shape) > 2 else 1
        expect(list(sums.shape) == [tensor.shape[0], experts], f"{tensor.name}: {sums.shape}")
        expect(list(counts.shape) == [1, experts], f"{tensor.name}: {counts.shape}")
        expect(bool(np.all(np.isfinite(sums.data)) and np.all(sums.data >= 0)
                    and np.all(counts.data > 0)), f"{tensor.name}: no sums of squares")
        found += 2
    expect(found == len(entries), f"{len(entries)} tensors, expected {found}")
    return f"{found // 2} matrices"


def main():
    build = os.path.abspath(sys.argv[1])
    random = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else SEED)
    program = os.path.join(build, "tests", "conformance", "gguf_tensors")
    report = Report()
    with tempfile.TemporaryDirectory() as work:
        source = os.path.join(work, "source.gguf")
        write_file(source, random_tensors(random), random)
        for name, shard_bytes in (("one", 1 << 40), ("parts", 5000)):
            files = convert(program, source, work, name, shard_bytes)
            report.check(f"{name}: weights", check_weights, source,
                         os.path.join(work, name + ".f32"))
            report.check(f"{name}: tensors", check_tensors, source, files)
            report.check(f"{name}: values", check_values, files[0])
        report.check("an importance matrix", check_imatrix, build, work)
    return report.close("gguf")


if __name__ == "__main__":
    sys.exit(main())
