# Every recipe in configs/ can be carried out: planned here for the small model of its architecture.
models=$source/tests/data
for recipe in "$source"/configs/*.yaml; do
    name=$(basename "$recipe" .yaml)
    case $name in
    mixtral-* | demo) model=mixtral-tiny ;;
    qwen1.5-moe-*) model=qwen2_moe-tiny ;;
    qwen3-*) model=qwen3_moe-tiny ;;
    gpt-oss-*) model=gpt_oss-tiny ;;
    *) fail "no model is known for the recipe $name" ;;
    esac
    expect 0 plan "$recipe" --set model="$models/$model"
    err_is ""
    case $name in
    *-compressed-tensors | qwen*) out_like '^model\.layers.* expert .* awq int4 g[0-9]* symmetric, clip' ;;
    gpt-oss-*) out_like '^model\.layers.* expert .* awq mxfp4, choice of exponents' ;;
    *) out_like '^model\.layers.* expert .* awq int4 g128 asymmetric, clip' ;;
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
    qwen1.5-moe-a2.7b) model=Qwen1.5-MoE-A2.7B size='28\.63 GB -> 9\.12 GB' ;;
    qwen3-30b-a3b) model=Qwen3-30B-A3B size='61\.06 GB -> 18\.48 GB' ;;
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
done
expect 0 plan "$source/configs/gpt-oss-20b.yaml" --set model="$models/configs/gpt-oss-20b"
out_like '^size  *13\.76 GB -> 13\.76 GB$'
out_like '^warning .* are MXFP4 already and are copied bit for bit'

# What auto means for each architecture.
for pair in mixtral-tiny:int4.g128.asymmetric qwen2_moe-tiny:int4.g128.symmetric \
    qwen3_moe-tiny:int4.g128.symmetric gpt_oss-tiny:mxfp4; do
    write_recipe
    expect 0 plan recipe.yaml --set model="$models/${pair%%:*}"
    out_like "^model\.layers.* expert .* awq ${pair#*:}"
done

# Zero points that not all engines load.
expect 0 plan recipe.yaml --set model="$models/qwen3_moe-tiny" --set quantize.symmetric=false
out_like '^warning .* transformers 5 loads no experts with zero points'

# Experts that no engine loads in the format are told of, and others refused.
expect 0 plan recipe.yaml --set model="$models/gpt_oss-tiny" --set format=compressed-tensors
out_like '^warning .* no engine loads experts of this architecture in the compressed-tensors format'
refused "model.layers.0.block_sparse_moe.experts.0.w1: the mixtral architecture has no mxfp4 layout that engines read; formats that fit: compressed-tensors, awq" \
    plan recipe.yaml --set format=mxfp4
refused "model.layers.0.self_attn.q_proj: its role is attention, but the mxfp4 format stores only experts quantized" \
    plan recipe.yaml --set model="$models/gpt_oss-tiny" --set 'quantize.modules=*'
refused "model.layers.0.mlp.experts.1.gate_proj: stays float, but the mxfp4 format stores all experts of all layers" \
    plan recipe.yaml --set model="$models/gpt_oss-tiny" --set 'quantize.modules=*.experts.0.*'
