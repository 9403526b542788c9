# A recipe to start from: it can be planned once it says model, output and data, and each key that
# stands commented out in it is accepted too.
models=$source/tests/data

# filled ARCHITECTURE MODEL: the new recipe in recipe.yaml, with paths that exist.
filled() {
    expect 0 new "$1"
    err_is ""
    cp "$top/out" ../new.yaml
    sed "s|^model: .*|model: $models/$2|; s|^output: .*|output: out|
         s|^  data: \[calib\.jsonl\]|  data: [$models/$2/calib.jsonl]|" ../new.yaml >recipe.yaml
}

for pair in mixtral:mixtral-tiny qwen_moe:qwen3_moe-tiny qwen2_moe:qwen2_moe-tiny \
    qwen3_moe:qwen3_moe-tiny gpt_oss:gpt_oss-tiny; do
    filled "${pair%%:*}" "${pair#*:}"
    out_like "^# A recipe for ${pair%%:*} models (plugin "
    awk 'length > 99 { exit 1 }' ../new.yaml || fail "a line is too long"
    expect 0 plan recipe.yaml
    err_is ""
    out_like ' expert .* \(int4 g128\|mxfp4\)'
    expect 1 plan ../new.yaml
    err_has "PATH/TO/MODEL/config.json: No such file or directory"
done

# Every option of the table is there, once, in its section.
filled mixtral mixtral-tiny
expect 0 help recipe
sed '1,/^options:/d; /^rules:/,$d' "$top/out" | sed -n 's/^  \([a-z_.]*\): .*/\1/p' >../options
[ "$(wc -l <../options)" -gt 30 ] || fail "few options are known"
awk '/^[a-z]+:$/ { section = $1; sub(":", ".", section); next }
     /^# Rules treat/ { exit }
     /^ *(# )?[a-z_]+: / { line = $0; inside = line ~ /^  /; sub(/^ *(# )?/, "", line); sub(/: .*/, "", line)
                           print (inside ? section : "") line }' ../new.yaml >../keys
sort ../keys >../keys.sorted
sort ../options | diff - ../keys.sorted >"$top/out" || fail "options and keys differ"

# Each key that is commented out, alone and with its value as it stands there.
few="--set calibration.samples=2 --set calibration.sequence_length=64 --set quantize.ratio_steps=2"
commented='^ *# [a-z_]*: [^ ]'
sed '/^# Rules treat/,$d' recipe.yaml | grep -n "$commented" | cut -d: -f1 >../lines
[ "$(wc -l <../lines)" -gt 20 ] || fail "few keys are commented out"
while read -r line; do
    sed "${line}s/# //" recipe.yaml >one.yaml
    key=$(sed -n "${line}s/^ *\([a-z_]*\): .*/\1/p" one.yaml)
    [ -n "$key" ] || fail "line $line of the recipe has no key"
    format=
    case $key in target_bits | target_size) format="--set format=compressed-tensors" ;; esac
    # shellcheck disable=SC2086 # words
    expect 0 plan one.yaml $few $format
    case $key in
    target_*) out_like ' expert .* awq int[48] g[0-9]* ' ;;
    *) out_like ' expert .* awq int4 g128 asymmetric, GPTQ ' ;;
    esac
done <../lines
[ ! -e out ] && [ ! -e out.partial ] || fail "plan wrote something"

# All of its rules at once.
sed '/^# rules:/,$s/^# //' recipe.yaml >ruled.yaml
expect 0 plan ruled.yaml --set format=compressed-tensors
out_like '\.experts\.\*\.w1  *expert  *0-1  *8  *keep BF16'
out_like '\.q_proj  *attention  *0-1  *2  *awq int8 row symmetric'
out_like '^warning  *rules\[3\] (experts: odd): has no effect'
expect 0 help recipe
sed '1,/^rules:/d' "$top/out" | sed -n 's/^  \([a-z_]*\): [^ ].*/\1/p' | sort -u >../rule_keys
[ "$(wc -l <../rule_keys)" -gt 10 ] || fail "few options of rules are known"
while read -r key; do
    sed -n '/^# Rules treat/,/^# rules:/p' recipe.yaml | grep -q "[ :]${key}[,.;]" ||
        fail "the recipe does not name what a rule may say: $key"
done <../rule_keys

# What is not known.
refused 'new: ARCH is missing; usage: awqc new ARCH [OPTIONS]' new
expect 2 new mixtrall
out_is ""
err_like '^awqc: error: new: no plugin serves the architecture "mixtrall"; known are '
for known in mixtral qwen2_moe qwen3_moe gpt_oss; do
    err_like "[ ,]$known\\(,\\|\$\\)"
done
expect 2 new "qwen2_moe,qwen3_moe"
expect 2 new ""
