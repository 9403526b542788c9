# A recipe with rules: what becomes of the modules, and that the recorded recipe is the same again.
cat >recipe.yaml <<END
model: $data
output: out
format: compressed-tensors
quantize: {method: rtn, group_size: 64}
rules:
  - layers: 0
    experts: "even, 3"
    bits: 8
  - match: 're:.*\.(w2|"w9")$'
    preset: w4a16-asym
  - {role: 'attention , shared_expert', projection: qkv, preset: w8a16, clip: false}
  - {experts: 1, layers: "-1", keep: true}
END
expect 0 quantize recipe.yaml --quiet
expect 0 inspect out
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w1  *expert  *3  *256 x 128  *int8 g64 '
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w1  *expert  *4  *256 x 128  *int4 g64 '
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w1  *expert  *1  *256 x 128  *BF16 '
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w2  *expert  *3  *128 x 256  *int8 g64 '
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w2  *expert  *5  *128 x 256  *int4 g[0-9]* '
out_like '^model\.layers\.\*\.self_attn\.q_proj  *attention  *2  *128 x 128  *int8 g128 '
out_like '^model\.layers\.\*\.self_attn\.o_proj  *attention  *2  *128 x 128  *BF16 '

# In JSON a quote and a line's end are written with a backslash, and a backslash with two.
sed -n 's/^[[:space:]]*"recipe":[[:space:]]*"\(.*\)",*$/\1/p' out/awq_provenance.json |
    sed 's/\\\\/@@/g; s/\\n/\
/g; s/\\"/"/g; s/@@/\\/g' >again.yaml
grep -qF '  - match: "re:.*\\.(w2|\"w9\")$"' again.yaml || fail "no rule in awq_provenance.json"
expect 0 quantize again.yaml --set output=again --quiet
cmp out/model.safetensors again/model.safetensors || fail "the recorded recipe gives another result"
cmp out/config.json again/config.json || fail "the recorded recipe gives another config.json"
cmp out/awq_provenance.json again/awq_provenance.json || fail "the recorded recipe reads back otherwise"
