"""
Loads a checkpoint that awqc wrote, and its original, in transformers, and compares what both
compute with the figures of `awqc eval`. Needs torch, transformers 5.17 or later and, for that
format, compressed-tensors. Not run by CI.

  with_transformers.py ORIGINAL QUANTIZED TEXT --awqc PROGRAM
  with_transformers.py ORIGINAL QUANTIZED TEXT --figures FIGURES.json

FIGURES.json is what this prints, where transformers is absent:

  awqc eval QUANTIZED --reference ORIGINAL --text TEXT --window 256 --windows 16 --json --quiet
"""
import argparse
import json
import math
import os
import re
import subprocess
import sys

import numpy
import torch
import transformers

from reader import Checkpoint, read_modules

# Both compute in F32, from the same weights; what is left are orders of summation.
PERPLEXITY_TOLERANCE = 1e-4  # relative
KL_TOLERANCE = 0.01          # relative
KL_SLACK = 1e-6              # nats
# compressed-tensors multiplies codes and scales in the scales' type: its weights are the exact
# products rounded to BF16.
ROUNDED_PERPLEXITY_TOLERANCE = 1e-3
ROUNDED_KL_TOLERANCE = 0.05
ROUNDED_KL_SLACK = 1e-5

EXPERTS = re.compile(r"(.*\.experts)\.(gate_up_proj|down_proj)$")


def read_config(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        return json.load(file)


def load(directory, device):
    """The model with weights and arithmetic in F32, on `device`."""
    options = {}
    method = read_config(directory).get("quantization_config", {}).get("quant_method")
    if method == "mxfp4":
        # Else transformers takes kernels where it finds them. A code times a power of two is exact
        # in BF16 as well, so that nothing is lost on the way to F32.
        options["quantization_config"] = transformers.Mxfp4Config(dequantize=True)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True,
        **options)
    # A tensor that transformers does not find is filled at random with a mere warning.
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            sys.exit(f"{directory}: {kind}: {sorted(map(str, info[kind]))[:8]}")
    types = sorted({str(parameter.dtype) for parameter in model.parameters()})
    print(f"{directory}: {method or 'not quantized'}, loaded as {', '.join(types)}")
    # Experts come out of compressed-tensors in the scales' type; the arithmetic is to be in F32.
    for parameter in model.parameters():
        if parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()
    return model.eval().to(device)


# ---- weights ----

def expert_matrix(values, prefix, expert, part):
    """By its name on disk, which is another one in Mixtral."""
    other = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}[part]
    name = f"{prefix}.{expert}.{part}"
    if name not in values:
        name = f"{prefix.replace('.mlp.', '.block_sparse_moe.')}.{expert}.{other}"
    return torch.from_numpy(numpy.ascontiguousarray(values[name]))


def expected_experts(values, prefix, name, count, model_type):
    """What transformers holds as one parameter: [E, 2I, H], first gate and then up, and [E, H, I];
    in GPT-OSS the other way round, gate and up by turns."""
    def join(expert):
        if name == "down_proj":
            return expert_matrix(values, prefix, expert, "down_proj")
        parts = [expert_matrix(values, prefix, expert, part) for part in ("gate_proj", "up_proj")]
        return torch.stack(parts, 1).flatten(0, 1) if model_type == "gpt_oss" else torch.cat(parts)
    matrices = torch.stack([join(expert) for expert in range(count)])
    return matrices.transpose(1, 2) if model_type == "gpt_oss" else matrices


def compare_experts(model, directory, rounded):
    """Are the experts what reader.py reads, which knows the format's description alone?"""
    values = read_modules(Checkpoint(directory)).values
    good, count = True, 0
    for full_name, parameter in model.named_parameters():
        match = EXPERTS.match(full_name)
        if match:
            expected = expected_experts(values, match[1], match[2], len(parameter),
                                        model.config.model_type)
            expected = expected.bfloat16().float() if rounded else expected
            good = good and torch.equal(expected, parameter.detach().cpu())
            count += parameter.numel()
    good = good and count > 0
    print(f"{'ok    ' if good else 'FAILED'}  {count} weights of experts are "
          f"{'' if good else 'not '}as described{', rounded to BF16' if rounded else ''}")
    return good


