# Where plugins are found, and what is said of those that are refused.
plugin=$plugins/awq-arch-mixtral.so
unset AWQ_PLUGIN_PATH

# Built or installed with the program.
expect 0 plugins
out_like '^mixtral .*/awq-arch-mixtral\.so$'

# A file that is no plugin is refused, and the others serve.
echo "no plugin" >awq-arch-broken.so
expect 0 plugins --plugin-path awq-arch-broken.so
out_like '^refused  .*awq-arch-broken\.so: '
out_like '^mixtral '
expect 0 inspect "$data" --plugin-path awq-arch-broken.so

# A path that is not there.
expect 0 --plugin-path nowhere plugins
out_like '^refused  *nowhere: '

# The working directory is not searched unasked.
mkdir empty
ln -s "$plugin" awq-arch-copy.so
AWQ_PLUGIN_PATH=:: expect 0 plugins
[ "$(grep -c awq-arch-copy "$top/out")" = 0 ] || fail "the working directory was searched"

# Given twice, a file is one plugin; before and after the command.
expect 0 --plugin-path "$plugins" plugins --plugin-path="$plugin"
[ "$(grep -c '^mixtral ' "$top/out")" = 1 ] || fail "one plugin is listed twice"

# The order: --plugin-path, AWQ_PLUGIN_PATH, the installed ones.
cp "$plugin" empty/awq-arch-first.so
mkdir second
cp "$plugin" second/awq-arch-second.so
AWQ_PLUGIN_PATH=second expect 0 plugins --plugin-path empty
order=$(sed -n 's/^mixtral .*awq-arch-\([a-z]*\)\.so$/\1/p' "$top/out" | tr '\n' ' ')
[ "$order" = "first second mixtral " ] || fail "the order is $order"
