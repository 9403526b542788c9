# A limit of the size of files is an error, with a way out that works, and no signal.
command -v prlimit >/dev/null || exit 0
write_recipe
prlimit --pid $$ --fsize=1070000:
expect 1 quantize recipe.yaml
err_has "out.partial/model.safetensors: cannot have its "
err_has "this process may write files of 1070000 bytes at most (RLIMIT_FSIZE, ulimit -f)"
err_has "a smaller shard_size makes them smaller"
[ ! -e out ] || fail "there is a result"
expect 0 quantize recipe.yaml --set shard_size=1MB
[ -f out/model-00001-of-00002.safetensors ] || fail "the result is in one file"

# A small file.
prlimit --pid $$ --fsize=3000:
expect 1 quantize recipe.yaml --set output=other
err_has "this process may write files of 3000 bytes at most"
