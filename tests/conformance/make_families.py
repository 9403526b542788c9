"""
Tiny random models of many families, with what transformers computes of them, for tests/golden:

    python make_families.py FOLDER [NAME ...]        writes FOLDER/NAME-tiny

Needs torch (CPU) and transformers 5.24.0. Each model has all the quirks of its family switched on:
norms are not one, corrections of the router are not zero, and there are outlier channels. A folder
has config.json, model.safetensors, calib_ids.safetensors, eval_ids.safetensors, golden.json and
golden.safetensors, with for each layer n
  layers.n.attention_output  what the attention adds to the residual stream        [batch, T, H]
  layers.n.moe_input         the normed input of experts or MLP                    [batch, T, H]
  layers.n.moe_output        what the experts add, times the layer's scalar        [batch, T, H]
  layers.n.output            the residual stream after the layer                   [batch, T, H]
  layers.n.router_logits [tokens, E], router_topk_index and _weight [tokens, k]    where there is one
"""
import json
import os
import sys

import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file

TOKENS = 24  # of a sequence
COMMON = dict(vocab_size=96, hidden_size=64, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=256, pad_token_id=None, bos_token_id=None, eos_token_id=None)


class Family:
    """How a family is made, and where its parts are. moe_norm: the norm of experts; mid_norm: the
    first norm after the attention, whose input is the residual stream; router: a module of the
    layer."""

    def __init__(self, config, moe_norm="post_attention_layernorm", mid_norm=None,
                 router="mlp.gate", experts="mlp.experts", scalar=None, norms_plus_one=False,
                 wrap=None, copied=(), model=None, turned=False):
        self.config, self.moe_norm, self.mid_norm = config, moe_norm, mid_norm or moe_norm
        self.router, self.experts, self.scalar = router, experts, scalar
        self.norms_plus_one, self.wrap = norms_plus_one, wrap
        self.turned = turned  # fused experts are released as [E, H, 2I] and [E, I, H]
        self.model = model or transformers.AutoModelForCausalLM
        self.ids = getattr(config, "image_token_id", None) or COMMON["vocab_size"]  # of text
        self.copied = copied  # names and shapes of tensors that transformers does not read


def family_olmoe():
    return Family(transformers.OlmoeConfig(
        **COMMON | dict(num_key_value_heads=4), intermediate_size=32, num_hidden_layers=2,
        num_experts=8, num_experts_per_tok=3, norm_topk_prob=False, attention_bias=False,
        tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}))


DEEPSEEK = COMMON | dict(
    num_key_value_heads=4, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=3,
    first_k_dense_replace=1, n_routed_experts=8, num_experts_per_tok=3, kv_lora_rank=32,
    qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=24, rms_norm_eps=1e-3, n_group=4,
    topk_group=2, tie_word_embeddings=False)


def yarn(factor, mscale):
    return {"rope_type": "yarn", "rope_theta": 10000.0, "factor": factor, "beta_fast": 32.0,
            "beta_slow": 1.0, "mscale": mscale, "mscale_all_dim": mscale,
            "original_max_position_embeddings": 64}


def family_deepseek_v2():
    return Family(transformers.DeepseekV2Config(
        **DEEPSEEK, q_lora_rank=None, n_shared_experts=2, topk_method="group_limited_greedy",
        routed_scaling_factor=4.0, norm_topk_prob=False, rope_parameters=yarn(40.0, 0.707)))


def family_deepseek_v3():
    return Family(transformers.DeepseekV3Config(
        **DEEPSEEK, q_lora_rank=32, n_shared_experts=1, routed_scaling_factor=2.5,
        norm_topk_prob=True, attention_bias=True, num_mtp_layers=0,
        rope_parameters=yarn(4.0, 1.0)), copied=[
            ("model.layers.3.enorm.weight", [64]), ("model.layers.3.eh_proj.weight", [64, 128]),
            ("model.layers.3.self_attn.q_a_proj.weight", [32, 64]),
            ("model.layers.3.mlp.experts.0.down_proj.weight", [64, 32])])


