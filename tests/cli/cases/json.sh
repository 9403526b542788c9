# A plan as JSON: what it says for people it says for programs, to the digit.
write_recipe
expect 0 plan recipe.yaml --json
err_is ""
out_as plan.json
out_like '^  "estimate": {"memory_bytes": [1-9][0-9]*, "least_memory_bytes": [1-9][0-9]*, "memory_limit_bytes": [1-9][0-9]*, "memory_limit_source": "[^"]*", "disk_bytes": 1132800, "seconds": [0-9.e+-]*, "threads": [0-9]*, "calibration_tokens": 512, "operations": [0-9.e+]*, "operations_per_second": [0-9.e+]*, "read_bytes_per_second": [0-9.e+]*},$'
expect 0 plan recipe.yaml --json --set 'quantize.modules=["*.experts.*", "*.mlp.*"]'
grep -A1 '^  "warnings": \[$' "$top/out" | grep -q '^    "quantize\.modules: \\"\*\.mlp\.\*\\" matches no module; ' ||
    fail "the warning is missing"
[ "$(tail -n 2 "$top/out" | tr -d '\n')" = "  ]}" ] || fail "the end is missing"

# The groups are those of the table, and add up.
sed -n 's/^    {"pattern": "\(.*\)", "role": "\(.*\)", "layers": "\(.*\)", "count": \(.*\), "treatment": "\(.*\)", "quantized": .*, "bits_per_weight": .*/\1 \2 \3 \4 \5/p' \
    "$top/out" >../groups
expect 0 plan recipe.yaml --json
sed -n 's/.*"bytes_before": \([0-9]*\), "bytes_after": \([0-9]*\)}.*/\1 \2/p' "$top/out" >../bytes
for i in 1 2; do
    name=$(echo bytes_before bytes_after | cut -d' ' -f$i)
    sum=$(awk -v i=$i '{ sum += $i } END { print sum }' ../bytes)
    grep -q "^  \"$name\": $sum,\$" "$top/out" || fail "the groups add up to $sum in $name"
done
expect 0 plan recipe.yaml
sed -n '/^modules /,/^$/p' "$top/out" | sed '1d; /^$/d; s/  *[0-9.]*  *[0-9.]* [kM]*B  *[0-9.]* [kM]*B$//; s/  */ /g' >../table
sed 's/  */ /g' ../groups | diff - ../table >"$top/diff" || fail "table and JSON differ: $(cat "$top/diff")"

# A checkpoint as JSON: as many bytes as its modules have together, and the modules of --all.
expect 0 inspect "$data" --json
sum=$(sed -n 's/^    {"name": .*"bytes": \([0-9]*\)},\{0,1\}$/\1/p' "$top/out" | awk '{ sum += $1 } END { print sum }')
out_like "^  \"model\": {.*\"bytes\": $sum},\$"
sed -n 's/^    {"name": "\([^"]*\)".*/\1/p' "$top/out" >../names
expect 0 inspect "$data" --all
[ "$(sed '1,/^modules /d; s/ .*//' "$top/out")" = "$(cat ../names)" ] || fail "other modules in JSON than in the table"

# Texts that JSON must escape, and a loss where there is one.
name=$(printf 'a "b"\\\\c\t\303\251')
expect 0 plan recipe.yaml --json --set "output=$name" --set format=compressed-tensors \
    --set quantize.target_bits=4.5
out_has "$(printf '  "output": "a \\"b\\"\\\\\\\\c\\u0009\303\251",')"
out_like '^  "predicted_loss": 0\.[0-9]*,$'
loss=$(sed -n 's/^  "predicted_loss": \([0-9.e-]*\),$/\1/p' "$top/out")
expect 0 plan recipe.yaml --set format=compressed-tensors --set quantize.target_bits=4.5
shown=$(sed -n 's/^predicted loss  *//p' "$top/out")
awk -v a="$loss" -v b="$shown" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (0.006 * a) ^ 2) }' ||
    fail "two losses: $loss and $shown"

# A model that config.json alone describes, and an error, which is none in JSON.
mkdir described
cp "$data/config.json" described
expect 0 plan recipe.yaml --json --set model=described
out_like '^  "model": {"directory": "described", .*"described": true, '
refused '--set quantize.bit=4: there is no option "quantize.bit"; did you mean "quantize.bits"?' \
    plan recipe.yaml --json --set quantize.bit=4
