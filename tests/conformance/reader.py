"""
A reader of checkpoints that knows nothing of libawq: what it knows is how the engines' formats are
described. Files are opened with the safetensors package; config.json tells what a tensor means.
"""
import json
import os
import re
import struct

import numpy
from safetensors import SafetensorError, safe_open

from report import Wrong, expect

NUMPY_TYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8", "I8": "|i1",
               "U8": "|u1"}
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "I64": 8, "I8": 1, "U8": 1}
FLOATS = ("F32", "F16", "BF16")


class Tensor:
    """BF16 is held as the U16 of its bits, since numpy has no such type."""

    def __init__(self, dtype, array):
        self.dtype, self.array = dtype, array

    def f32(self):
        if self.dtype == "BF16":
            return (self.array.astype(numpy.uint32) << 16).view(numpy.float32)
        return self.array.astype(numpy.float32)

    def same_as(self, other):
        return (self.dtype == other.dtype and self.array.shape == other.array.shape
                and self.array.tobytes() == other.array.tobytes())


class Checkpoint:
    def __init__(self, directory):
        self.directory = directory
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
            self.config = json.load(file)
        self.quantization = self.config.get("quantization_config")
        self.files = sorted(name for name in os.listdir(directory)
                            if name.endswith(".safetensors") and name != "golden.safetensors")
        self.tensors = {}
        for name in self.files:
            tensors = read_file(os.path.join(directory, name))
            twice = tensors.keys() & self.tensors.keys()
            expect(not twice, f"{name}: {sorted(twice)[:1]} is in two files")
            self.tensors.update(tensors)


# A file is a U64 with the length of the header, the header, which is JSON, and the data, in which
# data_offsets count.

def refuse_twice(pairs):
    names = [name for name, _ in pairs]
    expect(len(names) == len(set(names)), "a header has a name twice")
    return dict(pairs)


def read_header(path):
    """(length of the header, its text, its entries)"""
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        text = file.read(length)
    return length, text, json.loads(text, object_pairs_hook=refuse_twice)


def read_file(path):
    length, _, header = read_header(path)
    tensors = {}
    try:
        with safe_open(path, framework="numpy") as file, open(path, "rb") as raw:
            for name in file.keys():
                part = file.get_slice(name)
                dtype, shape = part.get_dtype(), tuple(part.get_shape())
                expect(dtype in ITEM_BYTES, f"{path}: {name} is {dtype}")
                if dtype == "BF16":
                    begin, end = header[name]["data_offsets"]
                    raw.seek(8 + length + begin)
                    array = numpy.frombuffer(raw.read(end - begin), "<u2").reshape(shape)
                else:
                    array = file.get_tensor(name)
                    expect(array.dtype == numpy.dtype(NUMPY_TYPES[dtype]),
                           f"{path}: {name} is read as {array.dtype}")
                tensors[name] = Tensor(dtype, array)
    except SafetensorError as error:
        raise Wrong(f"{path}: {error}") from error
    return tensors


# ---- codes ----

def unpack(words, bits):
    """[..., n] words -> [..., n * 32 / bits] codes, the lowest bits first."""
    shifts = numpy.arange(0, 32, bits, dtype=numpy.uint32)
    codes = words.view(numpy.uint32)[..., None] >> shifts & numpy.uint32(2 ** bits - 1)
    return codes.reshape(*words.shape[:-1], -1).astype(numpy.int32)


def scaled(scales, codes, zeros, group):
    """scale * (code - zero); scales and zeros [rows, groups], codes [rows, columns]."""
    scales, zeros = (numpy.repeat(a, group, axis=1) for a in (scales, zeros))
    return scales * (codes - zeros).astype(numpy.float32)


def need(tensors, name, dtypes, shape):
    expect(name in tensors, f"{name} is missing")
    tensor = tensors[name]
    expect(tensor.dtype in dtypes and tensor.array.shape == tuple(shape),
           f"{name} is {tensor.dtype} {tensor.array.shape}, expected {dtypes} {tuple(shape)}")
    return tensor


# AutoAWQ "gemm" packs along the outputs: nibble i of a word is output AWQ_ORDER[i] of its eight.
#   qweight I32 [in, out/8]   qzeros I32 [in/group, out/8]   scales F16 [in/group, out]
# Zeros are stored as they are (GPTQ stores one less). group_size -1 is a whole row.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def unpack_awq(words):
    nibbles = unpack(words, 4).reshape(*words.shape, 8)
    codes = numpy.empty_like(nibbles)
    codes[..., AWQ_ORDER] = nibbles
    return codes.reshape(words.shape[0], -1)


