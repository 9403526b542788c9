# A limit of memory: shown, refused where the run has no room, with the figure that works, and of no
# effect on the result.
write_recipe
cat >>recipe.yaml <<END
evaluation:
  data: $data/eval.txt
  windows: 2
END
expect 0 quantize recipe.yaml --quiet
mv out whole

for command in plan quantize; do
    expect 2 $command recipe.yaml --set memory_limit=1MB
    err_like "memory_limit: 1.00 MB are too few for this run, expected [0-9]*MB or more"
    [ ! -e out ] && [ ! -e out.partial ] || fail "something is left"
done
enough=$(sed -n 's/.*expected \([0-9]*MB\) or more.*/\1/p' "$top/err")
expect 0 plan recipe.yaml --set memory_limit=$enough
out_like "^peak memory .* allowed .* by memory_limit$"
expect 0 plan recipe.yaml --json --set memory_limit=$enough
out_like '"memory_limit_bytes": [0-9]*000000, "memory_limit_source": "memory_limit"'

# Quantized with what is enough, begun and ended with different limits.
expect 0 quantize recipe.yaml --quiet --set memory_limit=$enough
for file in model.safetensors config.json awq_report.json awq_provenance.json; do
    cmp -s out/$file whole/$file || fail "$file depends on the limit"
done

# A limit that the system has is told as that.
expect 0 plan recipe.yaml
out_like "^peak memory .* allowed .* by \(the memory of this machine\|memory\.[a-z_]* of the memory cgroup /.*\)$"
# A model that is not here may be for another machine.
expect 0 plan recipe.yaml --set model=$source/tests/data/configs/Qwen3-235B-A22B
out_like "^peak memory  *up to .*; at least [0-9.]* GB$"
expect 2 plan recipe.yaml --set model=$source/tests/data/configs/Qwen3-235B-A22B --set memory_limit=1GB
err_has "memory_limit: 1000.00 MB are too few"

# How many tokens an evaluation has is not known from its size: a plan warns, and does not refuse.
i=0
while [ $i -lt 80 ]; do
    cat "$data/eval.txt"
    i=$((i + 1))
done >large.txt
expect 0 plan recipe.yaml --set memory_limit=300MB --set evaluation.data=large.txt --set evaluation.windows=0
out_like "^warning .*evaluation.data: if it has as many tokens as its size allows, the run needs [0-9.]* MB of memory"
