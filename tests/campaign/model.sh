# make_mini BUILD DATA SCALE: a model in ./m that is quantized in a fraction of a second, and the
# recipe ./recipe.yaml for it, with side files and an evaluation. The result has one shard with scale
# 64, and two with 32. Sourced by tests.
make_mini() {
    "$1/tests/bench/make_model" mixtral-8x7b m --scale "$3" --layers 3 --tokens 1024 >/dev/null
    cp "$2/mixtral-tiny/tokenizer.json" "$2/mixtral-tiny/generation_config.json" m
    cp "$2/mixtral-tiny/eval.txt" .
    cat >recipe.yaml <<END
model: m
output: disk/out
engine: vllm
shard_size: 1MB
calibration:
  data: m/calib_ids.safetensors
  samples: 2
  sequence_length: 64
quantize:
  ratio_steps: 4
evaluation:
  data: eval.txt
  windows: 1
  sequence_length: 32
END
}
