# Nothing that a hostile file or name holds commands the terminal: controls (C0, C1, DEL), bytes that
# are not UTF-8, and what changes the direction of writing are shown as ?.
plain() {
    for stream in out err; do
        if LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]')" "$top/$stream"; then fail "a control in $stream"; fi
        iconv -f UTF-8 -t UTF-8 "$top/$stream" >/dev/null 2>&1 || fail "$stream is not UTF-8"
        if LC_ALL=C grep -q "$(printf '\302[\200-\237]')" "$top/$stream"; then fail "a C1 control in $stream"; fi
        if grep -qF "$(printf '\342\200\256')" "$top/$stream"; then fail "an override in $stream"; fi
    done
}
bad=$(printf 'x\033[31m\302\233y\342\200\256z\377\177\303\251')
expect 1 inspect "$bad"
plain
err_is "awqc: error: $(printf 'x?[31m?y?z??\303\251')/config.json: No such file or directory"
expect 2 "$bad"
plain
expect 2 plan "$bad" --set "$bad=1"
plain

# A directory of that name, in tables and facts.
cp -r "$data" "$bad"
expect 0 inspect "$bad"
plain
write_recipe
expect 0 plan recipe.yaml --json
plain
echo "no plugin" >"awq-arch-$bad.so"
expect 0 plugins --plugin-path "awq-arch-$bad.so"
plain
out_has 'awq-arch-x?[31m?y?z??'

# In config.json: escapes of JSON are controls in messages.
mkdir m
cp "$data"/* m
sed 's/"model_type": "mixtral"/"model_type": "a\\u001b[0m\\u009b\\u202eb"/' "$data/config.json" >m/config.json
expect 1 inspect m
plain
err_has 'model_type "a?[0m??b"'
