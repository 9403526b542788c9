# An importance matrix: where it is, what is beside it, and what is refused.
write_recipe
expect 0 imatrix recipe.yaml --quiet
err_is ""
out_is "output                out/imatrix.gguf"
[ "$(head -c 4 out/imatrix.gguf)" = GGUF ] || fail "imatrix.gguf does not begin as GGUF"
(cd out && sha256sum --quiet -c SHA256SUMS) || fail "the sums are wrong"
[ "$(find out -type f | wc -l)" = 2 ] || fail "there are other files than imatrix.gguf and its sum"
cp out/imatrix.gguf first
expect 1 imatrix recipe.yaml --quiet
err_has "out: exists already"
expect 0 imatrix recipe.yaml --quiet --set output=again --threads 1
cmp -s first again/imatrix.gguf || fail "the number of threads changed it"

printf 'model: %s\noutput: other\nquantize:\n  method: rtn\n' "$data" >no_data.yaml
refused "the recipe does not say calibration.data, which an importance matrix is made from" \
    imatrix no_data.yaml
refused 'imatrix: RECIPE is missing; usage: awqc imatrix RECIPE [OPTIONS]' imatrix
