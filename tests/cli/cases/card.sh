# The model card of a result: what it is of, how it was made, how near it is, and how it is served.
# shellcheck disable=SC2016 # backquotes of Markdown
write_recipe
cat >>recipe.yaml <<END
evaluation:
  data: $data/eval.txt
  sequence_length: 64
  windows: 6
END
repository=hub/models--some-one--Small.Moe/snapshots/0123
mkdir -p $repository
cp "$data"/*.json "$data/model.safetensors" $repository
cat >$repository/README.md <<'END'
---
license: apache-2.0
license_link: LICENSE
license_name: [a list]
pipeline_tag: text-generation
base_model: another/one
---
pipeline_tag: none
END
has() { grep -qxF -e "$1" out/README.md || fail "expected in the card: $1: $(cat out/README.md)"; }
lacks() { ! grep -qF -e "$1" out/README.md || fail "not expected in the card: $1: $(cat out/README.md)"; }

expect 0 quantize recipe.yaml --quiet --set model=$repository --set tensor_parallel=2
[ "$(sed '/^# /,$d' out/README.md)" = "---
base_model: some-one/Small.Moe
base_model_relation: quantized
license: apache-2.0
license_link: LICENSE
pipeline_tag: text-generation
tags:
- libawq
- awq
---" ] || fail "another head: $(cat out/README.md)"
has '# some-one/Small.Moe, quantized'
has '- Size: 2.30 MB before, 1.13 MB after'
has '- Calibration: 4 sequences, 512 tokens'
has '| `lm_head` | head |  | 1 | keep BF16 | 16.00 |'
has '| `model.layers.*.block_sparse_moe.experts.*.w2` | expert | 0-1 | 8 | awq int4 g128 asymmetric, GPTQ | 4.16 |'
# The figures are those of the report.
for line in 'perplexity of the base model:reference_perplexity:%.4f' 'perplexity:perplexity:%.4f' \
    'mean KL divergence:kl:%.6f nats'; do
    member=${line#*:}
    value=$(sed -n "s/.*\"${member%:*}\":[[:space:]]*\([0-9.e+-]*\).*/\1/p" out/awq_report.json)
    [ -n "$value" ] || fail "no ${member%:*} in the report"
    # shellcheck disable=SC2059 # the format is ours
    has "| ${line%%:*} | $(printf "${member#*:}" "$value") |"
done
# Engines by their table: two that load the result, and one that does not.
has 'vllm serve . --tensor-parallel-size 2'
has 'python -m sglang.launch_server --model-path . --tp-size 2'
grep -q '^transformers 5 does not load it: .*: expert in the awq format' out/README.md ||
    fail "the engine that does not load it is not named"
lacks from_pretrained
has 'Its card is [README.source.md](README.source.md).'
cmp -s $repository/README.md out/README.source.md || fail "the source's card was not kept"
expect 0 verify out --source $repository

# A directory of one's own is no repository; without a card, calibration and evaluation none is told of.
mkdir 'my models--x' 'my models--x/a`b'
cp "$data"/*.json "$data/model.safetensors" 'my models--x/a`b'
mv recipe.yaml ..
cat >recipe.yaml <<'END'
model: "my models--x/a`b"
output: out
engine: vllm
format: compressed-tensors
quantize:
  method: rtn
  symmetric: true
END
expect 0 quantize recipe.yaml --quiet --force
[ "$(sed '/^# /,$d' out/README.md)" = "---
tags:
- libawq
- compressed-tensors
---" ] || fail "another head: $(cat out/README.md)"
has '# a-b, quantized'
has '- Calibration: none'
has 'None was made with the run.'
has 'vllm serve .'
has 'model = AutoModelForCausalLM.from_pretrained(".", dtype="auto")'
lacks README.source.md
[ ! -e out/README.source.md ] || fail "a card that the source has not"

# Files in GGUF are llama.cpp's.
expect 0 quantize recipe.yaml --quiet --force --set model="$data" --set format=gguf --set engine=llama.cpp \
    --set quantize.symmetric=auto --set shard_size=1MB --set quantize.type=q8_0
set -- out/*.gguf
[ $# -gt 1 ] || fail "no more than one file"
has "llama-server -m ${1#out/}"
lacks 'vllm serve'
