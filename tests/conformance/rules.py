"""What readers ask of a checkpoint besides its numbers, as they are described."""
import json
import os
import re

import numpy

from reader import (ITEM_BYTES, NF4_STATE, gptq_scheme, group_of, packing, read_header,
                    weights_of)
from report import expect

# ---- files ----

# The order of the reference writer is: larger types first, by this list, then names. It keeps every
# tensor aligned to its type, which readers that map files rely on. There are F4 and F8_E8M0, but
# engines expect MXFP4 in U8.
LARGER_FIRST = ["I64", "F32", "I32", "BF16", "F16", "I8", "U8"]
LONGEST_HEADER = 100_000_000


def check_entries(name, data_start, file_bytes, entries):
    end = 0
    keys = []
    for tensor, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        where = f"{name}: {tensor}"
        expect(entry.keys() == {"dtype", "shape", "data_offsets"}, f"{where} has other members")
        dtype, (begin, stop) = entry["dtype"], entry["data_offsets"]
        expect(dtype in LARGER_FIRST, f"{where} is {dtype}")
        expect(begin == end, f"{where} begins at {begin}, the tensor before it ends at {end}")
        count = 1
        for size in entry["shape"]:
            count *= size
        expect(stop - begin == count * ITEM_BYTES[dtype], f"{where} has {stop - begin} bytes")
        expect((data_start + begin) % ITEM_BYTES[dtype] == 0, f"{where} is not aligned")
        keys.append((LARGER_FIRST.index(dtype), tensor))
        end = stop
    expect(data_start + end == file_bytes, f"{name}: {file_bytes - data_start - end} bytes follow")
    expect(keys == sorted(keys), f"{name}: tensors are not in the order of type and name")
    expect(list(entries) == [key[1] for key in keys], f"{name}: the header has another order")


def check_file(path):
    """The header's rules; returns its entries."""
    name = os.path.basename(path)
    length, text, header = read_header(path)
    expect(length <= LONGEST_HEADER and length % 8 == 0, f"{name}: a header of {length} bytes")
    expect(text[:1] == b"{" and text.rstrip(b" ").endswith(b"}"), f"{name}: the header's padding")
    # transformers has refused files without this; values must be texts.
    metadata = header.pop("__metadata__", None)
    expect(metadata == {"format": "pt"}, f"{name}: __metadata__ is {metadata}")
    check_entries(name, 8 + length, os.path.getsize(path), header)
    return header


