"""
Quantizes the test models in every format and reads what awqc wrote with other people's eyes.

  formats.py BUILD_DIR [--self-test]
"""
import argparse
import json
import os
import shutil
import sys
import tempfile

import self_test
from compare import (compare_perplexity, compare_rounded, compare_tensors, compare_texts,
                     compare_weights)
from make_fused import copy_texts, make_fused, write
from programs import NO_LIMIT, Programs
from reader import Checkpoint, gptq_scheme, read_modules, weights_of
from report import Report, expect
from rules import check_config, check_files, check_groups, check_skipped, check_tensors

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
ALL = ["*.experts.*", "*.shared_expert.*", "*.q_proj", "*.k_proj", "*.v_proj", "*.o_proj"]
SOME = ["*.experts.0.*", "*.experts.2.*"]
SHARED = ["*.experts.*", "*.shared_expert.*"]

# Of a recipe: several schemes in one checkpoint.
MIXED_GPTQ = [{"role": "attention", "projection": "o", "layers": "0", "bits": 2, "group_size": 32},
              {"role": "attention", "bits": 8, "group_size": -1},
              {"role": "expert", "layers": "1", "bits": 8},
              {"role": "shared_expert", "group_size": 32}]

# name, model, format, options of `quantize`. Each is run with method rtn and with method awq.
CASES = [
    ("mixtral awq", "mixtral", "awq", {}),
    ("mixtral awq g32", "mixtral", "awq", {"group_size": 32}),
    ("mixtral awq, rows, all linears", "mixtral", "awq", {"group_size": -1, "modules": ["*"]}),
    ("mixtral ct", "mixtral", "compressed-tensors", {}),
    ("mixtral ct asymmetric", "mixtral", "compressed-tensors", {"symmetric": False}),
    ("mixtral ct, one layer", "mixtral", "compressed-tensors",
     {"modules": ["model.layers.1.*.experts.*"]}),
    ("qwen2_moe awq", "qwen2_moe", "awq", {"group_size": 64}),
    ("qwen2_moe awq, shared expert", "qwen2_moe", "awq", {"modules": SHARED}),
    ("qwen2_moe ct g64, shared expert", "qwen2_moe", "compressed-tensors",
     {"group_size": 64, "modules": SHARED}),
    ("qwen2_moe ct 8 bits", "qwen2_moe", "compressed-tensors", {"bits": 8}),
    ("qwen2_moe ct 8 bits, rows", "qwen2_moe", "compressed-tensors",
     {"bits": 8, "group_size": -1}),
    ("qwen2_moe ct 8 bits asymmetric", "qwen2_moe", "compressed-tensors",
     {"bits": 8, "group_size": 32, "symmetric": False}),
    ("qwen2_moe ct rows asymmetric", "qwen2_moe", "compressed-tensors",
     {"group_size": -1, "symmetric": False}),
    ("qwen3_moe ct", "qwen3_moe", "compressed-tensors", {}),
    ("qwen3_moe ct, all linears", "qwen3_moe", "compressed-tensors", {"modules": ALL}),
    ("qwen3_moe ct, shards", "qwen3_moe", "compressed-tensors", {"shard_size": 1_000_000}),
    ("qwen3_moe awq", "qwen3_moe", "awq", {}),
    ("qwen3_moe awq, one layer", "qwen3_moe", "awq",
     {"modules": ["model.layers.0.mlp.experts.*"]}),
    ("qwen3_moe awq, some experts", "qwen3_moe", "awq", {"modules": SOME}),
    ("qwen3_moe ct, some experts", "qwen3_moe", "compressed-tensors", {"modules": SOME}),
    ("mixtral gptq", "mixtral", "gptq", {}),
    ("mixtral gptq, one layer", "mixtral", "gptq", {"modules": ["model.layers.1.*.experts.*"]}),
    ("qwen2_moe gptq, all linears", "qwen2_moe", "gptq", {"group_size": 64, "modules": ALL}),
    ("qwen2_moe gptq 8 bits, rows", "qwen2_moe", "gptq", {"bits": 8, "group_size": -1}),
    ("qwen2_moe gptq, mixed", "qwen2_moe", "gptq", {"rules": MIXED_GPTQ}),
    ("qwen3_moe gptq asymmetric", "qwen3_moe", "gptq", {"group_size": 32, "symmetric": False}),
    ("gpt_oss mxfp4", "gpt_oss", "mxfp4", {}),
    ("gpt_oss mxfp4, shards", "gpt_oss", "mxfp4", {"shard_size": 1_000_000}),
    ("mixtral nf4", "mixtral", "bitsandbytes", {}),
    ("mixtral nf4, one layer", "mixtral", "bitsandbytes",
     {"modules": ["model.layers.1.*.experts.*"]}),
    ("mixtral int8, all linears", "mixtral", "bitsandbytes", {"bits": 8, "modules": ["*"]}),
    ("qwen2_moe nf4, shared expert", "qwen2_moe", "bitsandbytes", {"modules": SHARED}),
    ("qwen2_moe int8", "qwen2_moe", "bitsandbytes", {"bits": 8}),
    ("qwen3_moe nf4, all linears", "qwen3_moe", "bitsandbytes", {"modules": ALL}),
    ("qwen3_moe nf4, shards", "qwen3_moe", "bitsandbytes", {"shard_size": 1_000_000}),
    ("gpt_oss int8", "gpt_oss", "bitsandbytes", {"bits": 8}),
    ("gpt_oss ct g32", "gpt_oss", "compressed-tensors", {"group_size": 32}),
]


