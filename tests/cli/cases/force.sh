# An output that exists is replaced with --force alone.
write_recipe
expect 0 quantize recipe.yaml --quiet --set quantize.method=rtn
err_is ""
cksum out/* >../sums
expect 1 quantize recipe.yaml --quiet
err_like '^awqc: error: out'
cksum out/* | cmp -s - ../sums || fail "the refused run changed the output"
expect 0 quantize recipe.yaml --quiet --force
cksum out/* | cmp -s - ../sums && fail "the output was not replaced"
[ ! -e out.partial ] || fail "the partial directory is still there"

# What is no checkpoint is not replaced.
mkdir other
echo precious >other/file
expect 1 quantize recipe.yaml --quiet --force --set output=other
err_like '^awqc: error: other'
[ "$(cat other/file)" = precious ] || fail "a directory that is no checkpoint was touched"