def check_index(directory, files, headers):
    """model.safetensors alone, or model-0000N-of-0000M.safetensors with an index of all tensors."""
    index_path = os.path.join(directory, "model.safetensors.index.json")
    if files == ["model.safetensors"]:
        expect(not os.path.exists(index_path), "an index beside a single file")
        return "no index"
    names = [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    expect(files == names, f"files are {files}")
    with open(index_path, encoding="utf-8") as file:
        index = json.load(file)
    placed = {tensor: name for name, header in headers.items() for tensor in header}
    expect(index["weight_map"] == placed, "weight_map is not where the tensors are")
    total = sum(stop - begin for header in headers.values()
                for begin, stop in (entry["data_offsets"] for entry in header.values()))
    expect(index["metadata"]["total_size"] == total,
           f"total_size is {index['metadata']['total_size']}, tensors have {total} bytes")
    return f"index of {len(placed)} tensors, {total} bytes"


def check_files(directory, shard_bytes):
    files = sorted(name for name in os.listdir(directory) if name.endswith(".safetensors"))
    headers = {name: check_file(os.path.join(directory, name)) for name in files}
    for name, header in headers.items():
        size = sum(e["data_offsets"][1] - e["data_offsets"][0] for e in header.values())
        expect(size <= shard_bytes or len(header) == 1, f"{name} has {size} bytes")
    tensors = sum(map(len, headers.values()))
    expect(tensors > 0, "there is no tensor")
    return f"{len(files)} files, {tensors} tensors, {check_index(directory, files, headers)}"


# ---- which tensors ----

# The scales of the second are of the model's type, which is BF16 in all test models.
SUFFIXES = {"awq": {".qweight": "I32", ".qzeros": "I32", ".scales": "F16"},
            "gptq": {".qweight": "I32", ".qzeros": "I32", ".scales": "F16", ".g_idx": "I32"},
            "compressed-tensors": {".weight_packed": "I32", ".weight_scale": "BF16",
                                   ".weight_shape": "I64", ".weight_zero_point": "I32"},
            "nf4": {".weight": "U8", ".weight.absmax": "U8", ".weight.quant_map": "F32",
                    ".weight.nested_absmax": "F32", ".weight.nested_quant_map": "F32",
                    NF4_STATE: "U8"},
            "int8": {".weight": "I8", ".SCB": "F32", ".weight_format": "U8"}}


def expected_suffixes(settings, module):
    suffixes = dict(SUFFIXES[packing(settings)])
    if settings["quant_method"] == "compressed-tensors" and \
            weights_of(settings, module)["symmetric"]:
        del suffixes[".weight_zero_point"]
    return suffixes


def check_experts(checkpoint, modules):
    """All but MXFP4: engines read packed experts only one by one, as matrices, and
    pass over fused ones without a word."""
    for module in modules.quantized:
        stored = {name[len(module):]: checkpoint.tensors[name].dtype
                  for name in checkpoint.tensors if name.startswith(module + ".")}
        stored.pop(".bias", None)
        expect(stored == expected_suffixes(checkpoint.quantization, module),
               f"{module} is stored as {stored}")
    for name, tensor in checkpoint.tensors.items():
        expect(tensor.array.ndim <= 2, f"{name} is {tensor.array.shape}")
        expect(".experts." not in name or re.search(r"\.experts\.\d+\.", name),
               f"{name} is not one expert's")


def check_scales(checkpoint):
    """AWQ's and GPTQ's scales are F16; engines that run the model in its own BF16 round them to that."""
    for name, tensor in checkpoint.tensors.items():
        if name.endswith(".scales"):
            lost = tensor.f32().view(numpy.uint32) & 0xFFFF
            expect(not lost.any(), f"{name} has values that BF16 has not")


def check_tensors(checkpoint, modules, source):
    """source: what the modules' shapes were before."""
    method = checkpoint.quantization["quant_method"]
    if method != "mxfp4":
        check_experts(checkpoint, modules)
    check_scales(checkpoint)
    for name, values in source.values.items():
        found = modules.values.get(name)
        if checkpoint.config.get("tie_word_embeddings") and name == "lm_head":
            expect(found is None, "lm_head is stored although it is the embedding")
            continue
        expect(found is not None and found.shape == values.shape,
               f"{name} is {found if found is None else found.shape}, was {values.shape}")
    new = modules.values.keys() - source.values.keys()
    expect(not new, f"{sorted(new)[:4]} were not there")
    expect(modules.quantized, "nothing is quantized")
    return f"{len(checkpoint.tensors)} tensors store {len(modules.values)} weights and biases, " \
           f"{len(modules.quantized)} of them in codes"


# ---- config.json ----

# compressed-tensors refuses members of these objects that it does not know, old releases those that
# came later (scale_dtype, zp_dtype).
GROUP_MEMBERS = {"targets", "weights", "input_activations", "output_activations", "format"}
WEIGHTS_MEMBERS = {"num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "actorder",
                   "block_structure", "observer", "observer_kwargs"}


def check_awq_config(settings):
    # The long names: some engines read no others. Kernels for experts need zero points.
    expect(settings["bits"] == 4 and settings["zero_point"] is True and
           settings["version"] == "gemm" and settings["group_size"] in (-1, 32, 64, 128),
           f"the config is {settings}")
    return f"4 bits, group_size {settings['group_size']}, zero_point"


def check_compressed_config(settings):
    expect(settings["format"] == "pack-quantized" and
           settings["quantization_status"] == "compressed" and
           settings["kv_cache_scheme"] is None and settings["config_groups"],
           f"the config is {settings}")
    groups = settings["config_groups"]
    expect(list(groups) == [f"group_{i}" for i in range(len(groups))], f"groups are {list(groups)}")
    return "; ".join(check_group(group, first=i == 0) for i, group in enumerate(groups.values()))


def check_group(group, first):
    """The first is for all linears that no other names."""
    weights, targets = group["weights"], group["targets"]
    expect(group.keys() <= GROUP_MEMBERS, f"the group has members {sorted(group)}")
    expect(weights.keys() <= WEIGHTS_MEMBERS, f"weights have members {sorted(weights)}")
    expect(targets == ["Linear"] if first else targets and "Linear" not in targets,
           f"targets are {targets}")
    expect(group["format"] == "pack-quantized" and group["input_activations"] is None and
           group["output_activations"] is None, f"the group is {group}")
    size = weights["group_size"]
    expect(weights["type"] == "int" and weights["num_bits"] in (2, 4, 8) and
           weights["dynamic"] is False and weights["actorder"] is None and
           weights["strategy"] in ("group", "channel") and
           (size > 0 if weights["strategy"] == "group" else size in (None, -1)),
           f"weights are {weights}")
    return f"{weights['num_bits']} bits, {weights['strategy']} {size}, " \
           f"{'symmetric' if weights['symmetric'] else 'asymmetric'}"


def check_gptq_config(settings):
    expect(settings.keys() == {"quant_method", "bits", "group_size", "desc_act", "sym", "lm_head",
                               "checkpoint_format", "true_sequential", "dynamic"} and
           settings["desc_act"] is False and settings["lm_head"] is False,
           f"the config is {settings}")
    # Only symmetric codes are loaded by most, and for these the first version is the usual one.
    expect(settings["checkpoint_format"] == ("gptq" if settings["sym"] is True else "gptq_v2"),
           f"sym is {settings['sym']}, checkpoint_format {settings['checkpoint_format']}")
    schemes = {(settings["bits"], settings["group_size"])}
    for rule, changes in settings["dynamic"].items():
        if rule.startswith("-:"):
            expect(changes == {}, f"{rule} is {changes}")
            continue
        expect(rule.startswith("+:") and changes.keys() == {"bits", "group_size"},
               f"{rule} is {changes}")
        schemes.add((changes["bits"], changes["group_size"]))
    for bits, group in schemes:
        expect(bits in (2, 4, 8) and group in (-1, 32, 64, 128), f"{bits} bits, groups of {group}")
    return f"{sorted(schemes)}, {settings['checkpoint_format']}"


# transformers checks types, of the threshold too; other members than these are passed over.
BITSANDBYTES = {"bnb_4bit_quant_storage": "uint8", "llm_int8_threshold": 6.0,
                "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False}
FOUR_BITS = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
             "bnb_4bit_compute_dtype": "bfloat16"}


def check_bitsandbytes_config(settings):
    four = settings["load_in_4bit"]
    wanted = {**BITSANDBYTES, **(FOUR_BITS if four is True else {}),
              "load_in_8bit": not four, "_load_in_4bit": four, "_load_in_8bit": not four}
    for name, value in wanted.items():
        expect(type(settings[name]) is type(value) and settings[name] == value,
               f"{name} is {settings[name]!r}")
    return "NF4" if four else "LLM.int8"


def check_config(checkpoint):
    settings = checkpoint.quantization
    method = settings["quant_method"]
    if method == "bitsandbytes":
        return check_bitsandbytes_config(settings)
    if method == "awq":
        return check_awq_config(settings)
    if method == "compressed-tensors":
        return check_compressed_config(settings)
    if method == "gptq":
        return check_gptq_config(settings)
    expect(settings.keys() == {"quant_method", "modules_to_not_convert"} and
           checkpoint.config["model_type"] == "gpt_oss", f"the config is {settings}")
    return "mxfp4"


# ---- which linears are skipped ----

# Engines that run these as one linear ask for each of its parts, and refuse the model where the
# answers differ; some ask for the name of the whole.
FUSED_LINEARS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"),
                 "gate_up_proj": ("gate_proj", "up_proj")}


