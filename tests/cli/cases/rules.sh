# Rules in YAML: each spelling of them, what the plan says of them, and each mistake with its place.

# rules TEXT ARGUMENT...: plans the recipe with the rules of TEXT (printf escapes).
rules() {
    write_recipe
    # shellcheck disable=SC2059 # the text is the format
    printf -- "format: compressed-tensors\n$1" >>recipe.yaml
    shift
    expect 0 plan recipe.yaml "$@"
    err_is ""
}

# treated PATTERN ROLE LAYERS COUNT TREATMENT: the plan has this line.
treated() {
    pattern=$(printf '%s' "$1" | sed 's/[.*]/\\&/g')
    out_like "^model\\.layers\\.\\*\\.$pattern  *$2  *$3  *$4  *$5  *[0-9.]* "
}

no_warning() {
    ! grep -q '^warning' "$top/out" || fail "expected no warning"
}

# One rule, in every spelling that YAML has for it.
for text in 'rules:\n  - role: attention\n    preset: w8a16\n' \
    'rules:\n- role: attention\n  preset: "w8a16"\n' \
    'rules: [{role: attention, preset: w8a16}]\n' \
    'rules:\n  - {role: [attention], bits: 8, group_size: -1, symmetric: true}\n' \
    'rules:\n  - role:\n      - attention\n      - shared_expert\n    bits: "8"\n    group_size: "-1"\n' \
    "rules:\n  - {match: '*.self_attn.*', preset: w8a16}\n" \
    "rules:\n  - {match: 're:.*_proj', preset: w8a16}\n" \
    'rules:\n  - {projection: "qkv, o", preset: w8a16}\n' \
    'rules:\n  - {projection: [q, k, v, o], layers: [0, 1], preset: w8a16}\n'; do
    rules "$text"
    for name in q k v o; do
        treated "self_attn.${name}_proj" attention 0-1 2 'awq int8 row symmetric, GPTQ'
    done
    treated 'block_sparse_moe.experts.*.w2' expert 0-1 8 'awq int4 g128 symmetric, GPTQ'
    no_warning
done

# Numbers of layers and of experts: one, lists, ranges, slices, from the end.
for layers in 0 '"0"' '[0]' '0-0' '[0-0]' '-2' '"::2"' '":1"' even '[-2, 7]' '"0, 9-12"'; do
    rules "rules:\n  - {role: expert, layers: $layers, keep: true}\n"
    treated 'block_sparse_moe.experts.*.w1' expert 0 4 'keep BF16'
    treated 'block_sparse_moe.experts.*.w1' expert 1 4 'awq int4 g128 symmetric, GPTQ'
done
for experts in odd '[1, 3]' '"1,3"' '"1::2"' '[1, -1]' '"-3, 3-3"'; do
    rules "rules:\n  - {experts: $experts, keep: true}\n" --ignore-engine
    treated 'block_sparse_moe.experts.*.w1' expert 0-1 4 'rescale BF16'
    treated 'block_sparse_moe.experts.*.w2' expert 0-1 4 'keep BF16'
    treated 'block_sparse_moe.experts.*.w2' expert 0-1 4 'awq int4 g128 symmetric, GPTQ'
done

# The first rule that matches counts; what it does not say is as quantize has it.
rules 'rules:
  - {layers: 0, role: expert, bits: 8, group_size: -1, clip: false}
  - {layers: 0-1, projection: down, method: rtn}
  - {role: expert, group_size: 64, rounding: gptq}
' --set quantize.group_size=32 --set quantize.rounding=nearest --ignore-engine
treated 'block_sparse_moe.experts.*.w1' expert 0 4 'awq int8 row symmetric'
treated 'block_sparse_moe.experts.*.w2' expert 0 4 'awq int8 row symmetric'
treated 'block_sparse_moe.experts.*.w2' expert 1 4 'rtn int4 g32 symmetric'
treated 'block_sparse_moe.experts.*.w3' expert 1 4 'awq int4 g64 symmetric, GPTQ'

# A preset is the least that is said: other options of the rule go before it, and it before quantize.
rules 'rules: [{role: attention, preset: w4a16-asym, group_size: 32, clip: true}]\n' \
    --set quantize.clip=false --set quantize.symmetric=true --set quantize.rounding=nearest --ignore-engine
