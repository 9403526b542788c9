#!/bin/sh
# smoke.sh MAKE_MODEL BENCH_LAYER PLUGIN_DIR: a shrunken model of each family is written and
# quantized, so that the benchmark stays whole. What it measures is not looked at.
set -eu
make_model=$1
bench_layer=$2
plugins=$3
work=$(mktemp -d "${TMPDIR:-/tmp}/awq-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

fail()
{
    echo "smoke.sh: $1"
    exit 1
}

for name in mixtral-8x7b qwen3-30b-a3b gpt-oss-20b qwen3.6-35b-a3b; do
    "$make_model" $name $name --scale 32 --layers 2 --tokens 1024
    "$bench_layer" "$plugins" $name --threads 2 --seconds 0 --floor --json $name.json \
        quantize.ratio_steps=1 >$name.txt 2>$name.err ||
        fail "$name: $(cat $name.err)"
    cat $name.txt
    [ ! -e $name.bench ] && [ ! -e $name.bench.partial ] || fail "$name: the output is still there"
    # Two layers of products in at least the stages of a forward pass and of a search.
    grep -q '"layers":[[:space:]]*2' $name.json || fail "$name: not two layers"
    grep -q '"tokens":[[:space:]]*1024' $name.json || fail "$name: not 1024 tokens"
    stages=$(grep -c '"gflop":[[:space:]]*[0-9.e-]*[1-9]' $name.json || true)
    [ "$stages" -ge 2 ] || fail "$name: $stages stages with products"
    grep -q '"memory_bound":' $name.json || fail "$name: no memory in the JSON"
done

# The same bytes on any number of threads; others with another seed.
name=mixtral-8x7b
for threads in 1 2; do
    OMP_NUM_THREADS=$threads "$make_model" $name again --scale 32 --layers 2 --tokens 1024
    cmp $name/model.safetensors again/model.safetensors || fail "$threads threads: other weights"
    cmp $name/calib_ids.safetensors again/calib_ids.safetensors || fail "other ids"
    rm -r again
done
"$make_model" $name other --scale 32 --layers 2 --tokens 1024 --seed 2
! cmp -s $name/model.safetensors other/model.safetensors || fail "seed 2: the same weights"
! cmp -s $name/calib_ids.safetensors other/calib_ids.safetensors || fail "seed 2: the same ids"

# What cannot be made or measured is refused.
! "$make_model" no-such-model x 2>/dev/null || fail "a model that is not known was made"
! "$make_model" $name other 2>/dev/null || fail "a directory that exists was overwritten"
! "$bench_layer" "$plugins" other --threads 2>/dev/null || fail "--threads without a number"
