"""Makes things wrong one at a time: the checks of formats.py must notice each."""
import copy
import json
import os
import shutil

import numpy

from compare import (compare_perplexity, compare_rounded, compare_tensors, compare_texts,
                     compare_weights)
from make_fused import copy_texts, write
from programs import NO_LIMIT
from reader import (AWQ_ORDER, Checkpoint, Tensor, packing, read_header, read_modules, unpack,
                    unpack_awq)
from rules import (check_config, check_files, check_groups, check_skipped, check_tensors,
                   list_name, list_of)

# ---- weights ----


def pack(codes, bits):
    """The inverse of unpack."""
    shifts = numpy.arange(0, 32, bits, dtype=numpy.uint32)
    words = codes.astype(numpy.uint32).reshape(*codes.shape[:-1], -1, 32 // bits) << shifts
    return numpy.bitwise_or.reduce(words, axis=-1).view(numpy.int32)


def pack_awq(codes):
    return pack(codes.reshape(len(codes), -1, 8)[..., AWQ_ORDER].reshape(codes.shape), 4)


def on(suffix, function):
    """A change of all arrays whose names end so."""
    def change(checkpoint):
        for name, tensor in checkpoint.tensors.items():
            if name.endswith(suffix):
                tensor.array = numpy.ascontiguousarray(function(tensor.array))
    return change


def exchange(first, second):
    def change(checkpoint):
        for name in [name for name in checkpoint.tensors if first in name]:
            other = name.replace(first, second)
            tensors = checkpoint.tensors
            tensors[name], tensors[other] = tensors[other], tensors[name]
    return change


def set_weights(**members):
    return lambda checkpoint: checkpoint.quantization["config_groups"]["group_0"][
        "weights"].update(members)


def set_config(**members):
    return lambda checkpoint: checkpoint.quantization.update(members)


def along_last(function):
    """A change of words that are packed along the first axis."""
    return lambda words: function(numpy.ascontiguousarray(words.T)).T


def halves_first(rows):
    return numpy.concatenate([rows[:, 0::2], rows[:, 1::2]], axis=1)


def as_gguf(blocks):
    codes = numpy.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:3], 32)
    return codes[..., :16] | codes[..., 16:] << 4


def in_awq_order(words):
    return pack_awq(unpack(words, 4))


def flip_sign(words):
    return pack(unpack(words, 4) ^ 8, 4)


def set_state(name, value):
    """A change of one member of the JSON beside NF4 codes."""
    def change(state):
        text = json.dumps({**json.loads(bytes(state)), name: value})
        return numpy.frombuffer(text.encode(), numpy.uint8)
    return on(".quant_state.bitsandbytes__nf4", change)