treated self_attn.q_proj attention 0-1 2 'awq int4 g32 asymmetric, clip'
treated 'block_sparse_moe.experts.*.w1' expert 0-1 8 'awq int4 g128 symmetric'
rules '' --set quantize.preset=w8a16 --set quantize.group_size=64 --ignore-engine
treated 'block_sparse_moe.experts.*.w1' expert 0-1 8 'awq int8 g64 symmetric, GPTQ'

# No rules at all, and layers without experts of their own.
for text in 'rules:\n' 'rules: []\n' 'rules: ~\n' 'rules:\n#  - role: expert\n'; do
    rules "$text"
    treated 'block_sparse_moe.experts.*.w1' expert 0-1 8 'awq int4 g128 symmetric, GPTQ'
    no_warning
done

# Rules that do nothing.
rules 'rules:\n  - {role: shared_expert, keep: true}\n'
out_like '^warning  *rules\[1\] (role: shared_expert): matches no module; names look like model\.'
rules "rules:\n  - {role: attention, preset: w8a16}\n  - {match: '*.q_proj', keep: true}\n"
out_like '^warning  *rules\[2\] (match: \*\.q_proj): has no effect, because earlier rules treat all that it matches$'

# What the model contradicts.
# never MESSAGE TEXT
never() {
    write_recipe
    # shellcheck disable=SC2059 # the text is the format
    printf -- "format: compressed-tensors\n$2" >>recipe.yaml
    refused "$1" plan recipe.yaml
}
never 'rules[1] (role: router, layers: 1): matches only what is never quantized: model.layers.1.block_sparse_moe.gate (router); keep: true says that it stays as it is' \
    'rules:\n  - {role: router, layers: 1, preset: w8a16}\n'
never 'rules[2] (role: expert): says keep: true and bits, of which only one can be' \
    'rules:\n  - {role: attention, keep: true}\n  - {role: expert, keep: true, bits: 8}\n'
never 'rules[1]: selects no modules; it needs match, role, layers, experts or projection' \
    'rules:\n  - keep: true\n'
never 'rules[1]: selects no modules; it needs match, role, layers, experts or projection' \
    'rules:\n  - {}\n'
never 'rules[1] (match: re:(): the regular expression "(" does not compile at character 1: missing closing parenthesis' \
    'rules:\n  - match: "re:("\n'
never 'model.layers.0.self_attn.q_proj and model.layers.0.self_attn.k_proj: are treated differently, but have the same input and become one matrix in engines; a rule for the one must match the other' \
    'rules:\n  - {projection: k, preset: w8a16}\n  - {projection: qkv, preset: w4a16}\n'

# bad TEXT PLACE MESSAGE: the recipe TEXT (printf escapes) is refused at PLACE.
bad() {
    # shellcheck disable=SC2059 # the text is the format
    printf -- "$1" >bad.yaml
    refused "bad.yaml:$2: $3" plan bad.yaml
}

# keys
bad 'rules:\n  - layer: 0\n' 2:5 'unknown key "layer" of a rule; did you mean "layers"?'
bad 'rules: [{role: expert, group-size: 32}]\n' 1:24 \
    'unknown key "group-size" of a rule; did you mean "group_size"?'
bad 'rules:\n  - quantize.bits: 8\n' 2:5 \
    'unknown key "quantize.bits" of a rule; did you mean "bits"?'
bad 'rules:\n  - <<: {role: expert}\n' 2:5 'unknown key "<<" of a rule; did you mean "role"?'
bad 'rules:\n  - layers: 0\n    layers: 1\n' 3:5 'layers stands twice in the rule'
bad 'rules:\n  - {role: expert, role: expert}\n' 2:20 'role stands twice in the rule'
bad 'rules: []\nmodel: m\nrules: []\n' 3:1 'rules stands twice'
bad 'rules:\n  - {[a]: b}\n' 2:6 'expected what a rule says, found a list'
bad 'rules:\n  - "ro\\0le": a\n' 2:5 'a NUL character is not allowed'
bad 'rule:\n  - role: expert\n' 1:1 'unknown key "rule"; did you mean "rules"?'
bad 'quantize:\n  rules:\n    - role: expert\n' 2:3 'unknown key "quantize.rules"; did you mean "rules"?'