def decode_awq(tensors, module, settings):
    inputs, words = tensors[module + ".qweight"].array.shape
    group = inputs if settings["group_size"] == -1 else settings["group_size"]
    expect(settings["bits"] == 4 and inputs % group == 0, f"{module}: {inputs} inputs")
    qweight = need(tensors, module + ".qweight", ("I32",), (inputs, words))
    qzeros = need(tensors, module + ".qzeros", ("I32",), (inputs // group, words))
    scales = need(tensors, module + ".scales", ("F16",), (inputs // group, words * 8))
    return scaled(scales.f32().T, unpack_awq(qweight.array).T, unpack_awq(qzeros.array).T, group)


# compressed-tensors "pack-quantized" packs in the natural order: weights along the inputs, zero
# points along the outputs. Codes and zero points are signed, with 2^(bits-1) added where they are
# packed; symmetric weights have no zero points.
#   weight_packed I32 [out, in*bits/32]   weight_scale BF16 or F16 [out, groups]
#   weight_shape I64 {out, in}            weight_zero_point I32 [out*bits/32, groups]
def group_of(settings, module):
    """The key of the group of config_groups that says how the module is stored: the first that has
    its name, or "re:" and an expression that matches from its beginning; else the one for the
    class of linears."""
    groups = settings["config_groups"]
    for key, group in groups.items():
        if any(re.match(target[3:], module) if target.startswith("re:") else target == module
               for target in group["targets"]):
            return key
    classes = [key for key, group in groups.items() if "Linear" in group["targets"]]
    expect(classes, f"{module} is in no group")
    return classes[0]


def weights_of(settings, module):
    return settings["config_groups"][group_of(settings, module)]["weights"]


def decode_compressed(tensors, module, settings):
    args = weights_of(settings, module)
    bits, half = args["num_bits"], 2 ** (args["num_bits"] - 1)
    shape = need(tensors, module + ".weight_shape", ("I64",), (2,)).array
    outputs, inputs = int(shape[0]), int(shape[1])
    group = args["group_size"] if args["strategy"] == "group" else inputs
    groups = inputs // group
    expect(inputs % group == 0, f"{module}: {inputs} inputs")
    packed = need(tensors, module + ".weight_packed", ("I32",), (outputs, -(-inputs * bits // 32)))
    scale = need(tensors, module + ".weight_scale", ("BF16", "F16"), (outputs, groups))
    codes = unpack(packed.array, bits)[:, :inputs] - half
    zeros = numpy.zeros((outputs, groups), numpy.int32)
    if not args["symmetric"]:
        words = need(tensors, module + ".weight_zero_point", ("I32",),
                     (-(-outputs * bits // 32), groups))
        zeros = unpack(numpy.ascontiguousarray(words.array.T), bits).T[:outputs] - half
    return scaled(scale.f32(), codes, zeros, group)


# GPTQ packs in the natural order too: weights along the inputs, of which a word's are below one
# another, zero points along the outputs. The first version stores zero points less one.
#   qweight I32 [in*bits/32, out]   qzeros I32 [groups, out*bits/32]   scales F16 [groups, out]
#   g_idx I32 [in], each input's group: in order, where there is no order of activations
# `dynamic` has rules for names; the first whose expression matches from a name's beginning counts:
# "-:" keeps, "+:" or nothing changes bits and group_size.
def gptq_scheme(settings, module):
    """(bits, group_size), or None of a module that is kept."""
    for rule, changes in settings.get("dynamic", {}).items():
        if re.match(rule.removeprefix("-:").removeprefix("+:"), module):
            scheme = {**settings, **changes}
            return None if rule.startswith("-:") else (scheme["bits"], scheme["group_size"])
    return settings["bits"], settings["group_size"]


def decode_gptq(tensors, module, settings):
    scheme = gptq_scheme(settings, module)
    expect(scheme, f"{module} is in codes, but dynamic keeps it")
    bits, group = scheme
    words, outputs = tensors[module + ".qweight"].array.shape
    inputs = words * 32 // bits
    group = inputs if group == -1 else group
    expect(inputs % group == 0, f"{module}: {inputs} inputs")
    groups = inputs // group
    qweight = need(tensors, module + ".qweight", ("I32",), (words, outputs))
    qzeros = need(tensors, module + ".qzeros", ("I32",), (groups, outputs * bits // 32))
    scales = need(tensors, module + ".scales", ("F16",), (groups, outputs))
    order = need(tensors, module + ".g_idx", ("I32",), (inputs,)).array
    expect((order == numpy.arange(inputs) // group).all(), f"{module}.g_idx has an order")
    codes = unpack(numpy.ascontiguousarray(qweight.array.T), bits)
    zeros = unpack(qzeros.array, bits) + (settings["checkpoint_format"] == "gptq")
    return scaled(scales.f32().T, codes, zeros.T, group)


# MXFP4: E2M1 codes, of which the highest bit is the sign, in blocks of 32 inputs with a common
# exponent. Byte j of the 16 of a block has input 2j in its low half, 2j+1 in its high one.
#   NAME_blocks U8 [experts, rows, in/32, 16]   NAME_scales U8 [experts, rows, in/32]: 2^(e-127)
E2M1 = numpy.array([0, .5, 1, 1.5, 2, 3, 4, 6], numpy.float32)
E2M1 = numpy.concatenate([E2M1, -E2M1])


def decode_mxfp4(tensors, name):
    blocks = tensors[name + "_blocks"].array
    expect(blocks.ndim == 4 and blocks.shape[3] == 16, f"{name}_blocks is {blocks.shape}")
    need(tensors, name + "_blocks", ("U8",), blocks.shape)
    scales = need(tensors, name + "_scales", ("U8",), blocks.shape[:3]).array
    expect((scales != 255).all(), f"{name}_scales has a 255, which is NaN")
    codes = numpy.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:3], 32)
    values = numpy.ldexp(E2M1[codes], scales[..., None].astype(numpy.int32) - 127)
    return values.reshape(*blocks.shape[:2], -1).astype(numpy.float32)


# NF4 of bitsandbytes: shares of the largest magnitude of a block of 64, which run through the matrix
# row by row. Byte j has value 2j in its high half, 2j+1 in its low one.
#   weight U8 [out*in/2, 1]   weight.quant_map F32 [16]: what a code stands for
#   weight.absmax U8 [blocks]: codes of the magnitudes, of which 256 share a scale
#   weight.nested_absmax F32 [blocks/256]   weight.nested_quant_map F32 [256]
#   weight.quant_state.bitsandbytes__nf4 U8: JSON, with the mean that was taken from the magnitudes
NF4 = numpy.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0], numpy.float32)
NF4_STATE = ".weight.quant_state.bitsandbytes__nf4"
NF4_MEMBERS = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "nested_blocksize": 256,
               "nested_dtype": "float32"}


def dynamic_map():
    """Middles of 2^i parts of 0.1 to 1, times 10^(i-6), with both signs; 0 and 1."""
    middles = [(0.1 + 0.9 / 2 ** i * (k + 0.5)) * 10.0 ** (i - 6)
               for i in range(7) for k in range(2 ** i)]
    return numpy.array(sorted(middles + [-m for m in middles] + [0, 1]))


def decode_nf4(tensors, module, _):
    state = json.loads(bytes(tensors[module + NF4_STATE].array))
    outputs, inputs = state.pop("shape")
    offset = state.pop("nested_offset")
    expect(state == NF4_MEMBERS and isinstance(offset, float), f"{module}: the state is {state}")
    blocks = outputs * inputs // 64
    expect(inputs % 64 == 0, f"{module}: {inputs} inputs")
    weight = need(tensors, module + ".weight", ("U8",), (outputs * inputs // 2, 1)).array
    absmax = need(tensors, module + ".weight.absmax", ("U8",), (blocks,)).array
    table = need(tensors, module + ".weight.quant_map", ("F32",), (16,)).array
    scales = need(tensors, module + ".weight.nested_absmax", ("F32",), (-(-blocks // 256),)).array
    values = need(tensors, module + ".weight.nested_quant_map", ("F32",), (256,)).array
    expect((table == NF4).all(), f"{module}: another table")
    expect(numpy.allclose(values, dynamic_map(), rtol=1e-6, atol=0), f"{module}: another map")
    magnitudes = values[absmax] * numpy.repeat(scales, 256)[:blocks] + numpy.float32(offset)
    codes = numpy.concatenate([weight >> 4, weight & 15], axis=1).reshape(blocks, 64)
    return (table[codes] * magnitudes[:, None]).reshape(outputs, inputs)


# LLM.int8 of bitsandbytes: weight I8 [out, in], SCB F32 [out], the largest magnitude of a row, which
# is 127 steps; weight_format U8 without a dimension is 0, rows.
def decode_int8(tensors, module, _):
    weight = tensors[module + ".weight"].array
    expect(weight.ndim == 2, f"{module} is {weight.shape}")
    need(tensors, module + ".weight", ("I8",), weight.shape)
    largest = need(tensors, module + ".SCB", ("F32",), weight.shape[:1]).array
    order = need(tensors, module + ".weight_format", ("U8",), ()).array
    expect(order == 0, f"{module}: weight_format {order}")
    return weight.astype(numpy.float32) * (largest / numpy.float32(127))[:, None]


# ---- modules ----

class Modules:
    """What a checkpoint's modules hold: weights and NAME:bias, as F32."""

    def __init__(self):
        self.values = {}        # vectors and matrices
        self.quantized = set()  # names of matrices that are stored in codes
        self.floats = set()     # names of matrices that are not, linears and the embedding

    def add(self, name, values):
        expect(name not in self.values, f"{name} is stored in two ways")
        self.values[name] = values


FUSED = re.compile(r"(.*\.experts)\.(gate_up_proj|down_proj)(_blocks|_bias|)$")


def split_rows(name, rows, interleaved):
    """(module of an expert, its rows) for the rows of a fused tensor's expert."""
    if name == "down_proj":
        return [("down_proj", rows)]
    if interleaved:
        return [("gate_proj", rows[0::2]), ("up_proj", rows[1::2])]
    half = len(rows) // 2
    return [("gate_proj", rows[:half]), ("up_proj", rows[half:])]


def fused_values(checkpoint, prefix, name, kind):
    """[experts, rows, columns], or [experts, rows] of a bias."""
    if kind == "_blocks":
        return decode_mxfp4(checkpoint.tensors, f"{prefix}.{name}")
    values = checkpoint.tensors[f"{prefix}.{name}{kind}"].f32()
    # GPT-OSS has its plain experts the other way round: [experts, in, out].
    transposed = checkpoint.config["model_type"] == "gpt_oss" and kind == ""
    return values.transpose(0, 2, 1) if transposed else values


def add_fused(checkpoint, modules, prefix, name, kind):
    # The rows of gate_up are gate, up, gate, up in GPT-OSS, first gate and then up elsewhere.
    interleaved = checkpoint.config["model_type"] == "gpt_oss"
    for expert, rows in enumerate(fused_values(checkpoint, prefix, name, kind)):
        for part, values in split_rows(name, rows, interleaved):
            module = f"{prefix}.{expert}.{part}"
            modules.add(module + (":bias" if kind == "_bias" else ""), values)
            if kind != "_bias":
                (modules.quantized if kind == "_blocks" else modules.floats).add(module)


def add_packed(checkpoint, modules, module, decode):
    modules.add(module, decode(checkpoint.tensors, module, checkpoint.quantization))
    modules.quantized.add(module)


def add_float(checkpoint, modules, name):
    tensor = checkpoint.tensors[name]
    expect(tensor.dtype in FLOATS, f"{name} is {tensor.dtype}, and nothing to this reader")
    if name.endswith(".bias"):
        modules.add(name[:-len(".bias")] + ":bias", tensor.f32())
        return
    module = name.removesuffix(".weight")  # some vectors are a parameter without a module
    modules.add(module, tensor.f32())
    if tensor.array.ndim == 2:
        modules.floats.add(module)


PACKED = {"awq": (".qweight", [".qzeros", ".scales"], decode_awq),
          "compressed-tensors": (".weight_packed",
                                 [".weight_scale", ".weight_shape", ".weight_zero_point"],
                                 decode_compressed),
          "gptq": (".qweight", [".qzeros", ".scales", ".g_idx"], decode_gptq),
          "mxfp4": (None, ["_scales"], None),
          "nf4": (NF4_STATE, ["absmax", "quant_map"], decode_nf4),
          "int8": (".SCB", [".weight_format"], decode_int8),
          None: (None, [], None)}


def packing(settings):
    method = settings and settings["quant_method"]
    if method == "bitsandbytes":
        return "nf4" if settings["load_in_4bit"] else "int8"
    return method


def read_modules(checkpoint):
    """Every tensor of the checkpoint, by what quantization_config says it is part of."""
    settings, modules = checkpoint.quantization, Modules()
    codes, others, decode = PACKED[packing(settings)]
    for name in checkpoint.tensors:
        fused = FUSED.match(name)
        if fused:
            add_fused(checkpoint, modules, *fused.groups())
        elif codes and name.endswith(codes):
            add_packed(checkpoint, modules, name.removesuffix(codes), decode)
        elif codes and name.removesuffix(".weight") + codes in checkpoint.tensors:
            pass  # the codes themselves, by a name that floats have as well
        elif not any(name.endswith(other) for other in others):
            add_float(checkpoint, modules, name)
    return modules
