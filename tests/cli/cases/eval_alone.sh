# Without a reference there is the perplexity alone.
expect 0 eval "$data" --text "$data/eval.txt" --window 64 --windows 4 --json --quiet
out_like '^{"perplexity": [0-9.e+-]*, "tokens": 252}$'
err_is ""
cp "$top/out" ../json
expect 0 eval "$data" --text "$data/eval.txt" --window 64 --windows 4 --json --threads 1
cmp -s "$top/out" ../json || fail "the result depends on the number of threads"
expect 0 eval "$data" --text "$data/eval.txt" --window 64 --windows 4 --quiet
perplexity=$(sed -n 's/^perplexity  *\([0-9.]*\) over 252 tokens$/\1/p' "$top/out")
[ -n "$perplexity" ] || fail "no perplexity"
[ "$(wc -l <"$top/out")" = 1 ] || fail "more than the perplexity"
grep -q "\"perplexity\": ${perplexity%??}" ../json || fail "two perplexities"

# A model compared with itself.
expect 0 eval "$data" --reference "$data" --text "$data/eval.txt" --window 64 --windows 4 --json --quiet
out_like '"kl": 0, "top1_agreement": 1, "router_topk_agreement": 1}$'

# A field of JSON lines; texts may be several.
printf '{"body": "%s"}\n' "$(head -c 3000 "$data/eval.txt" | tr -dc 'a-z ')" >lines.jsonl
expect 0 eval "$data" --text lines.jsonl --field body --window 32 --windows 2 --json --quiet
out_has '"tokens": 62}'
expect 1 eval "$data" --text lines.jsonl --window 32 --quiet
err_has 'lines.jsonl'