def family_qwen3_vl_moe():
    text = dict(COMMON, num_hidden_layers=2, head_dim=16, intermediate_size=96, num_experts=8,
                num_experts_per_tok=3, moe_intermediate_size=32, norm_topk_prob=True,
                mlp_only_layers=[], decoder_sparse_step=1, tie_word_embeddings=False,
                rope_parameters={"rope_type": "default", "rope_theta": 1e4,
                                 "mrope_section": [4, 2, 2], "mrope_interleaved": True})
    vision = dict(depth=1, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=64,
                  patch_size=4, temporal_patch_size=1, spatial_merge_size=1,
                  num_position_embeddings=16, deepstack_visual_indexes=[])
    return Family(transformers.Qwen3VLMoeConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=False, image_token_id=90,
        video_token_id=91, vision_start_token_id=92, vision_end_token_id=93),
        model=transformers.Qwen3VLMoeForConditionalGeneration, turned=True)


QWEN_NEXT = COMMON | dict(
    num_hidden_layers=3, head_dim=32, layer_types=["linear_attention", "full_attention",
                                                   "linear_attention"],
    num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32, linear_num_key_heads=2,
    shared_expert_intermediate_size=32, linear_num_value_heads=4, linear_key_head_dim=16,
    linear_value_head_dim=16, linear_conv_kernel_dim=4, tie_word_embeddings=False,
    attention_bias=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                           "partial_rotary_factor": 0.25})

PREDICTION = [("mtp.fc.weight", [64, 128]), ("mtp.norm.weight", [64]),
              ("mtp.layers.0.mlp.experts.0.down_proj.weight", [64, 32])]


def family_qwen3_next():
    return Family(transformers.Qwen3NextConfig(
        **QWEN_NEXT, intermediate_size=96, decoder_sparse_step=1, mlp_only_layers=[2],
        norm_topk_prob=True), norms_plus_one=True, copied=PREDICTION)


def family_qwen3_5_moe():
    return Family(transformers.Qwen3_5MoeTextConfig(**QWEN_NEXT), norms_plus_one=True,
                  wrap=("qwen3_5_moe", "model.", "model.language_model."), copied=PREDICTION + [
                      ("model.visual.blocks.0.attn.qkv.weight", [96, 32])])


def family_glm4_moe_lite():
    return Family(transformers.Glm4MoeLiteConfig(
        **{k: v for k, v in DEEPSEEK.items() if k != "first_k_dense_replace"}, q_lora_rank=32,
        n_shared_experts=1, routed_scaling_factor=1.8, norm_topk_prob=True,
        mlp_layer_types=["dense", "sparse", "sparse"],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}))


def family_glm_moe():
    return Family(transformers.Glm4MoeConfig(
        **COMMON, intermediate_size=96, num_hidden_layers=3, moe_intermediate_size=32,
        n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=1, n_group=4, topk_group=2,
        routed_scaling_factor=2.5, first_k_dense_replace=1, norm_topk_prob=True, use_qk_norm=True,
        head_dim=16, attention_bias=True, tie_word_embeddings=False, num_mtp_layers=0,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}))