# name, model, rules, and what each module is then: the first expression that is found in its name
# counts. What quantize says is 4 bits in groups of 64.
FOUR, EIGHT = (4, "group", 64, True), (8, "group", 64, True)
ROWS = (8, "channel", None, True)
EXPERTS_W = r"\.experts\.\d+\.w"
MIXED = [
    ("mixtral, a layer in 8 bits", "mixtral", [{"layers": 0, "role": "expert", "bits": 8}],
     [(r"layers\.0\..*" + EXPERTS_W, EIGHT), (EXPERTS_W, FOUR)]),
    ("mixtral, each projection its own", "mixtral",
     [{"projection": "down", "bits": 2, "group_size": 32},
      {"match": "experts.*", "symmetric": False},
      {"role": "attention", "preset": "w8a16"}],
     [(r"\.w2$", (2, "group", 32, True)), (EXPERTS_W, (4, "group", 64, False)),
      (r"self_attn\.\w_proj$", ROWS)]),
    ("qwen2_moe, odd experts kept", "qwen2_moe",
     [{"experts": "odd", "keep": True}, {"role": "shared_expert", "bits": 8}],
     [(r"experts\.[1357]\.", None), (r"\.experts\.", FOUR), (r"\.shared_expert\.", EIGHT)]),
    ("qwen3_moe, experts apart", "qwen3_moe",
     [{"experts": "0,3", "layers": 1, "bits": 8}, {"experts": "::2", "bits": 8, "group_size": -1},
      {"layers": 0, "projection": "o,qkv", "bits": 8}],
     [(r"layers\.1\..*experts\.[03]\.", EIGHT), (r"experts\.[0246]\.", ROWS),
      (r"\.experts\.", FOUR), (r"layers\.0\.self_attn\.\w_proj$", EIGHT)]),
]


def model(name):
    return os.path.join(DATA, f"{name}-tiny")


def check_case(report, programs, case, method):
    name, model_name, output_format, options = case
    name, source = f"{name}, {method}", model(model_name)
    directory = report.get(name, programs.quantize, source, output_format, method, options)
    checkpoint = directory and report.get(name, Checkpoint, directory)
    modules = checkpoint and report.get(name, read_modules, checkpoint)
    if not modules:
        return
    before = read_modules(Checkpoint(source))
    report.check(f"{name}: files", check_files, directory, options.get("shard_size", NO_LIMIT))
    report.check(f"{name}: config", check_config, checkpoint)
    report.check(f"{name}: texts", compare_texts, source, checkpoint)
    report.check(f"{name}: tensors", check_tensors, checkpoint, modules, before)
    report.check(f"{name}: skipped", check_skipped, checkpoint, modules)
    report.check(f"{name}: weights", check_weights, programs, directory)
    if method == "rtn":
        report.check(f"{name}: rounding", compare_rounded, modules, before,
                     (lambda module: gptq_scheme(checkpoint.quantization, module)[0])
                     if output_format == "gptq" else options.get("bits", 4))
    else:
        report.check(f"{name}: perplexity", compare_perplexity, programs, source, directory)
    if "shard_size" in options:
        whole = {**options, "shard_size": NO_LIMIT}
        report.check(f"{name}: the same in one file", lambda: compare_tensors(
            directory, programs.quantize(source, output_format, method, whole)))