NOTHING = ("nothing", lambda checkpoint: None)
WRONG_WEIGHTS = {
    "awq": [
        ("natural order of weights", on(".qweight", lambda w: pack(unpack_awq(w), 4))),
        ("natural order of zeros", on(".qzeros", lambda w: pack(unpack_awq(w), 4))),
        ("zeros less one", on(".qzeros", lambda w: pack_awq((unpack_awq(w) - 1) & 15))),
        ("scales of other outputs", on(".scales", lambda s: numpy.roll(s, 1, axis=1))),
        ("another group size", set_config(group_size=32)),
        ("gate and up exchanged", exchange("experts.0.w1", "experts.0.w3")),
        ("experts exchanged", exchange("experts.0.", "experts.1."))],
    "compressed-tensors": [
        ("AWQ's order of weights", on(".weight_packed", in_awq_order)),
        ("AWQ's order of zero points", on(".weight_zero_point", along_last(in_awq_order))),
        ("signed weights", on(".weight_packed", flip_sign)),
        ("signed zero points", on(".weight_zero_point", along_last(flip_sign))),
        ("scales of other outputs", on(".weight_scale", lambda s: numpy.roll(s, 1, axis=0))),
        ("no zero points", set_weights(symmetric=True)),
        ("another group size", set_weights(group_size=64)),
        ("8 bits", set_weights(num_bits=8)),
        ("another shape", on(".weight_shape", lambda s: s[::-1]))],
    "gptq": [
        ("AWQ's order of weights", on(".qweight", along_last(in_awq_order))),
        ("AWQ's order of zero points", on(".qzeros", in_awq_order)),
        ("zero points less one", on(".qzeros", lambda w: pack((unpack(w, 4) - 1) & 15, 4))),
        ("the other version", set_config(checkpoint_format="gptq")),
        ("zero points of other outputs", on(".qzeros", lambda w: numpy.roll(w, 1, axis=1))),
        ("scales of other outputs", on(".scales", lambda s: numpy.roll(s, 1, axis=1))),
        ("an order of activations", on(".g_idx", lambda g: g[::-1])),
        ("another group size", set_config(group_size=32)),
        ("8 bits", set_config(bits=8)),
        ("experts exchanged", exchange("experts.0.", "experts.1."))],
    "mxfp4": [
        ("halves of bytes exchanged", on("_blocks", lambda b: b >> 4 | b << 4)),
        ("GGUF's order", on("_blocks", as_gguf)),
        ("exponents one higher", on("_scales", lambda s: s + 1)),
        ("gate and then up", on("gate_up_proj_blocks", halves_first)),
        ("scales of gate and then up", on("gate_up_proj_scales", halves_first)),
        ("biases of gate and then up", on("gate_up_proj_bias", halves_first)),
        ("experts in another order", on("down_proj_blocks", lambda b: b[::-1])),
        ("a NaN", on("down_proj_scales", lambda s: numpy.full_like(s, 255)))],
    "nf4": [
        ("halves of bytes exchanged", on("w1.weight", lambda b: b >> 4 | b << 4)),
        ("scales of other blocks", on(".absmax", lambda s: numpy.roll(s, 1))),
        ("scales of the scales twice as large", on(".nested_absmax", lambda s: s * 2)),
        ("another table", on(".weight.quant_map", lambda t: t[::-1])),
        ("another map", on(".nested_quant_map", lambda m: m * numpy.float32(1.01))),
        ("no offset", set_state("nested_offset", 0.0)),
        ("an offset in text", set_state("nested_offset", "0.1")),
        ("another shape", set_state("shape", [128, 128])),
        ("blocks of 128", set_state("blocksize", 128)),
        ("a member that readers refuse", set_state("version", 1)),
        ("gate and up exchanged", exchange("experts.0.w1", "experts.0.w3"))],
    "int8": [
        ("unsigned weights", on("w1.weight", lambda w: (w.view(numpy.uint8) ^ 128).view("i1"))),
        ("scales of other rows", on(".SCB", lambda s: numpy.roll(s, 1))),
        ("128 steps", on(".SCB", lambda s: s * numpy.float32(127 / 128))),
        ("another order", on(".weight_format", lambda f: f + 1)),
        ("experts exchanged", exchange("experts.0.", "experts.1."))],
}


def changed(checkpoint, change):
    checkpoint = copy.deepcopy(checkpoint)
    change(checkpoint)
    return checkpoint


def test_weights(report, name, checkpoint, dumped):
    def compare(change):
        return compare_weights(read_modules(changed(checkpoint, change)), dumped)
    report.check(f"{name}: {NOTHING[0]} wrong", compare, NOTHING[1])
    for what, change in WRONG_WEIGHTS[packing(checkpoint.quantization)]:
        report.must_fail(f"{name}: {what}", compare, change)


def test_packing(report, checkpoint):
    """That what the changes above pack is as it was but for what they mean to change."""
    changes = [on(".qweight", lambda w: pack_awq(unpack_awq(w))),
               on(".qzeros", lambda w: pack(unpack(w, 4), 4))]
    for change in changes:
        report.check("packing again", lambda change: compare_weights(
            read_modules(changed(checkpoint, change)), read_modules(checkpoint).values), change)


# ---- files ----

def write_file(path, header, data, padding=0):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 + padding)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)


def lay_out(header, data, names):
    """Header and data with the tensors in another order."""
    metadata = {"__metadata__": header["__metadata__"]}
    moved, parts, end = dict(metadata), [], 0
    for name in names:
        begin, stop = header[name]["data_offsets"]
        parts.append(data[begin:stop])
        moved[name] = {**header[name], "data_offsets": [end, end + stop - begin]}
        end += stop - begin
    return moved, b"".join(parts)