# ---- predictions ----

def make_windows(directory, text_path, length, count):
    """As awqc does: the whole text without special tokens, cut into windows that begin with the BOS
    where the tokenizer sets one; what is left over is dropped."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    with open(text_path, encoding="utf-8", newline="") as file:
        ids = tokenizer(file.read(), add_special_tokens=False, verbose=False)["input_ids"]
    first = tokenizer("", add_special_tokens=True)["input_ids"][:1]
    step = length - len(first)
    windows = [first + ids[at:at + step] for at in range(0, len(ids) - step + 1, step)]
    return torch.tensor(windows[:count] if count else windows)


def log_probabilities(model, window):
    return torch.log_softmax(model(window[None]).logits[0].double(), dim=-1)


def measure(original, quantized, windows):
    """Of each window's positions after the first the likelihood; of all of them the divergence."""
    loss = {"original": 0.0, "quantized": 0.0}
    divergence, positions, scored = 0.0, 0, 0
    for window in windows.to(next(original.parameters()).device):
        reference, judged = (log_probabilities(model, window) for model in (original, quantized))
        for name, values in (("original", reference), ("quantized", judged)):
            loss[name] -= values[:-1].gather(1, window[1:, None]).sum().item()
        divergence += (reference.exp() * (reference - judged)).sum().item()
        positions += len(window)
        scored += len(window) - 1
    return {"reference_perplexity": math.exp(loss["original"] / scored),
            "perplexity": math.exp(loss["quantized"] / scored),
            "kl": divergence / positions, "tokens": scored}


def awqc_figures(arguments):
    if arguments.figures:
        with open(arguments.figures, encoding="utf-8") as file:
            return json.load(file)
    command = [arguments.awqc, "eval", arguments.quantized, "--reference", arguments.original,
               "--text", arguments.text, "--window", str(arguments.window),
               "--windows", str(arguments.windows), "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(name, ours, theirs, allowed):
    good = abs(ours - theirs) <= allowed
    print(f"{'ok    ' if good else 'FAILED'}  {name:18} transformers {theirs:.6f}  "
          f"awqc {ours:.6f}  differ by {abs(ours - theirs):.1e}, allowed {allowed:.1e}")
    return good


def compare_figures(ours, theirs, rounded):
    perplexity, kl, slack = (
        (ROUNDED_PERPLEXITY_TOLERANCE, ROUNDED_KL_TOLERANCE, ROUNDED_KL_SLACK) if rounded
        else (PERPLEXITY_TOLERANCE, KL_TOLERANCE, KL_SLACK))
    before, after = theirs["reference_perplexity"], theirs["perplexity"]
    return [compare("tokens", ours["tokens"], theirs["tokens"], 0),
            compare("perplexity before", ours["reference_perplexity"], before,
                    PERPLEXITY_TOLERANCE * before),
            compare("perplexity after", ours["perplexity"], after, perplexity * after),
            compare("KL divergence", ours["kl"], theirs["kl"], kl * theirs["kl"] + slack)]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n", maxsplit=1)[0])
    parser.add_argument("original", help="directory of the checkpoint that was quantized")
    parser.add_argument("quantized", help="directory of the result")
    parser.add_argument("text", help="a .txt file")
    figures = parser.add_mutually_exclusive_group(required=True)
    figures.add_argument("--awqc", help="the program, to be asked for its figures")
    figures.add_argument("--figures", help="a file of its figures")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--windows", type=int, default=16, help="how many; 0 is all")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


@torch.no_grad()
def main():
    arguments = parse_arguments()
    torch.backends.cuda.matmul.allow_tf32 = False
    ours = awqc_figures(arguments)
    windows = make_windows(arguments.original, arguments.text, arguments.window, arguments.windows)
    original = load(arguments.original, arguments.device)
    quantized = load(arguments.quantized, arguments.device)
    theirs = measure(original, quantized, windows)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, "
          f"{len(windows)} windows of {arguments.window}")
    method = read_config(arguments.quantized)["quantization_config"]["quant_method"]
    rounded = method == "compressed-tensors"
    good = [compare_experts(quantized, arguments.quantized, rounded)]
    good += compare_figures(ours, theirs, rounded)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