def fused_linears(names):
    """{name of a fused linear: its parts}; experts are not of this kind."""
    fused = {}
    for name in names:
        parent, _, leaf = name.rpartition(".")
        for whole, parts in FUSED_LINEARS.items():
            if leaf in parts and ".experts." not in name:
                fused.setdefault(f"{parent}.{whole}", []).append(name)
    return fused


def contains(entries, name):
    return any(entry in name for entry in entries)


def contains_or_leaf(entries, name):
    return contains(entries, name) or name.split(".")[-1] in entries


def starts_or_ends(entries, name):
    return any(re.match(entry, name) or name.endswith(entry) for entry in entries)


def starts_whole_or_ends(entries, name):
    """Later releases: what an entry matches ends where a component of the name does."""
    boundary = r"(?:(?<=\.)|(?=\.|$))"
    return any(re.match(f"(?:{entry}){boundary}", name) or name.endswith(entry)
               for entry in entries)


def but_head(skips):
    """The head is left out unasked."""
    return lambda entries, name: name == "lm_head" or skips(entries, name)


def leaf_or_before_dot(entries, name):
    return any(entry in (name, name.split(".")[-1]) or entry + "." in name for entry in entries)


def component_or_beginning(entries, name):
    components = name.split(".")
    beginnings = {".".join(components[:i + 1]) for i in range(len(components))}
    return any(entry in components or entry in beginnings for entry in entries)