def family_minimax_m2():
    return Family(transformers.MiniMaxM2Config(
        **COMMON, intermediate_size=32, num_hidden_layers=2, num_local_experts=8,
        num_experts_per_tok=3, head_dim=16, tie_word_embeddings=False, rotary_dim=8,
        rope_parameters={"rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.5}))


def family_ernie_moe():
    return Family(transformers.Ernie4_5_MoeConfig(
        **COMMON, intermediate_size=96, num_hidden_layers=3, moe_intermediate_size=32,
        moe_num_experts=8, moe_k=3, moe_num_shared_experts=2, moe_layer_start_index=1,
        moe_layer_end_index=-1, moe_layer_interval=1, moe_norm_min=0.5, use_bias=False,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 5e5}))


def family_hunyuan_moe():
    return Family(transformers.HunYuanMoEV1Config(
        **COMMON, intermediate_size=32, num_hidden_layers=2, num_experts=8, moe_topk=[2, 3],
        head_dim=16, attention_bias=False, tie_word_embeddings=True,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "alpha": 100.0,
                         "factor": 1.0}))


def family_granite_moe():
    return Family(transformers.GraniteMoeConfig(
        **COMMON, intermediate_size=32, num_hidden_layers=2, num_local_experts=8,
        num_experts_per_tok=3, embedding_multiplier=6.0, logits_scaling=2.0, attention_multiplier=0.2,
        residual_multiplier=0.5, attention_bias=False, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        router="block_sparse_moe.router", experts="block_sparse_moe.experts")


def family_llama4():
    return Family(transformers.Llama4TextConfig(
        **COMMON, intermediate_size=32, intermediate_size_mlp=96, num_hidden_layers=4,
        num_local_experts=4, num_experts_per_tok=1, head_dim=16, interleave_moe_layer_step=2,
        use_qk_norm=True, no_rope_layers=[1, 1, 1, 0], attention_chunk_size=8,
        attn_temperature_tuning=True, floor_scale=4, attn_scale=0.3, tie_word_embeddings=False,
        rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0,
                         "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64}),
        router="feed_forward.router", experts="feed_forward.experts",
        wrap=("llama4", "", "language_model."))


def family_gemma4_moe():
    return Family(transformers.Gemma4TextConfig(
        **COMMON, intermediate_size=96, num_hidden_layers=2, head_dim=16, global_head_dim=32,
        num_global_key_value_heads=1, layer_types=["sliding_attention", "full_attention"],
        sliding_window=8, attention_k_eq_v=True, enable_moe_block=True, num_experts=8,
        top_k_experts=2, moe_intermediate_size=32, hidden_size_per_layer_input=0,
        num_kv_shared_layers=0, final_logit_softcapping=30.0, tie_word_embeddings=True,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "proportional", "rope_theta": 1e6,
                               "partial_rotary_factor": 0.25}}),
        moe_norm="pre_feedforward_layernorm_2", mid_norm="pre_feedforward_layernorm",
        router="router", experts="experts", scalar="layer_scalar",
        wrap=("gemma4", "model.", "model.language_model."))


# ---- random weights ----

def spread(shape, generator, center=1.0):
    """Of a norm: not one, and one channel in 32 is large."""
    values = center + 0.2 * torch.randn(shape, generator=generator)
    large = torch.rand(shape, generator=generator) < 1 / 32
    return torch.where(large, values + 6, values)


def fill(model, family, generator):
    for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if "inv_freq" in name or "embed_scale" in name:
            continue
        last = name.split(".")[-2:]
        if tensor.dim() == 1 or "norm" in last[0]:
            norm = "norm" in name and "bias" not in last[-1]
            center = 0.0 if family.norms_plus_one and "linear_attn.norm" not in name else 1.0
            value = (spread(tensor.shape, generator, center) if norm
                     else torch.randn(tensor.shape, generator=generator) - 1 if "A_log" in name
                     else 1 + 0.2 * torch.randn(tensor.shape, generator=generator)
                     if "scal" in name
                     else 0.2 * torch.randn(tensor.shape, generator=generator))
        else:
            tied = family.config.get_text_config().tie_word_embeddings
            width = tensor.shape[-1] if tied or "embed" not in name else 1
            value = torch.randn(tensor.shape, generator=generator) / width ** 0.5
        tensor.data = value.to(torch.bfloat16).to(torch.float32).to(tensor.dtype)


# ---- what it computes ----

def submodule(layer, path):
    for part in path.split("."):
        layer = getattr(layer, part, None)
        if layer is None:
            return None
    return layer


class Watch:
    """Keeps what goes into and out of the modules of a layer."""

    def __init__(self, layer, family):
        self.seen, self.handles = {}, []
        self.before(layer, "input")
        self.after(layer, "output")
        self.before(submodule(layer, family.mid_norm), "middle")
        self.after(submodule(layer, family.moe_norm), "moe_input")
        router, experts = submodule(layer, family.router), submodule(layer, family.experts)
        self.experts = experts is not None
        if self.experts:
            self.before(router, "router_input")
            self.router = router
            self.handles.append(experts.register_forward_pre_hook(self.keep_routes))
            if "Llama4" in type(router).__name__:
                self.handles.append(router.register_forward_hook(self.keep_scores))
            self.weight = next(p for n, p in router.named_parameters() if p.dim() == 2)
        self.scalar = getattr(layer, family.scalar) if family.scalar else 1.0

    def before(self, module, name):
        def keep(_, args, kwargs):
            self.seen[name] = (args[0] if args else kwargs["hidden_states"]).detach().clone()
        self.handles.append(module.register_forward_pre_hook(keep, with_kwargs=True))

    def after(self, module, name):
        def keep(_, args, output):
            value = output[0] if isinstance(output, tuple) else output
            self.seen[name] = value.detach().clone()
        self.handles.append(module.register_forward_hook(keep))

    def keep_routes(self, module, args):
        if len(args) == 3:
            _, self.seen["index"], self.seen["weight"] = (a.detach().clone() for a in args)

    def keep_scores(self, _, args, output):
        """Llama-4's router gives sigmoid scores for all experts, 0 where they are not chosen."""
        self.seen["weight"], self.seen["index"] = output[0].topk(self.router.top_k, dim=-1)

    def result(self, family):
        seen = self.seen
        shape = seen["input"].shape
        tensors = {"attention_output": seen["middle"].reshape(shape) - seen["input"],
                   "moe_input": seen["moe_input"].reshape(shape), "output": seen["output"],
                   "moe_output": seen["output"] - self.scalar * seen["middle"].reshape(shape)}
        if self.experts:
            tensors |= self.routes(seen["router_input"].reshape(-1, shape[-1]))
        return tensors

    def routes(self, router_input):
        if "Gemma4" in type(self.router).__name__:
            router_input = (self.router.norm(router_input) * self.router.scale
                            * self.router.scalar_root_size)
        logits = torch.nn.functional.linear(router_input.float(), self.weight.float())
        return {"router_logits": logits, "router_topk_index": self.seen["index"].to(torch.int32),
                "router_topk_weight": self.seen["weight"].float()}


def layers_of(model):
    return next(m.layers for m in model.modules()
                if isinstance(getattr(m, "layers", None), torch.nn.ModuleList))


def golden_of(model, family, ids):
    watches = [Watch(layer, family) for layer in layers_of(model)]
    tensors = {"input_ids": ids.to(torch.int32), "logits": model(ids).logits}
    for number, watch in enumerate(watches):
        tensors |= {f"layers.{number}.{name}": value.contiguous()
                    for name, value in watch.result(family).items()}
        for handle in watch.handles:
            handle.remove()
    return {name: value.contiguous() for name, value in tensors.items()}


def perplexity(model, ids):
    losses = []
    for row in ids:
        logits = model(row[None]).logits[0].double()
        losses += torch.nn.functional.cross_entropy(logits[:-1], row[1:], reduction="none").tolist()
    return float(numpy.exp(numpy.mean(losses))), len(losses)


# ---- files ----

def wrap(folder, family):
    """As the text part of a multimodal model: (model_type, prefix of names)."""
    model_type, described, stored = family.wrap
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    config = {"model_type": model_type, "text_config": config,
              "tie_word_embeddings": config["tie_word_embeddings"]}
    json.dump(config, open(path, "w"), indent=2)
    path = os.path.join(folder, "model.safetensors")
    tensors = {stored + n[len(described):] if n.startswith(described) else n: t
               for n, t in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


def add_copied(folder, family, generator):
    """Tensors beside the model: of a layer of prediction, of another tower."""
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path) if family.copied else {}
    for name, shape in family.copied:
        tensors[name] = torch.randn(shape, generator=generator).to(torch.bfloat16)
    if tensors:
        save_file(tensors, path, {"format": "pt"})


def turn(folder):
    path = os.path.join(folder, "model.safetensors")
    tensors = {n: t.transpose(1, 2).contiguous() if ".experts." in n else t
               for n, t in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


def make(name, folder):
    generator = torch.Generator().manual_seed(sum(name.encode()))
    family = globals()["family_" + name]()
    folder = os.path.join(folder, name + "-tiny")
    os.makedirs(folder, exist_ok=True)
    family.config._attn_implementation = "eager"
    make_model = getattr(family.model, "from_config", None) or family.model._from_config
    model = make_model(family.config, dtype=torch.float32).eval()
    fill(model, family, generator)
    draw = lambda rows: torch.randint(0, family.ids, (rows, TOKENS), generator=generator)
    golden, windows = draw(2), draw(8)
    tensors = golden_of(model, family, golden)
    value, scored = perplexity(model, windows)
    save_file(tensors, os.path.join(folder, "golden.safetensors"))
    save_file({"input_ids": windows.to(torch.int32)}, os.path.join(folder, "eval_ids.safetensors"))
    save_file({"input_ids": draw(24).to(torch.int32)},
              os.path.join(folder, "calib_ids.safetensors"))
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump({"perplexity_fp32": value, "eval_tokens_scored": scored,
                   "transformers": transformers.__version__}, file, indent=2)
    for part, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if "correction" not in part:
            tensor.data = tensor.data.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder)
    for extra in ("generation_config.json",):
        if os.path.exists(os.path.join(folder, extra)):
            os.remove(os.path.join(folder, extra))
    if family.wrap:
        wrap(folder, family)
    if family.turned:
        turn(folder)
    add_copied(folder, family, generator)
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{name}: perplexity {value:.4f}, {size / 1000:.0f} kB")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    for name in sys.argv[2:] or [n[7:] for n in list(globals()) if n.startswith("family_")]:
        make(name, sys.argv[1])
