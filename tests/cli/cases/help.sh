# Every command is in the help text, has one of its own, and is in the manual.
commands="new plan quantize imatrix inspect eval verify plugins devices help"
man=$source/cli/awqc.1

expect 0 help
cp "$top/out" ../help
for name in $commands; do
    out_like "^  $name"
done
out_has "awqc help recipe"
out_has "awqc help engines"
for exit_code in 0 1 2 130; do
    out_like "^  $exit_code  "
    grep -q "^\.It $exit_code\$" "$man" || fail "the manual lacks exit code $exit_code"
done
expect 0 --help
cmp -s "$top/out" ../help || fail "--help and help differ"

for name in $commands; do
    expect 0 help "$name"
    out_like "^usage: awqc $name"
    out_has "--plugin-path PATH"
    cp "$top/out" ../help
    expect 0 "$name" --help
    cmp -s "$top/out" ../help || fail "$name --help and help $name differ"
    grep -q "^\.Ss $name\$" "$man" || fail "the manual lacks $name"
    for name_of_option in $(sed -n 's/^  --\([a-z-]*\).*/\1/p' ../help); do
        grep -q -e "Fl -$name_of_option" "$man" || fail "the manual lacks --$name_of_option"
    done
done

# Help wins over a missing operand.
expect 0 quantize --set a=b --help
out_like "^usage: awqc quantize RECIPE"

expect 0 help recipe
out_has "  model: path, required"
out_has "  shard_size: size from 1.00 MB, default 5GB"
out_has "  calibration.samples: integer from 1 to 1048576, default 128"
out_has "  quantize.method: awq|gptq|rtn, default awq"
out_has "  quantize.modules: list of texts, default *.experts.*"
out_has "  evaluation.data: list of paths, no default"

out_has "  engine: vllm|sglang|transformers|llama.cpp|tensorrt-llm|any, default any"
out_has "  quantize.target_bits: number from 1 to 16, no default"
for option in match role layers experts projection keep preset method rounding bits group_size \
    symmetric clip; do
    sed '1,/^rules:/d' "$top/out" | grep -q "^  $option: [^ ]" || fail "no help on $option of a rule"
done

# What engines take: every row says whose it is, of what, and where it is from.
expect 0 help engines
err_is ""
for engine in vLLM SGLang transformers llama.cpp TensorRT-LLM; do
    [ "$(grep -c "^$engine:\$" "$top/out")" = 1 ] || fail "$engine has not one list"
done
out_has "  awq: refused"
out_like '^  awq|.*: note$'
out_like '^  compressed-tensors: refused by these versions (before 0\.23)$'
rows=$(grep -c '^  [a-z]' "$top/out")
[ "$rows" -gt 40 ] || fail "only $rows rows"
[ "$(grep -c '^      source: [^ ]' "$top/out")" = "$rows" ] || fail "not every row has a source"
[ "$(grep -c '^      \(takes\|prefers\|reads\|unpacks\) ' "$top/out")" = "$rows" ] ||
    fail "not every row says what is taken"
awk 'length > 79 { exit 1 }' "$top/out" || fail "a line is too long"

refused 'help: there is no help on "recip"; did you mean "recipe"?' help recip
refused 'help: there is no help on "engine"; did you mean "engines"?' help engine
refused 'help: there is no help on "evl"; did you mean "eval"?' help evl
