# The report as a page, of one result and of two; every key of the report is in its document.
write_recipe
cat >>recipe.yaml <<END
  rounding: gptq
  modules: ["*.experts.*", "*.self_attn.*"]
  target_bits: 4.5
  target_schemes: 4:128,4:32
format: compressed-tensors
evaluation:
  data: $data/eval.txt
  sequence_length: 64
  windows: 6
END
expect 0 quantize recipe.yaml --quiet
grep -o '"[a-z0-9_]*":' out/awq_report.json | tr -d '":' | sort -u >keys
[ "$(wc -l <keys)" -gt 40 ] || fail "few keys: $(cat keys)"
while read -r key; do
    name=$key
    for input in qkv o gate_up; do
        case $key in
        ${input}_ratio | ${input}_rtn_loss | ${input}_loss | ${input}_salience) name=INPUT${key#"$input"} ;;
        esac
    done
    grep -qF "\`$name\`" "$source/libawq/report.md" || fail "libawq/report.md says nothing of $name"
done <keys

# The page is listed among the files of the result and is its report's.
grep -q ' awq_report.html$' out/SHA256SUMS || fail "the page has no sum"
expect 0 report out
out_is "page                  report.html"
expect 1 report out
err_is "awqc: error: report.html: is there already; --force replaces it"
expect 0 report out --beside out --output two.html
[ "$(grep -c '<section>' two.html)" = 6 ] || fail "another number of sections"
expect 0 report out --output two.html --force
cmp -s report.html two.html || fail "not the page of one result"
[ "$(sed 's|>out<|>mixtral-tiny<|g; s|out: |mixtral-tiny: |' report.html)" = \
    "$(sed 's|out: |mixtral-tiny: |' out/awq_report.html)" ] || fail "the written page differs by more than the name"
expect 0 verify out

mkdir empty
expect 1 report empty
err_has "empty/awq_report.json"
expect 1 report out --output nowhere/page.html
err_is "awqc: error: nowhere/page.html: No such file or directory"
refused 'report: DIR is missing; usage: awqc report DIR [OPTIONS]' report