def check_mixed(report, programs, case, method):
    name, model_name, rules, expected = case
    name, source = f"mixed: {name}, {method}", model(model_name)
    options = {"group_size": 64, "rules": rules}
    directory = report.get(name, programs.quantize, source, "compressed-tensors", method, options)
    checkpoint = directory and report.get(name, Checkpoint, directory)
    modules = checkpoint and report.get(name, read_modules, checkpoint)
    if not modules:
        return
    before = read_modules(Checkpoint(source))
    report.check(f"{name}: config", check_config, checkpoint)
    report.check(f"{name}: groups", check_groups, checkpoint, modules, expected)
    report.check(f"{name}: tensors", check_tensors, checkpoint, modules, before)
    report.check(f"{name}: skipped", check_skipped, checkpoint, modules)
    report.check(f"{name}: weights", check_weights, programs, directory)
    if method == "rtn":
        report.check(f"{name}: rounding", compare_rounded, modules, before,
                     lambda module: weights_of(checkpoint.quantization, module)["num_bits"])
    elif not any(args and args[0] == 2 for _, args in expected):
        report.check(f"{name}: perplexity", compare_perplexity, programs, source, directory)


def check_weights(programs, directory):
    return compare_weights(read_modules(Checkpoint(directory)), programs.weights(directory))


def check_originals(report, programs):
    for name in ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss"):
        report.check(f"{name}, not quantized: weights", check_weights, programs, model(name))


def check_fused_source(report, programs):
    """Where the experts come from fused tensors, nothing else changes."""
    source, fused = model("qwen3_moe"), programs.path()
    make_fused(source, fused)
    text = os.path.join(source, "eval.txt")
    calibration = os.path.join(source, "calib.jsonl")
    shutil.copy(calibration, os.path.join(fused, "calib.jsonl"))

    def compare_eval():
        first, second = programs.perplexity(source, text), programs.perplexity(fused, text)
        expect(first == second, f"{second}, one by one {first}")
        return f"perplexity {first} in both"

    report.check("fused experts: weights", check_weights, programs, fused)
    report.check("fused experts: eval", compare_eval)
    for output_format in ("compressed-tensors", "awq"):
        for method in ("rtn", "awq"):
            report.check(f"fused experts, {output_format}, {method}: as from one by one",
                         lambda *how: compare_tensors(programs.quantize(source, *how, {}),
                                                      programs.quantize(fused, *how, {})),
                         output_format, method)


def check_mxfp4_again(report, programs):
    """MXFP4 that is read and quantized to MXFP4 stays what it is, rounded or searched."""
    source = model("gpt_oss")
    once = programs.quantize(source, "mxfp4", "rtn", {})
    for name in ("calib.jsonl", "eval.txt"):
        shutil.copy(os.path.join(source, name), os.path.join(once, name))
    for method in ("rtn", "awq"):
        report.check(f"mxfp4 quantized again, {method}: tensors", lambda how: compare_tensors(
            once, programs.quantize(once, "mxfp4", how, {})), method)


def write_tied(directory, stored):
    """A Qwen3-MoE whose head is its embedding, which `stored` has in the file twice."""
    source = Checkpoint(model("qwen3_moe"))
    tensors = {name: (t.dtype, t.array) for name, t in source.tensors.items()}
    del tensors["lm_head.weight"]
    if stored:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    copy_texts(source.directory, directory)
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump({**source.config, "tie_word_embeddings": True}, file)
    write(tensors, os.path.join(directory, "model.safetensors"))


def check_tied(report, programs):
    """The head is not written, even where the source has it."""
    for name, stored in (("left out", False), ("stored twice", True)):
        directory = programs.path()
        write_tied(directory, stored)
        for output_format in ("awq", "compressed-tensors"):
            report.check(f"tied head, {name}, {output_format}", check_tied_output, programs,
                         directory, output_format)


def check_tied_output(programs, directory, output_format):
    checkpoint = Checkpoint(programs.quantize(directory, output_format, "rtn", {}))
    modules = read_modules(checkpoint)
    expect("lm_head.weight" not in checkpoint.tensors, "lm_head.weight is stored")
    return f"{check_skipped(checkpoint, modules)}; no lm_head.weight among " \
           f"{len(checkpoint.tensors)} tensors"


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("build", help="the build directory")
    parser.add_argument("--self-test", action="store_true",
                        help="make things wrong, which must be noticed")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as work:
        programs = Programs(os.path.abspath(arguments.build), work)
        if arguments.self_test:
            self_test.run(report, programs, DATA)
            return report.close("self-test")
        check_originals(report, programs)
        for case in CASES:
            for method in ("rtn", "awq"):
                check_case(report, programs, case, method)
        for case in MIXED:
            for method in ("rtn", "awq"):
                check_mixed(report, programs, case, method)
        check_fused_source(report, programs)
        check_mxfp4_again(report, programs)
        check_tied(report, programs)
    return report.close("formats")


if __name__ == "__main__":
    sys.exit(main())
