# The forms of --set.
write_recipe

refused '--set "nothing": expected KEY=VALUE' plan recipe.yaml --set nothing
refused '--set "=x": expected KEY=VALUE' plan recipe.yaml --set =x
refused '--set bits=4: there is no option "bits"; did you mean "quantize.bits"?' \
    plan recipe.yaml --set bits=4
refused '--set bits=[4]: there is no option "bits"; did you mean "quantize.bits"?' \
    plan recipe.yaml --set 'bits=[4]'
refused '--set calibration.samples=: calibration.samples: "" is not allowed; allowed is an integer from 1 to 1048576' \
    plan recipe.yaml --set calibration.samples=
refused '--set quantize.clip=1: quantize.clip: "1" is not allowed; allowed is true or false' \
    plan recipe.yaml --set quantize.clip=1
refused '--set model=[a]: model: expected one value, found a list' \
    plan recipe.yaml --set 'model=[a]'
refused "--set quantize.modules=[a: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence" \
    plan recipe.yaml --set 'quantize.modules=[a'
refused '--set quantize.modules=[*.w1]: a text that begins with * or & must stand in quotes, as in "*.experts.*"' \
    plan recipe.yaml --set 'quantize.modules=[*.w1]'
refused '--set quantize.modules=[a] b: not valid YAML: did not find expected <document start>' \
    plan recipe.yaml --set 'quantize.modules=[a] b'
refused '--set quantize.modules=[[a]]: quantize.modules: an item of the list must be a text, not a list' \
    plan recipe.yaml --set 'quantize.modules=[[a]]'
refused '--set quantize.modules=[a, ""]: quantize.modules: an empty value is not allowed' \
    plan recipe.yaml --set 'quantize.modules=[a, ""]'
refused 'the recipe does not say calibration.data' plan recipe.yaml --set 'calibration.data=[]'

# What is said last holds; the text after the first = is the value.
expect 0 plan recipe.yaml --ignore-engine --set quantize.modules=nothing \
    --set 'quantize.modules=["*.experts.*.w2"]'
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w2  *expert .* int4 '
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w1  *expert .* keep BF16 '
expect 0 plan recipe.yaml --set=quantize.modules='*.experts.*' --set evaluation.field=a=b
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w1  *expert .* int4 '

# A relative path is taken from the working directory, not from the recipe's.
mkdir sub
mv recipe.yaml sub
ln -s "$data" model
refused_model=$(pwd)/missing
expect 0 plan sub/recipe.yaml --set model=model
out_like '^model  *model$'
expect 1 plan sub/recipe.yaml --set model=missing
err_like '^awqc: error: missing'
