# What is not there is named.
write_recipe
expect 1 plan recipe.yaml --set model=nowhere
err_like '^awqc: error: nowhere/config.json: No such file or directory$'
expect 1 quantize recipe.yaml --quiet --set calibration.data=nowhere.txt
err_like '^awqc: error: nowhere.txt: No such file or directory$'
[ ! -e out ] || fail "a failed run left an output"
expect 1 inspect nowhere
err_like '^awqc: error: nowhere/config.json: No such file or directory$'
expect 1 eval nowhere --text "$data/eval.txt" --quiet
err_like '^awqc: error: nowhere/config.json: No such file or directory$'
mkdir described
cp "$data/config.json" described
for words in "quantize recipe.yaml --set model=described" "eval described --text $data/eval.txt" \
    "eval $data --text $data/eval.txt --reference described"; do
    # shellcheck disable=SC2086 # words of a command
    expect 1 $words --quiet
    case $words in eval*) undone=evaluated ;; *) undone=quantized ;; esac
    err_is "awqc: error: described: has a config.json but no safetensors files, so it can be planned but not $undone"
done
[ ! -e out.partial ] || fail "a refused run left something"
expect 0 inspect described
out_like '^checkpoint  *described by config\.json; no weights on disk$'
out_like '^size  *2\.30 MB$'
echo '{"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}' \
    >described/model.safetensors.index.json
for words in 'inspect described' 'plan recipe.yaml --set model=described' \
    'quantize recipe.yaml --quiet --set model=described'; do
    # shellcheck disable=SC2086 # words of a command
    expect 1 $words
    err_has '"lm_head.weight" is placed in "model-00001-of-00001.safetensors", which is not there'
done
expect 1 eval "$data" --text nowhere.txt --quiet
err_like '^awqc: error: nowhere.txt: No such file or directory$'
expect 1 eval "$data" --ids nowhere.safetensors --quiet
err_like '^awqc: error: nowhere.safetensors: No such file or directory$'
expect 1 eval "$data" --text "$data/eval.txt" --reference nowhere --quiet
err_like '^awqc: error: nowhere/config.json: No such file or directory$'
