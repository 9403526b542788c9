# Schemes that are chosen within a size: what the plan shows, and what is refused.
write_recipe
printf 'format: compressed-tensors\n' >>recipe.yaml
four="--set quantize.target_schemes=4:128,4:64,4:32,8:-1"

# planned LIMIT ARGUMENT...: plans, and checks that the experts have at most so many bits a weight
# and gate, up and down of a layer are alike. $loss is the predicted loss.
planned() {
    limit=$1
    shift
    expect 0 plan recipe.yaml "$@"
    loss=$(sed -n 's/^predicted loss  *\([0-9.e-]*\)$/\1/p' "$top/out")
    [ -n "$loss" ] || fail "no predicted loss"
    # The sizes are shown in kB; a group's weights are its bytes in BF16, over 2.
    awk -v limit="$limit" '$2 == "expert" { before += $(NF - 3); after += $(NF - 1) }
        END { bits = 16 * after / before; exit !(before && bits <= limit * 1.002) }' "$top/out" ||
        fail "the experts have more than $limit bits"
    for part in w1 w2 w3; do
        sed -n "s/^model.*\.$part  *expert  *//p" "$top/out" | sed 's/symmetric.*//' >"../$part"
    done
    cmp -s ../w1 ../w2 && cmp -s ../w1 ../w3 || fail "matrices of one layer differ"
}

# shellcheck disable=SC2086 # words, here and below
{
    planned 4.2 $four --set quantize.target_bits=4.2
    out_like ' expert  *0  *4  *awq int4 g[0-9]* symmetric, GPTQ '
    out_like ' expert  *1  *4  *awq int4 g[0-9]* symmetric, GPTQ '
    small=$loss
    planned 4.5 $four --set quantize.target_bits=4.5
    out_like ' expert  *0-1  *8  *awq int4 g32 symmetric, GPTQ '
    middle=$loss
    planned 6.4 $four --set quantize.target_bits=6.4 --set quantize.method=rtn
    out_like ' expert  *[01]  *4  *rtn int8 row symmetric '
    out_like ' expert  *[01]  *4  *rtn int4 g[0-9]* symmetric '
    planned 9 $four --set quantize.target_bits=9
    out_like ' expert  *0-1  *8  *awq int8 row symmetric, GPTQ '
    awk -v a="$small" -v b="$middle" -v c="$loss" 'BEGIN { exit !(a > b && b > c && c > 0) }' ||
        fail "more bits, $small $middle $loss, did not do better"
}
planned 4.125 --set quantize.target_schemes=4:128 --set quantize.target_bits=4.125

# By the size of the whole result, to the byte.
expect 0 plan recipe.yaml --set quantize.target_size=1200kB --json
size=$(sed -n 's/^  "bytes_after": \([0-9]*\),$/\1/p' "$top/out")
[ "$size" -gt 1130112 ] && [ "$size" -le 1200000 ] || fail "$size bytes are planned"
expect 0 plan recipe.yaml --set quantize.target_size=1130112
out_like ' expert  *0-1  *8  *awq int4 g128 symmetric, GPTQ '
expect 0 quantize recipe.yaml --quiet --set quantize.target_size="$size"
err_is ""
expect 0 inspect out
out_like ' expert  *[0-9]*  *256 x 128  *int4 g\(64\|32\) '

# fails MESSAGE ARGUMENT...: as refused, but a plan that measures first tells how far it is.
fails() {
    message=$1
    shift
    expect 2 plan recipe.yaml "$@"
    [ "$(grep -v '^awqc: layer ' "$top/err")" = "awqc: error: $message" ] ||
        fail "expected standard error: $message"
    out_is ""
}

# Too little names the least that there is.
fails "quantize.target_size: 1130111 bytes are fewer than the 1130112 of the smallest of quantize.target_schemes with all else" \
    --set quantize.target_size=1130111
fails "quantize.target_bits: 4.1 bits a weight are fewer than the 4.125 of the smallest of quantize.target_schemes" \
    --set quantize.target_bits=4.1
fails "quantize.target_bits and quantize.target_size: only one of them can be the target" \
    --set quantize.target_bits=5 --set quantize.target_size=2MB
fails "the recipe does not say calibration.data" --set quantize.target_bits=5 \
    --set quantize.method=rtn --set 'calibration.data=[]'
fails 'quantize.target_schemes: "4:16" is no scheme; one is bits (2|4|8), a colon and a group size (32, 64, 128, -1), as in 4:128' \
    --set quantize.target_bits=5 --set quantize.target_schemes=4:64,4:16
fails '--set quantize.target_bits=17: quantize.target_bits: "17" is not allowed; allowed is a number from 1 to 16, as 4.25' \
    --set quantize.target_bits=17

# Formats with one scheme for all have nothing to choose.
for target in bits=5 size=2MB; do
    fails "quantize.target_${target%%=*}: the format awq has one scheme for all; format compressed-tensors can mix them" \
        --set format=awq --set "quantize.target_$target"
done

# An expert each for itself, which no engine loads.
experts="--set quantize.target_bits=6.2 --set quantize.target_unit=expert"
# shellcheck disable=SC2086 # words
{
    expect 2 plan recipe.yaml $experts
    err_like '^awqc: error: engine vllm does not load it: .*: keep or quantize all experts of each layer alike$'
    planned 6.2 $experts --ignore-engine
}
out_like '^warning  *vllm does not load it: .* takes all experts of a layer with one scheme'

# Without weights there is nothing to choose by.
mkdir described
cp "$data/config.json" described
expect 0 plan recipe.yaml --set quantize.target_bits=5 --set model=described
err_is ""
out_like ' expert  *0-1  *8  *awq int4 g128 symmetric, GPTQ '
out_like '^warning  *quantize\.target_bits and target_size: schemes are chosen by what they do to the weights, which are not there'