def whole_or_regex(entries, name):
    # Of a class's name there is only "Linear" here, which would match every linear.
    return any(re.match(entry[3:], name) if entry.startswith("re:")
               else entry in (name, "Linear") for entry in entries)


def as_on_disk(name):
    return name


def as_in_transformers_5(name):
    return name.replace(".block_sparse_moe.", ".mlp.")


def as_in_vllm(name):
    """Experts are asked for by these names whatever the file has, and GPT-OSS has attn."""
    for on_disk, asked in (("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")):
        name = re.sub(rf"(\.experts\.\d+)\.{on_disk}$", rf"\1.{asked}", name)
    return name


def as_gpt_oss_in_vllm(name):
    return as_in_vllm(name).replace(".self_attn.", ".attn.")


def as_joined_in_vllm(name):
    """Of several linears that it runs as one, all experts of a layer too, it asks by one name."""
    name = re.sub(r"(\.experts)\.\d+\..*", r"\1", name)
    name = re.sub(r"\.[qkv]_proj$", ".qkv_proj", name)
    return re.sub(r"\.(gate|up)_proj$", ".gate_up_proj", name)


# (who, in which spelling, does it skip the name?)
READERS = {
    "awq": [("AutoAWQ, SGLang and vLLM", as_on_disk, contains),
            ("transformers 4", as_on_disk, but_head(contains_or_leaf)),
            ("transformers 5", as_on_disk, but_head(starts_or_ends)),
            ("transformers 5.20", as_on_disk, but_head(starts_whole_or_ends))],
    "compressed-tensors": [("SGLang", as_on_disk, whole_or_regex),
                           ("vLLM", as_in_vllm, whole_or_regex),
                           ("vLLM, GPT-OSS", as_gpt_oss_in_vllm, whole_or_regex),
                           ("transformers 5", as_in_transformers_5, whole_or_regex)],
    "gptq": [("GPTQModel", as_on_disk, whole_or_regex),
             ("GPTQModel with transformers 5", as_in_transformers_5, whole_or_regex),
             ("vLLM and SGLang", as_joined_in_vllm, whole_or_regex)],
    "bitsandbytes": [("transformers 4", as_on_disk, leaf_or_before_dot),
                     ("transformers 5", as_on_disk, starts_or_ends),
                     ("transformers 5.20", as_on_disk, starts_whole_or_ends),
                     ("vLLM", as_on_disk, component_or_beginning)],
    "mxfp4": [("transformers 4 and 5", as_on_disk, starts_or_ends),
              ("transformers 5.20", as_on_disk, starts_whole_or_ends)],
}


def check_reader(who, spell, skips, entries, kept, quantized):
    # Whole names in a list are put into the engine's spelling as well, regular expressions are not.
    spelled = [entry if entry.startswith("re:") else spell(entry) for entry in entries]
    for name in sorted(kept):
        expect(skips(spelled, spell(name)), f"{who}: {name} is float and not skipped by {entries}")
    for name in sorted(quantized):
        expect(not skips(spelled, spell(name)), f"{who}: {name} is in codes, skipped by {entries}")