def set_last(header, **members):
    name = list(header)[-1]
    return {**header, name: {**header[name], **members}}


def wrong_files(header, data):
    """(what, header, data, bytes of padding too many)"""
    names = [name for name in header if name != "__metadata__"]
    begin, end = header[names[-1]]["data_offsets"]
    without = {name: header[name] for name in names}
    yield "other order of the data", *lay_out(header, data, names[::-1]), 0
    yield "other order of names", *lay_out(header, data, [names[1], names[0], *names[2:]]), 0
    yield "other order of the header", {name: header[name] for name in reversed(header)}, data, 0
    yield "a header that is no multiple of 8", header, data, 2
    yield "no metadata", without, data, 0
    yield "other metadata", {"__metadata__": {"format": "np"}, **without}, data, 0
    yield "bytes behind", header, data + b"\0\0", 0
    yield "a hole", set_last(header, data_offsets=[begin + 8, end + 8]), data + bytes(8), 0
    yield "a shape that is too small", set_last(header, shape=[1]), data, 0
    yield "an E8M0", set_last(header, dtype="F8_E8M0"), data, 0
    yield "another member", set_last(header, comment=""), data, 0


def test_files(report, programs, directory):
    length, _, header = read_header(os.path.join(directory, "model.safetensors"))
    with open(os.path.join(directory, "model.safetensors"), "rb") as file:
        data = file.read()[8 + length:]
    target = programs.path()
    os.mkdir(target)
    path = os.path.join(target, "model.safetensors")
    write_file(path, header, data)
    report.check("files: nothing wrong", check_files, target, NO_LIMIT)
    for what, *content in wrong_files(header, data):
        write_file(path, *content)
        report.must_fail(f"files: {what}", check_files, target, NO_LIMIT)


def test_index(report, programs, directory):
    target = programs.path()
    shutil.copytree(directory, target)
    path = os.path.join(target, "model.safetensors.index.json")
    with open(path, encoding="utf-8") as file:
        index = json.load(file)
    first = min(index["weight_map"])
    others = {name: file for name, file in index["weight_map"].items() if name != first}
    total = index["metadata"]["total_size"]
    changes = [("a tensor that the index has not", {"weight_map": others}),
               ("a tensor in no such file", {"weight_map": {**others, first: "other.safetensors"}}),
               ("another total", {"metadata": {"total_size": total + 1}})]
    for what, change in changes:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**index, **change}, file)
        report.must_fail(f"index: {what}", check_files, target, NO_LIMIT)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(index, file)
    report.check("index: nothing wrong", check_files, target, 1_000_000)
    report.must_fail("index: a shard that is too large", check_files, target, 100_000)
    os.remove(os.path.join(target, "model-00001-of-00002.safetensors"))
    report.must_fail("index: a shard is missing", check_files, target, NO_LIMIT)


# ---- config.json and which tensors there are ----

TOO_MUCH = {
    ("awq", "mixtral"): ["experts", "w1"],
    ("awq", "qwen2_moe"): ["experts", "gate_proj", "gate", "mlp", "up_proj"],
    ("compressed-tensors", "mixtral"): [r"re:.*\.w1$", r"re:.*\.gate_proj$", "re:.*mlp", "Linear"],
    ("compressed-tensors", "qwen2_moe"): ["re:.*experts", "re:.*mlp", "re:.*shared_expert",
                                          "Linear"],
    ("gptq", "mixtral"): [r"re:.*\.w1$", r"re:.*\.experts", "re:.*mlp"],
    ("gptq", "qwen2_moe"): ["re:.*experts", "re:.*mlp", "re:.*shared_expert"],
    ("mxfp4", "gpt_oss"): ["model.layers.*.mlp", "model", "experts"],
    ("bitsandbytes", "mixtral"): ["experts", "w1", "model", "model.layers.0", "1"],
    ("bitsandbytes", "qwen2_moe"): ["gate_proj", "mlp", "experts", "_proj", "gate_up_proj"]}


