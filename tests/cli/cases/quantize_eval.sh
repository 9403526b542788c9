# A run from recipe to result: what it prints, what it wrote, and that eval finds the same numbers.
write_recipe
cat >>recipe.yaml <<END
evaluation:
  data: $data/eval.txt
  sequence_length: 64
  windows: 6
END
expect 0 quantize recipe.yaml
out_like '^output  *out$'
out_like '^size  *2\.30 MB -> [0-9.]* [kM]B$'
out_like '^time  *[0-9.]* s$\|^time  *[0-9]* min [0-9]* s$'
out_like '^peak memory  *[0-9.]* MB$'
out_like '^perplexity before  *[0-9.]*$'
out_like '^perplexity after  *[0-9.]* over 378 tokens$'
out_like '^KL divergence  *0\.[0-9]* nats$'
out_like '^top-1 agreement  *[0-9.]* %$'
out_like '^router agreement  *[0-9.]* %$'
err_like '^awqc: layer 1/2, '
err_like '^awqc: layer 2/2, '
[ ! -e out.partial ] || fail "the partial directory is still there"
cp "$top/out" summary

# Experts are int4, routers as they were.
expect 0 inspect out
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w1  *expert  *8  *256 x 128  *int4 g128 '
out_like '^model\.layers\.\*\.block_sparse_moe\.experts\.\*\.w2  *expert  *8  *128 x 256  *int4 g128 '
out_like '^model\.layers\.\*\.block_sparse_moe\.gate  *router  *2  *4 x 128  *BF16  *16\.00 '

# The evaluation again, by hand.
expect 0 eval out --reference "$data" --text "$data/eval.txt" --window 64 --windows 6 --json --quiet
out_like '^{"perplexity": [0-9.e+-]*, "tokens": 378, "reference_perplexity": [0-9.e+-]*, "kl": [0-9.e+-]*, "top1_agreement": [0-9.e+-]*, "router_topk_agreement": [0-9.e+-]*}$'
err_is ""
for member in perplexity reference_perplexity kl top1_agreement router_topk_agreement; do
    printed=$(sed -n "s/.*\"$member\": \([0-9.e+-]*\)[,}].*/\1/p" "$top/out")
    reported=$(sed -n "s/.*\"$member\":[[:space:]]*\([0-9.e+-]*\).*/\1/p" out/awq_report.json)
    # The report's numbers have 15 digits where these are within the rounding of a double.
    awk -v a="$printed" -v b="$reported" 'BEGIN { d = a - b; exit a == "" || !(d * d <= 1e-30 * b * b) }' ||
        fail "$member is $printed, but the run reported $reported"
done

# The same for people.
expect 0 eval out --reference "$data" --text "$data/eval.txt" --window 64 --windows 6 --quiet
for label in 'KL divergence' 'top-1 agreement' 'router agreement'; do
    out_has "$(grep "^$label" summary)"
done
out_like '^reference perplexity  *[0-9.]*$'

# The recipe in the provenance file is the one that was run.
sed -n 's/^[[:space:]]*"recipe":[[:space:]]*"\(.*\)",*$/\1/p' out/awq_provenance.json |
    sed 's/\\n/\
/g; s/\\"/"/g' >again.yaml
[ -s again.yaml ] || fail "no recipe in awq_provenance.json"
expect 0 quantize again.yaml --set output=again --quiet
cmp out/model.safetensors again/model.safetensors || fail "the recorded recipe gives another result"
cmp out/awq_provenance.json again/awq_provenance.json || fail "the recorded recipe reads back otherwise"
