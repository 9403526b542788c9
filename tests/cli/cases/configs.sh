# Every recipe in configs/ can be carried out: planned here for the small model of its architecture, whose
# matrices are too small to be divided between devices. Only the one for measuring has warnings.
models=$source/tests/data
for recipe in "$source"/configs/*.yaml; do
    name=$(basename "$recipe" .yaml)
    case $name in
    mixtral-* | demo) model=mixtral-tiny ;;
    qwen1.5-moe-*) model=qwen2_moe-tiny ;;
    qwen3-next-* | qwen3.6-*) continue ;; # their small models have too few columns for groups of 128
    qwen3-*) model=qwen3_moe-tiny ;;
    gpt-oss-*) model=gpt_oss-tiny ;;
    deepseek-* | kimi-*) continue ;; # the small ones have too few columns for these groups
    olmoe-*) model=olmoe-tiny ;;
    glm-*) model=glm_moe-tiny ;;
    minimax-*) model=minimax_m2-tiny ;;
    ernie-*) model=ernie_moe-tiny ;;
    hunyuan-*) model=hunyuan_moe-tiny ;;
    granite-*) model=granite_moe-tiny ;;
    llama-4-*) model=llama4-tiny ;;
    gemma-4-*) model=gemma4_moe-tiny ;;
    *) fail "no model is known for the recipe $name" ;;
    esac
    # Of two layers both are ends.
    [ "$name" != mixtral-8x7b-ends-kept ] || {
        refused 'quantize.modules: rules keep all that "*.experts.*" matches, so that nothing would be quantized' \
            plan "$recipe" --set model="$models/$model"
        continue
    }
    head -n 1 "$recipe" | grep -q '^# .*' || fail "$name does not say when to use it"
    grep -q '^engine: ' "$recipe" || fail "$name names no engine"
    evaluation=
    ! grep -q '^evaluation:' "$recipe" || evaluation="--set evaluation.data=$models/$model/eval.txt"
    calibration=$models/$model/calib.jsonl fits=
    # Random ones have ids, and rows of 32.
    [ -f "$calibration" ] || calibration=$models/$model/calib_ids.safetensors \
        fits="--set quantize.group_size=32 --set calibration.sequence_length=24 --set calibration.min_expert_tokens=4"
    # shellcheck disable=SC2086 # words
    expect 0 plan "$recipe" --set model="$models/$model" --set tensor_parallel=1 \
        --set "calibration.data=$calibration" --set calibration.samples=4 $evaluation $fits
    case $name in
    *-target-bits) grep -v '^awqc: layer ' "$top/err" && fail "expected nothing but progress" ;;
    *) err_is "" ;;
    esac
    case $name in
    *-attention-w8) out_like '^model\.layers.*_proj  *attention  *0-1  *2  *awq int8 row symmetric, GPTQ' ;;
    *-odd-experts) out_like '^model\.layers.*\.down_proj  *expert  *0-1  *8  *keep BF16' ;;
    *-target-bits) out_like '^predicted loss  *0\.' ;;
    esac
    case $name in
    *-odd-experts) out_like '^warning  *vllm does not load it: ' ;;
    *-nf4) out_like '^warning  *sglang does not load it: ' ;;
    *-gptq) out_like '^warning  *vllm 0\.23 does not load it: ' ;;
    *-compressed-tensors) out_like '^warning  *transformers: .* as much memory as in 16 bits$' ;;
    gemma-4-* | glm-* | minimax-* | ernie-* | hunyuan-* | granite-* | llama-4-* | olmoe-*)
        ;; # engines want more columns than these have
    *) ! grep '^warning' "$top/out" | grep -v ': .* prefers ' || fail "expected no warning" ;;
    esac
    case $name in
    *-nf4) out_like '^model\.layers.* expert .* awq nf4' ;;
    *-gptq) out_like '^model\.layers.* expert .* awq int4 g64 symmetric, GPTQ' ;;
    *-gguf) out_like '^model\.layers.* expert .* awq iq4_nl, GPTQ' ;;
    gemma-4-* | glm-* | minimax-* | ernie-* | hunyuan-* | granite-* | llama-4-* | olmoe-*)
        out_like '^.*model\.layers.* expert .* awq int4 g32 symmetric, GPTQ'
        ;;
    *-compressed-tensors | *-w8 | *-experts | qwen*) out_like '^model\.layers.* expert .* awq int4 g[0-9]* symmetric, GPTQ' ;;
    gpt-oss-*) out_like '^model\.layers.* expert .* awq mxfp4, GPTQ' ;;
    *) out_like '^model\.layers.* expert .* awq int4 g128 asymmetric, GPTQ' ;;
    esac
done

# And for the model it was written for, of which only config.json is here. gpt-oss-20b.yaml is for one
# that was fine-tuned in BF16.
mkdir gpt-oss-20b-bf16
sed '/"quantization_config": {/,/^  },$/d' "$models/configs/gpt-oss-20b/config.json" \
    >gpt-oss-20b-bf16/config.json
for recipe in "$source"/configs/*.yaml; do
    name=$(basename "$recipe" .yaml)
    case $name in
    demo) continue ;;
    mixtral-8x7b-awq) model=Mixtral-8x7B size='93\.41 GB -> 26\.64 GB' ;;
    mixtral-8x7b-compressed-tensors) model=Mixtral-8x7B size='93\.41 GB -> 26\.46 GB' ;;
    mixtral-8x7b-nf4) model=Mixtral-8x7B size='93\.41 GB -> 26\.48 GB' ;;
    mixtral-8x7b-ends-kept) model=Mixtral-8x7B size='93\.41 GB -> 30\.65 GB' ;;
    qwen1.5-moe-a2.7b) model=Qwen1.5-MoE-A2.7B size='28\.63 GB -> 9\.12 GB' ;;
    qwen3-30b-a3b) model=Qwen3-30B-A3B size='61\.06 GB -> 18\.48 GB' ;;
    qwen3-30b-a3b-gptq) model=Qwen3-30B-A3B size='61\.06 GB -> 18\.83 GB' ;;
    qwen3-30b-a3b-attention-w8) model=Qwen3-30B-A3B size='61\.06 GB -> 17\.58 GB' ;;
    qwen3-30b-a3b-odd-experts) model=Qwen3-30B-A3B size='61\.06 GB -> 39\.77 GB' ;;
    qwen3-30b-a3b-target-bits) model=Qwen3-30B-A3B size='61\.06 GB -> 18\.03 GB' ;;
    qwen3-30b-a3b-gguf) model=Qwen3-30B-A3B size='61\.06 GB -> 19\.01 GB' ;;
    qwen3-next-80b-a3b) model=Qwen3-Next-80B-A3B size='159\.35 GB -> 44\.59 GB' ;;
    qwen3.6-35b-a3b) model=Qwen3.6-35B-A3B size='69\.32 GB -> 21\.51 GB' ;;
    qwen3.6-35b-a3b-attention-w8) model=Qwen3.6-35B-A3B size='69\.32 GB -> 20\.48 GB' ;;
    deepseek-v2-lite) model=DeepSeek-V2-Lite size='31\.41 GB -> 10\.27 GB' ;;
    deepseek-v3) model=DeepSeek-V3 size='1\.34 TB -> 371\.41 GB' ;;
    kimi-k2) model=Kimi-K2 size='2\.05 TB -> 546\.64 GB' ;;
    olmoe-1b-7b) model=OLMoE-1B-7B size='13\.84 GB -> 4\.28 GB' ;;
    glm-4.5-air) model=GLM-4.5-Air size='213\.70 GB -> 67\.33 GB' ;;
    minimax-m2) model=MiniMax-M2 size='457\.38 GB -> 123\.87 GB' ;;
    ernie-4.5-21b-a3b) model=ERNIE-4.5-21B-A3B size='43\.65 GB -> 13\.39 GB' ;;
    hunyuan-a13b) model=Hunyuan-A13B size='160\.79 GB -> 46\.03 GB' ;;
    granite-3.1-3b-a800m) model=granite-3.1-3b-a800m size='6\.60 GB -> 2\.11 GB' ;;
    llama-4-scout) model=Llama-4-Scout size='215\.54 GB -> 72\.09 GB' ;;
    gemma-4-26b-a4b) model=gemma-4-26B-A4B size='50\.47 GB -> 16\.92 GB' ;;
    gpt-oss-20b) model=gpt-oss-20b size='41\.83 GB -> 13\.76 GB' ;;
    *) fail "no released model is known for the recipe $name" ;;
    esac
    path=$models/configs/$model
    [ "$name" != gpt-oss-20b ] || path=gpt-oss-20b-bf16
    touch calib.jsonl
    for path in "$path" "$path/config.json"; do
        expect 0 plan "$recipe" --set model="$path" --set 'calibration.data=[calib.jsonl]'
        err_is ""
        out_like '^checkpoint  *described by config\.json; no weights on disk$'
        out_like "^size  *$size\$"
    done
    case $name in
    mixtral-8x7b-ends-kept)
        out_like '\.experts\.\*\.w2  *expert  *0,31  *16  *keep BF16 '
        out_like '\.experts\.\*\.w2  *expert  *1-30  *240  *awq int4 g128 symmetric, GPTQ '
        out_like '\.gate  *router  *0,31  *2  *keep BF16 '
        ;;
    qwen3.6-35b-a3b-attention-w8)
        out_like '\.in_proj_z  *attention .* awq int8 row symmetric'
        out_like '\.in_proj_a  *other .* rescale BF16 '
        out_like '\.out_proj  *attention .* keep BF16 '
        ;;
    qwen3-30b-a3b-attention-w8) out_like '\.q_proj  *attention  *0-47  *48  *awq int8 row symmetric' ;;
    qwen3-30b-a3b-odd-experts) out_like '\.down_proj  *expert  *0-47  *3,072  *keep BF16 ' ;;
    qwen3-30b-a3b-target-bits) out_like '^warning  *quantize.target_bits and target_size: schemes are chosen by' ;;
    qwen3-30b-a3b | qwen1.5-moe-a2.7b)
        expect 2 plan "$recipe" --set model="$path" --set quantize.group_size=128 --set tensor_parallel=4
        err_like '^awqc: error: engine vllm does not load it: .* over tensor_parallel 4 are [0-9]*, which groups of 128 do not divide '
        ;;
    esac
done
expect 0 plan "$source/configs/gpt-oss-20b.yaml" --set model="$models/configs/gpt-oss-20b"
out_like '^size  *13\.76 GB -> 13\.76 GB$'
out_like '^warning .* are MXFP4 already and are copied bit for bit'

# DeepSeek-V3 as it is released, in FP8.
mkdir DeepSeek-V3
sed '1a\  "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},' \
    "$models/configs/DeepSeek-V3/config.json" >DeepSeek-V3/config.json
expect 0 plan "$source/configs/deepseek-v3.yaml" --set model=DeepSeek-V3 --set 'calibration.data=[calib.jsonl]'
out_like '^size  *673\.15 GB -> 357\.96 GB$'
out_like '\.kv_b_proj  *attention  *0-60  *61  *keep F8_E4M3 '
out_like '\.experts\.\*\.down_proj  *expert  *3-60  *14,848  *awq int4 g128 symmetric'

# What auto means for each architecture.
for pair in mixtral-tiny:int4.g128.asymmetric qwen2_moe-tiny:int4.g128.symmetric \
    qwen3_moe-tiny:int4.g128.symmetric gpt_oss-tiny:mxfp4; do
    write_recipe
    expect 0 plan recipe.yaml --set model="$models/${pair%%:*}"
    out_like "^model\.layers.* expert .* awq ${pair#*:}"
done

# Zero points that not all engines load.
expect 0 plan recipe.yaml --set model="$models/qwen3_moe-tiny" --set quantize.symmetric=false \
    --set engine=any
out_like '^warning  *sglang does not load it: .* without zero points'
out_like '^warning  *transformers does not load it: .* without zero points'

# What no format stores is refused.
refused "model.layers.0.block_sparse_moe.experts.0.w1: the mixtral architecture has no mxfp4 layout that engines read; formats that fit: compressed-tensors, awq" \
    plan recipe.yaml --set format=mxfp4
refused "model.layers.0.self_attn.q_proj: its role is attention, but the mxfp4 format stores only experts quantized" \
    plan recipe.yaml --set model="$models/gpt_oss-tiny" --set 'quantize.modules=*'
refused "model.layers.0.mlp.experts.1.gate_proj: stays float, but the mxfp4 format stores all experts of all layers" \
    plan recipe.yaml --set model="$models/gpt_oss-tiny" --set 'quantize.modules=*.experts.0.*'

# An engine with no kernels for it, whatever the format.
write_recipe
expect 2 plan recipe.yaml --set engine=tensorrt-llm
err_like '^awqc: error: engine tensorrt-llm does not load it: .* (W4A8_AWQ); no change of format, '

# GPTQ has one symmetry.
write_recipe
printf 'rules:\n  - {role: expert, layers: "1", symmetric: false}\n' >>recipe.yaml
refused "model.layers.0.block_sparse_moe.experts.0.w1 and model.layers.1.block_sparse_moe.experts.0.w1: one is symmetric and one is not, but the gptq format has one symmetry for all; format compressed-tensors can mix them" \
    plan recipe.yaml --set format=gptq --set engine=any