def set_list(checkpoint, entries):
    settings = checkpoint.quantization
    if settings["quant_method"] == "gptq":
        others = {rule: changes for rule, changes in settings["dynamic"].items()
                  if not rule.startswith("-:")}
        kept = {"-:" + entry.removeprefix("re:"): {} for entry in entries}
        return set_config(dynamic={**kept, **others})
    return set_config(**{list_name(settings): entries})


def test_list(report, name, checkpoint):
    """Each entry is needed, and none may match more."""
    modules, entries = read_modules(checkpoint), list_of(checkpoint.quantization)

    def check(new):
        return check_skipped(changed(checkpoint, set_list(checkpoint, new)), modules)
    report.check(f"{name}: its list", check, entries)
    for entry in entries:
        report.must_fail(f"{name}: no {entry}", check, [e for e in entries if e != entry])
    method, model = checkpoint.quantization["quant_method"], checkpoint.config["model_type"]
    for entry in TOO_MUCH[method, model]:
        report.must_fail(f"{name}: {entry} too", check, entries + [entry])


def add(name, array, dtype="I32"):
    return lambda checkpoint: checkpoint.tensors.update({name: Tensor(dtype, array)})


def remove(name):
    return lambda checkpoint: checkpoint.tensors.pop(name)


def test_schemes(report, mixed):
    """By every name that is asked for, a module has one scheme."""
    modules, eight = read_modules(mixed), {"bits": 8}
    experts, attention = r"+:.*\.1\.mlp\.experts(\.|$)", r"+:.*\.self_attn\."
    right = {r"-:(.*gate|.*\.shared_expert\..*|lm_head)$": {}, experts: eight,
             attention: {**eight, "group_size": -1}}

    def check(dynamic):
        new = changed(mixed, set_config(dynamic=dynamic))
        read_modules(new)
        return check_skipped(new, modules)
    report.check("schemes: its own rules", check, mixed.quantization["dynamic"])
    report.check("schemes: other rules", check, right)
    for what, old, new in (
            ("no name of all experts", experts, r"+:.*\.1\.mlp\.experts\."),
            ("no name of q, k and v", attention, r"+:.*\.[qkvo]_proj$"),
            ("a name of all experts alone", experts, r"+:.*\.1\.mlp\.experts$"),
            ("another layer too", experts, r"+:.*\.mlp\.experts")):
        report.must_fail(f"schemes: {what}", check, {
            new if rule == old else rule: changes for rule, changes in right.items()})
    report.must_fail("schemes: another first", check,
                     {r"+:.*\.0\.mlp\.experts$": eight, **right})


def test_config(report, awq, compressed, gptq, nf4):
    def check(checkpoint, change):
        return check_config(changed(checkpoint, change))
    for what, checkpoint, change in (
            ("no zero points in AWQ", awq, set_config(zero_point=False)),
            ("AWQ's gemv", awq, set_config(version="gemv")),
            ("a member that old engines refuse", compressed, set_weights(scale_dtype=None)),
            ("channels with a group size", compressed, set_weights(strategy="channel")),
            ("an order of activations", compressed, set_weights(actorder="group")),
            ("an order of activations", gptq, set_config(desc_act=True)),
            ("asymmetric in the first version", gptq, set_config(checkpoint_format="gptq")),
            ("3 bits", gptq, set_config(bits=3)),
            ("a rule without a sign", gptq, set_config(dynamic={"a": {"bits": 4}})),
            ("a rule that keeps and changes", gptq, set_config(dynamic={"-:a": {"bits": 4}})),
            ("a threshold of an integer", nf4, set_config(llm_int8_threshold=6)),
            ("4 and 8 bits", nf4, set_config(load_in_8bit=True)),
            ("FP4", nf4, set_config(bnb_4bit_quant_type="fp4"))):
        report.must_fail(f"config: {what}", check, checkpoint, change)


