# What comes when in a run: checks before work, warnings where they arise, progress that rises.
write_recipe
qwen=$source/tests/data/qwen3_moe-tiny
cat >target.yaml <<END
model: $qwen
output: out
format: compressed-tensors
calibration: {data: [$qwen/calib.jsonl], samples: 4, sequence_length: 128, min_expert_tokens: 8}
quantize: {target_bits: 5, target_unit: expert, ratio_steps: 4}
END

# A run warns of what its plan warns of, once, also of what only the chosen schemes show.
expect 0 plan target.yaml
sed -n 's/^warning  *//p' "$top/out" | LC_ALL=C sort >../planned
grep -q '^vllm does not load it: ' ../planned || fail "the plan does not warn"
expect 0 quantize target.yaml
sed -n 's/^awqc: warning: //p' "$top/err" | LC_ALL=C sort >../warned
cmp -s ../planned ../warned || fail "the run warns otherwise than its plan: $(cat ../warned)"

# Progress never falls, the pass that chooses schemes included, and ends.
sed -n 's/^awqc: .* \([0-9.]*\) %, .*/\1/p' "$top/err" >../percents
sort -n -c ../percents || fail "progress falls: $(cat ../percents)"
[ "$(wc -l <../percents)" -ge 4 ] || fail "too little progress is shown"

# Whether the output is free is found before anything takes time.
expect 1 quantize target.yaml
err_is "awqc: error: out: exists already, the whole result of an earlier run; it is replaced only where that is asked for (force)"
rm -r out

# So is an interrupted run of another recipe, and what it has done is kept, also from a restart that
# fails before there is something to put in its place.
command="quantize, killed"
"$awqc" quantize target.yaml --threads 1 >"$top/out" 2>"$top/err" </dev/null &
process=$!
while kill -0 $process 2>/dev/null && [ ! -e out.partial/awq_journal.json ]; do
    sleep 0.02
done
kill -KILL $process 2>/dev/null
wait $process 2>/dev/null
[ -e out.partial/awq_journal.json ] || fail "the run was not killed in time"
expect 1 quantize target.yaml --set quantize.target_bits=6
! grep -q 'layer 1/2' "$top/err" || fail "work was done before the refusal"
[ -e out.partial/awq_journal.json ] || fail "a refused run has discarded work"
expect 1 quantize target.yaml --restart --set calibration.data=nowhere.txt
err_like "nowhere.txt: No such file"
[ -e out.partial/awq_journal.json ] || fail "a failed restart has discarded work"
expect 0 quantize target.yaml --quiet

# A target that no choice meets is refused before the calibration is read.
for words in plan quantize "plan --set model=$source/tests/data/configs/Qwen3-30B-A3B"; do
    # shellcheck disable=SC2086 # words
    expect 2 $words target.yaml --set quantize.target_bits=4.1 --set output=new
    err_is "awqc: error: quantize.target_bits: 4.1 bits a weight are fewer than the 4.125 of the smallest of quantize.target_schemes"
done
[ ! -e new.partial ] || fail "a refused run left something"

# Interrupted while schemes are chosen: nothing is left, and nothing is in the way.
command="quantize, interrupted at once"
"$awqc" quantize target.yaml --set output=new --threads 1 >"$top/out" 2>"$top/err" </dev/null &
process=$!
while kill -0 $process 2>/dev/null && ! grep -q 'layer 1/2' "$top/err"; do
    sleep 0.02
done
kill -TERM $process 2>/dev/null
wait $process
code=$?
[ "$code" = 130 ] || fail "expected exit code 130"
if [ ! -e new.partial ]; then
    err_has "awqc: error: interrupted; nothing was written yet: the same command begins anew"
else
    err_has "the work so far is kept in new.partial"
fi
expect 0 quantize target.yaml --set output=new --quiet
cmp -s out/model.safetensors new/model.safetensors || fail "the results differ"

# One line for all tensors that the architecture does not describe, and for all rules of no use.
cp -R "$data" short
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' "$data/config.json" >short/config.json
cat >rules.yaml <<END
model: short
output: short-out
quantize: {method: rtn}
rules:
END
for i in $(seq 50); do
    echo "  - {match: 'nowhere.$i', bits: 4}" >>rules.yaml
    echo "  - {role: expert, layers: 0, bits: 4}" >>rules.yaml
done
expect 0 quantize rules.yaml --quiet
[ "$(wc -l <"$top/err")" -le 6 ] || fail "too many warnings"
err_like '^awqc: warning: model\.layers\.1\.[^ ]* and [0-9]* more tensors: the mixtral architecture does not describe them; copied as they are'
err_like '^awqc: warning: rules\[1\] (match: nowhere\.1): matches no module; .* (and 49 more)$'
err_like '^awqc: warning: rules\[4\] (role: expert, layers: 0): has no effect, .* (and 48 more)$'

# What becomes of the model once it was read does not matter to a run that ends well.
cp -R "$data" gone
command="quantize, whose model goes"
"$awqc" quantize recipe.yaml --set model=gone --set output=kept --threads 1 >"$top/out" 2>"$top/err" </dev/null &
process=$!
while kill -0 $process 2>/dev/null && ! grep -q 'layer 2/2' "$top/err"; do
    sleep 0.02
done
mv gone elsewhere
wait $process
code=$?
[ "$code" = 0 ] || fail "expected exit code 0"
out_like '^size  *2\.30 MB -> '
expect 0 inspect kept