# kinds
bad 'rules: 5\n' 1:8 'rules: expected a list of rules, found a text'
bad 'rules: ""\n' 1:8 'rules: expected a list of rules, found nothing'
bad 'rules: {role: expert}\n' 1:8 'rules: expected a list of rules, found a mapping'
bad 'rules:\n  - expert\n' 2:5 'rules: expected a mapping for each, found a text'
bad 'rules:\n  - [role]\n' 2:5 'rules: expected a mapping for each, found a list'
bad 'rules:\n  -\n' 2:4 'rules: expected a mapping for each, found nothing'
bad 'rules:\n  - role: {a: b}\n' 2:11 'role: expected a text or a list of texts, found a mapping'
bad 'rules:\n  - layers: [0, [1]]\n' 2:17 'layers: an item of the list must be a text, not a list'
bad 'rules:\n  - role: [a: b]\n' 2:12 'role: an item of the list must be a text, not a mapping'
bad 'rules:\n  - bits: [4, 8]\n' 2:11 'bits: expected one value, found a list'
bad 'rules:\n  - bits: {a: b}\n' 2:11 'bits: expected one value, found a mapping'
bad 'rules:\n  - match: [a, b]\n' 2:12 'match: expected one value, found a list'

# values
roles='expert|shared_expert|attention|mlp|router|embedding|head'
numbers='even, odd, numbers, ranges as in 0-3 and slices as in ::2, several with commas between; -1 is the last'
bad 'rules:\n  - role:\n' 2:10 'role: a value is missing'
bad 'rules:\n  - keep: ~\n' 2:11 'keep: a value is missing'
bad 'rules:\n  - {role: expert, bits: null}\n' 2:26 'bits: a value is missing'
bad 'rules:\n  - role: [expert, null]\n' 2:20 'role: a value is missing'
bad 'rules:\n  - layers: []\n' 2:13 'layers: the list is empty'
bad 'rules:\n  - match: ""\n' 2:12 'match: an empty value is not allowed'
bad 'rules:\n  - match: "a\\0b"\n' 2:12 'match: a NUL character is not allowed'
bad 'rules:\n  - role: "expert,"\n' 2:11 \
    "role: \"\" is not allowed; allowed are $roles, or several of them with commas between"
bad 'rules:\n  - role:\n      - expert\n      - heads\n' 4:9 \
    "role: \"heads\" is not allowed; allowed are $roles, or several of them with commas between"
bad 'rules:\n  - projection: w1\n' 2:17 \
    'projection: "w1" is not allowed; allowed are gate_up|gate|up|down|qkv|q|k|v|q_a|q_b|kv_a|kv_b|o, or several of them with commas between'
for layers in all 3-1 1.5 0-3-5 -1-3 ::0 '1,'; do
    bad "rules:\n  - layers: \"$layers\"\n" 2:13 "layers: \"$layers\" is not allowed; allowed is $numbers"
done
bad 'rules:\n  - experts: [0, 1.5]\n' 2:18 "experts: \"1.5\" is not allowed; allowed is $numbers"
bad 'rules:\n  - bits: 5\n' 2:11 'bits: "5" is not allowed; allowed is 2|4|8'
bad 'rules:\n  - keep: yes\n' 2:11 'keep: "yes" is not allowed; allowed is true or false'
bad 'rules:\n  - preset: none\n' 2:13 \
    'preset: "none" is not allowed; allowed is w4a16|w4a16-asym|w8a16|int8|mxfp4|nf4'

# what YAML has and recipes have not
bad 'rules:\n  - match: *.experts.*\n' 2:12 \
    'a text that begins with * or & must stand in quotes, as in "*.experts.*"'
bad 'rules:\n  - &a {role: expert}\n' 2:5 \
    'an anchor "&a" is not allowed; a text that begins with & must stand in quotes'
bad 'rules:\n  - role: [expert, &a router]\n' 2:20 \
    'an anchor "&a" is not allowed; a text that begins with & must stand in quotes'
bad 'rules:\n  - *a\n' 2:5 \
    'an alias "*a" is not allowed; a text that begins with * must stand in quotes'
bad 'rules:\n  - role: !!str expert\n' 2:11 \
    'a tag "tag:yaml.org,2002:str" is not allowed; a text that begins with ! must stand in quotes'
bad 'rules: !x []\n' 1:8 'a tag "!x" is not allowed; a text that begins with ! must stand in quotes'

# Rules are in the file alone.
write_recipe
refused "--set rules=[]: rules stand in the recipe's file alone" plan recipe.yaml --set 'rules=[]'
