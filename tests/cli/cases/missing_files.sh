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
expect 1 eval "$data" --text nowhere.txt --quiet
err_like '^awqc: error: nowhere.txt: No such file or directory$'
expect 1 eval "$data" --ids nowhere.safetensors --quiet
err_like '^awqc: error: nowhere.safetensors: No such file or directory$'
expect 1 eval "$data" --text "$data/eval.txt" --reference nowhere --quiet
err_like '^awqc: error: nowhere/config.json: No such file or directory$'
