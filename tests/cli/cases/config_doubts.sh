# What config.json does not seem to mean is told, once.
write_recipe
mkdir m
cp "$data"/* m
said() { grep -c "$1" "$top/$2" || true; }

# A key that is misspelt would leave a default in its place.
sed 's/"rms_norm_eps"/"sms_norm_eps"/' "$data/config.json" >m/config.json
expect 0 plan recipe.yaml --set model=m
out_like '^warning .*m/config.json: nothing reads "sms_norm_eps" for "rms_norm_eps", which may be meant'
expect 0 quantize recipe.yaml --quiet --set model=m --set quantize.method=rtn
[ "$(said 'sms_norm_eps' err)" = 1 ] || fail "not told once"
rm -r out

# Fewer layers than the checkpoint has.
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' "$data/config.json" >m/config.json
expect 0 plan recipe.yaml --set model=m
out_like '^warning .*m/config.json describes 1 layers, but the checkpoint has tensors of layer 1, model\.layers\.1\.'
expect 0 quantize recipe.yaml --quiet --set model=m --set quantize.method=rtn
[ "$(said 'describes 1 layers' err)" = 1 ] || fail "not told once"

# The config as it is gives no doubts.
cp "$data/config.json" m
expect 0 plan recipe.yaml --set model=m
[ "$(said 'nothing reads\|describes' out)" = 0 ] || fail "a doubt without a reason"