def check_fused(method, entries, kept, quantized):
    """Parts agree with one another and, where readers ask for that, with the whole's name."""
    asks = {"awq": contains, "bitsandbytes": component_or_beginning}.get(method)
    fused = fused_linears(kept | quantized)
    for whole, parts in sorted(fused.items()):
        states = {part in quantized for part in parts}
        expect(len(states) == 1, f"of {whole} a part is quantized")
        expect(not asks or states == {not asks(entries, whole)},
               f"{whole} is not as its parts by {entries}")
    return len(fused)


LISTS = {"compressed-tensors": "ignore", "bitsandbytes": "llm_int8_skip_modules"}


def list_name(settings):
    return LISTS.get(settings["quant_method"], "modules_to_not_convert")


def list_of(settings):
    """What is not quantized, in the format's own way; GPTQ's as compressed-tensors would have it."""
    if settings["quant_method"] == "gptq":
        return ["re:" + rule[2:] for rule in settings["dynamic"] if rule.startswith("-:")]
    return settings[list_name(settings)]


def check_schemes(settings, quantized):
    """Is a module of the same scheme by every name for it?"""
    for name in sorted(quantized):
        scheme = gptq_scheme(settings, name)
        for who, spell, _ in READERS["gptq"]:
            found = gptq_scheme(settings, spell(name))
            expect(found == scheme, f"{who}: {spell(name)} is {found}, {name} {scheme}")


def names_of_all_experts(names):
    """Engines that hold the experts of a layer as one module ask for that."""
    return {name.partition(".experts.")[0] + ".experts" for name in names if ".experts." in name}


def spell_targets(settings, spell):
    """The settings with whole names as an engine spells them."""
    groups = {key: {**group, "targets": [target if target.startswith("re:") or target == "Linear"
                                         else spell(target) for target in group["targets"]]}
              for key, group in settings["config_groups"].items()}
    return {**settings, "config_groups": groups}


def check_groups(checkpoint, modules, expected):
    """expected: [(expression, (bits, strategy, group_size, symmetric), or None for float)] of which
    the first that is found in a module's name counts. Has every module what it should have, in
    every reader's spelling and for all parts of what engines join?"""
    settings = checkpoint.quantization
    used = set()
    for name in sorted(modules.quantized | modules.floats):
        wanted = next((args for pattern, args in expected if re.search(pattern, name)), None)
        expect((wanted is not None) == (name in modules.quantized),
               f"{name} is {'in codes' if wanted is None else 'float'}")
        if wanted is None:
            continue
        for who, spell, _ in READERS["compressed-tensors"]:
            spelled = spell_targets(settings, spell)
            args = weights_of(spelled, spell(name))
            found = (args["num_bits"], args["strategy"], args["group_size"], args["symmetric"])
            expect(found == wanted, f"{who}: {name} is {found}, expected {wanted}")
        used.add(group_of(settings, name))
    expect(used == set(settings["config_groups"]), f"only {sorted(used)} are of use")
    for whole, parts in fused_linears(modules.quantized).items():
        keys = {group_of(settings, part) for part in parts}
        expect(len(keys) == 1, f"{whole} has parts in {sorted(keys)}")
    return f"{len(modules.quantized)} modules in {len(used)} groups, as expected, by the rules " \
           f"of {len(READERS['compressed-tensors'])} readers"


def check_skipped(checkpoint, modules):
    """Does every reader skip all linears that are float, and none in codes?"""
    settings = checkpoint.quantization
    method = settings["quant_method"]
    entries = list_of(settings)
    kept, quantized = set(modules.floats), set(modules.quantized)
    if method == "mxfp4":
        # What is converted is the experts of a layer as one.
        quantized = names_of_all_experts(quantized)
    else:
        kept.discard("model.embed_tokens")  # no linear
        experts = names_of_all_experts(quantized)
        kept |= names_of_all_experts(kept) - experts
        quantized |= experts
    if method == "gptq":
        check_schemes(settings, modules.quantized)
    fused = check_fused(method, entries, kept, quantized)
    for who, spell, skips in READERS[method]:
        check_reader(who, spell, skips, entries, kept, quantized)
    return f"{len(entries)} entries, {len(kept)} skipped and {len(quantized)} not by the rules " \
           f"of {len(READERS[method])} readers, {fused} fused linears"