def test_tensors(report, awq, compressed, nf4, source):
    def check(checkpoint, change):
        new = changed(checkpoint, change)
        return check_tensors(new, read_modules(checkpoint), source)
    expert = "model.layers.0.block_sparse_moe.experts.0.w1"
    fused = "model.layers.0.mlp.experts.gate_up_proj_packed"
    cube = numpy.zeros((4, 8, 8), numpy.int32)
    for what, checkpoint, change in (
            ("no scales", awq, remove(expert + ".scales")),
            ("fused codes", awq, add(fused, cube)),
            ("codes of all experts", awq, add(fused, cube[0])),
            ("scales beyond BF16", awq, on(".scales", lambda s: s.view(numpy.int16) + 1)),
            ("no shape", compressed, remove(expert + ".weight_shape")),
            ("no map", nf4, remove(expert + ".weight.quant_map")),
            ("what readers refuse beside weights", nf4, add(expert + ".weight.scales", cube[0])),
            ("order of activations", compressed, add(expert + ".weight_g_idx", cube[0, 0])),
            ("a tied head", compressed, lambda c: c.config.update(tie_word_embeddings=True))):
        report.must_fail(f"tensors: {what}", check, checkpoint, change)


# ---- groups ----

MIXED_RULES = [{"layers": 0, "role": "expert", "bits": 8}, {"experts": 1, "symmetric": False}]
MIXED_GROUPS = [(r"layers\.0\..*\.experts\.\d+\.w", (8, "group", 128, True)),
                (r"\.experts\.1\.w", (4, "group", 128, False)),
                (r"\.experts\.\d+\.w", (4, "group", 128, True))]


def exchange_groups(first, second):
    def change(checkpoint):
        groups = checkpoint.quantization["config_groups"]
        groups[first]["weights"], groups[second]["weights"] = (
            groups[second]["weights"], groups[first]["weights"])
    return change


def set_targets(key, function):
    def change(checkpoint):
        group = checkpoint.quantization["config_groups"][key]
        group["targets"] = function(group["targets"])
    return change


def one_spelling(targets):
    return [target.replace("(block_sparse_moe|mlp)", "block_sparse_moe")
            .replace("(w1|gate_proj)", "w1") for target in targets]


def test_groups(report, checkpoint, dumped):
    modules = read_modules(checkpoint)
    last = max(checkpoint.quantization["config_groups"])

    def check(change):
        return check_groups(changed(checkpoint, change), modules, MIXED_GROUPS)

    def compare(change):
        return compare_weights(read_modules(changed(checkpoint, change)), dumped)

    def add_group(new):
        groups = new.quantization["config_groups"]
        groups["group_9"] = {**groups["group_0"], "targets": ["re:nothing"]}
    report.check("groups: nothing wrong", check, NOTHING[1])
    report.check("groups: nothing wrong, weights", compare, NOTHING[1])
    for what, change in (
            ("schemes exchanged", exchange_groups("group_0", "group_1")),
            ("the last scheme exchanged", exchange_groups("group_0", last)),
            ("a target less", set_targets(last, lambda targets: targets[1:])),
            ("a target too much", set_targets(last, lambda targets: targets + ["re:.*w2$"])),
            ("one spelling", set_targets(last, one_spelling)),
            ("a group that is of no use", add_group)):
        report.must_fail(f"groups: {what}", check, change)
    for what, change in (
            ("schemes exchanged", exchange_groups("group_1", last)),
            ("a target less", set_targets(last, lambda targets: targets[1:]))):
        report.must_fail(f"groups: {what}, weights", compare, change)
    for what, change in (
            ("no group for all others", set_targets("group_0", lambda _: ["re:.*"])),
            ("two groups for all others", set_targets(last, lambda _: ["Linear"])),
            ("no targets", set_targets(last, lambda _: []))):
        report.must_fail(f"groups: {what}, config", lambda new: check_config(
            changed(checkpoint, new)), change)


# ---- comparisons ----

def write_changed(programs, source, change):
    directory = programs.path()
    copy_texts(source, directory)
    tensors = changed(Checkpoint(source), change).tensors
    write({name: (tensor.dtype, tensor.array) for name, tensor in tensors.items()},
          os.path.join(directory, "model.safetensors"))
    return directory


