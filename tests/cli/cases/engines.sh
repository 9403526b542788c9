# What the engine that shall serve the result makes of a recipe: refused with the reason and the
# nearest recipe, which then passes.
models=$source/tests/data
write_recipe

# remedied WORDS REASON REMEDY ARGUMENT...: plan with WORDS (option assignments) is refused with the
# reason and the remedy, which is itself option assignments; with these it passes, without a warning
# that the engine does not load it.
remedied() {
    words=$1 reason=$2 remedy=$3
    # shellcheck disable=SC2086 # words
    refused "engine $reason; what it loads: $remedy" plan recipe.yaml $words
    # shellcheck disable=SC2046,SC2086
    expect 0 plan recipe.yaml $words $(echo "$remedy" | sed 's/: /=/g; s/, / /g; s/[a-z_.]*=/--set &/g')
    err_is ""
    out_like ' expert .* \(int\|keep mxfp4\|awq mxfp4\)'
    # shellcheck disable=SC2086
    refused "engine $reason; what it loads: $remedy" quantize recipe.yaml --quiet $words
}

first=model.layers.0.block_sparse_moe.experts.0
ct="--set format=compressed-tensors"
remedied "--set engine=transformers" \
    "transformers does not load it: $first.w1: expert in the awq format (and 23 modules more); transformers 5 takes no experts in this format: it has tensors of all experts and replaces linears alone; transformers 4 with autoawq loads them" \
    "format: compressed-tensors, quantize.symmetric: true"
remedied "--set engine=sglang $ct --set quantize.symmetric=false" \
    "sglang does not load it: $first.w1: with zero points (and 23 modules more); SGLang takes experts without zero points: zero points of experts are refused or, in newer versions, permuted among 8 rows as if they were of the awq format" \
    "quantize.symmetric: true"
remedied "--set engine=vllm $ct --set quantize.bits=2" \
    "vllm does not load it: $first.w1: 2 bits (and 23 modules more); vLLM takes experts of 4 or 8 bits, integers" \
    "quantize.bits: 4"

# Devices that share a matrix. A group size that is left to awqc fits them.
expect 0 plan recipe.yaml --set format=compressed-tensors --set tensor_parallel=4
out_like ' expert .* awq int4 g64 symmetric'
! grep -q '^warning  *vllm' "$top/out" || fail "expected no warning of vllm"
remedied "$ct --set tensor_parallel=4 --set quantize.group_size=128" \
    "vllm does not load it: $first.w2: 256 columns over tensor_parallel 4 are 64, which groups of 128 do not divide (and 7 modules more); vLLM takes experts whose columns on one device are a multiple of the group: a device gets whole groups" \
    "quantize.group_size: 64"
remedied "$ct --set tensor_parallel=3 --set quantize.group_size=128" \
    "vllm does not load it: $first.w2: 256 columns do not divide by tensor_parallel 3 (and 7 modules more); vLLM takes experts whose columns on one device are a multiple of the group: a device gets whole groups" \
    "tensor_parallel: 1"
expect 0 plan recipe.yaml --set engine=vllm --set format=awq --set tensor_parallel=4 \
    --set quantize.group_size=128
out_like '^warning  *vllm: .* slower MoeWNA16 kernels; better: quantize.group_size: 64$'
expect 0 plan recipe.yaml --set engine=vllm --set format=awq --set tensor_parallel=2
! grep -q '^warning' "$top/out" || fail "expected no warning"

# Experts of a layer in two ways.
printf 'rules:\n  - {experts: odd, keep: true}\n' >>recipe.yaml
refused "engine vllm does not load it: ${first%0}1.w1: kept, but $first.w1: 4 bits in groups of 128, symmetric (and 11 modules more); vLLM takes all experts of a layer with one scheme, or all kept: one kernel computes all of them; what it loads: keep or quantize all experts of each layer alike" \
    plan recipe.yaml --set format=compressed-tensors
sed '$s/experts: odd/layers: 0, role: expert/' recipe.yaml >alike.yaml
expect 0 plan alike.yaml --set format=compressed-tensors
write_recipe

# GPT-OSS is served in its own format.
expect 2 plan recipe.yaml --set model="$models/gpt_oss-tiny" --set format=compressed-tensors
err_like '^awqc: error: engine vllm does not load it: model\.layers\.0\.mlp\.experts\.0\.gate_proj: .*; what it loads: format: mxfp4, quantize\.group_size: 32$'
expect 0 plan recipe.yaml --set model="$models/gpt_oss-tiny" --set format=mxfp4
! grep -q '^warning' "$top/out" || fail "expected no warning"
expect 0 plan recipe.yaml --set model="$models/gpt_oss-tiny" --set engine=llama.cpp
out_like '^warning  *llama.cpp: .* convert_hf_to_gguf\.py makes it of the result'

# Where nothing helps.
expect 2 plan recipe.yaml --set engine=llama.cpp
err_like '^awqc: error: engine llama.cpp does not load it: .*; no change of format, bits, group size or symmetry helps$'

# any warns of each, and so do recipes that are refused but for --ignore-engine: of the engine that
# they ask for, although any is silent of llama.cpp.
expect 0 plan recipe.yaml --set engine=llama.cpp --ignore-engine
err_is ""
out_like '^warning  *llama.cpp does not load it: .* it reads GGUF, which format: gguf writes; its converter'
[ "$(grep -c '^warning' "$top/out")" = 1 ] || fail "expected one warning"
for words in "--set engine=any" "--set engine=any --ignore-engine" \
    "--ignore-engine --set engine=transformers" "--set ignore_engine=true --set engine=transformers"; do
    # shellcheck disable=SC2086 # words
    expect 0 plan recipe.yaml $words
    err_is ""
    out_like '^warning  *transformers 5 does not load it: .*; better: format: compressed-tensors, quantize.symmetric: true$'
    [ "$(grep -c '^warning' "$top/out")" = 1 ] || fail "expected one warning"
done
for engine in vllm sglang; do
    expect 0 plan recipe.yaml --set engine=$engine
    ! grep -q '^warning' "$top/out" || fail "expected no warning"
done
expect 0 quantize recipe.yaml --quiet --set engine=transformers --ignore-engine
err_like '^awqc: warning: transformers 5 does not load it: '
[ -s out/config.json ] || fail "there is no result"
[ "$(wc -l <"$top/err")" = 1 ] || fail "expected one warning"

# Older versions, of which there is only a warning.
expect 0 plan recipe.yaml --set format=compressed-tensors --set quantize.symmetric=false
out_like '^warning  *vllm before 0\.23 does not load it: .*; better: quantize.symmetric: true$'

# Values.
refused '--set engine=vLLM: engine: "vLLM" is not allowed; allowed is vllm|sglang|transformers|llama.cpp|tensorrt-llm|any' \
    plan recipe.yaml --set engine=vLLM
for number in 0 1025 -1 two; do
    refused "--set tensor_parallel=$number: tensor_parallel: \"$number\" is not allowed; allowed is an integer from 1 to 1024" \
        plan recipe.yaml --set tensor_parallel=$number
done