def test_comparisons(report, programs, source, directory):
    checkpoint, modules = Checkpoint(directory), read_modules(Checkpoint(directory))
    exchanged = read_modules(changed(checkpoint, exchange("experts.0.w1", "experts.0.w3")))
    before = read_modules(Checkpoint(source))
    report.check("rounding: nothing wrong", compare_rounded, modules, before, 4)
    report.must_fail("rounding: gate and up exchanged", compare_rounded, exchanged, before, 4)
    unrounded = copy.copy(modules)
    unrounded.values = before.values
    report.must_fail("rounding: nothing rounded", compare_rounded, unrounded, before, 4)
    report.check("texts: nothing wrong", compare_texts, source, checkpoint)
    report.must_fail("texts: 0 for 0.0", compare_texts, source, changed(
        checkpoint, lambda c: c.config.update(attention_dropout=0)))
    report.must_fail("texts: another vocabulary", compare_texts, source, changed(
        checkpoint, lambda c: c.config.update(vocab_size=1)))
    damaged = write_changed(programs, source, exchange(".w1.", ".w3."))
    report.check("perplexity: nothing wrong", compare_perplexity, programs, source, directory)
    report.must_fail("perplexity: gate and up exchanged", compare_perplexity, programs, source,
                     damaged)
    report.must_fail("tensors of two files", compare_tensors, source, damaged)


def run(report, programs, data):
    mixtral, qwen2, qwen3, gpt_oss = (
        os.path.join(data, f"{name}-tiny")
        for name in ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss"))
    shared = ["*.experts.*", "*.shared_expert.*"]
    mixed = [{"role": "attention", "bits": 8, "group_size": -1},
             {"role": "expert", "layers": "1", "bits": 8}]
    outputs = {
        "awq": programs.quantize(mixtral, "awq", "rtn", {}),
        "ct": programs.quantize(mixtral, "compressed-tensors", "rtn", {"symmetric": False}),
        "mxfp4": programs.quantize(gpt_oss, "mxfp4", "rtn", {}),
        "gptq": programs.quantize(mixtral, "gptq", "rtn", {"symmetric": False}),
        "gptq, shared": programs.quantize(qwen2, "gptq", "rtn", {"modules": shared}),
        "gptq, mixed": programs.quantize(qwen2, "gptq", "rtn", {"rules": mixed}),
        "nf4": programs.quantize(mixtral, "bitsandbytes", "rtn", {}),
        "int8": programs.quantize(mixtral, "bitsandbytes", "rtn", {"bits": 8}),
        "awq, shared": programs.quantize(qwen2, "awq", "rtn", {"modules": shared}),
        "ct, shared": programs.quantize(qwen2, "compressed-tensors", "rtn", {"modules": shared}),
        "nf4, shared": programs.quantize(qwen2, "bitsandbytes", "rtn", {"modules": shared}),
        "mixed": programs.quantize(mixtral, "compressed-tensors", "rtn", {"rules": MIXED_RULES}),
        "shards": programs.quantize(qwen3, "compressed-tensors", "rtn", {"shard_size": 1_000_000})}
    checkpoints = {name: Checkpoint(directory) for name, directory in outputs.items()}
    for name in ("awq", "ct", "gptq", "mxfp4", "nf4", "int8"):
        test_weights(report, name, checkpoints[name], programs.weights(outputs[name]))
    test_packing(report, checkpoints["awq"])
    test_files(report, programs, outputs["awq"])
    test_index(report, programs, outputs["shards"])
    for name in ("awq", "ct", "gptq", "mxfp4", "nf4", "awq, shared", "ct, shared", "gptq, shared",
                 "nf4, shared"):
        test_list(report, name, checkpoints[name])
    test_schemes(report, checkpoints["gptq, mixed"])
    test_config(report, checkpoints["awq"], checkpoints["ct"], checkpoints["gptq"],
                checkpoints["nf4"])
    test_tensors(report, checkpoints["awq"], checkpoints["ct"], checkpoints["nf4"],
                 read_modules(Checkpoint(mixtral)))
    test_groups(report, checkpoints["mixed"], programs.weights(outputs["mixed"]))
    test_comparisons(report, programs, mixtral, outputs["awq"])
