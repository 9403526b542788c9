# A signal stops the run with exit code 130, and the same command ends it.
write_recipe
recipe_options="--set calibration.samples=8 --set calibration.sequence_length=512"

command="quantize, killed"
# shellcheck disable=SC2086 # words
# On one thread the last layer takes longer than the signal does.
"$awqc" quantize recipe.yaml $recipe_options --threads 1 >"$top/out" 2>"$top/err" </dev/null &
process=$!
while kill -0 $process 2>/dev/null && ! grep -q 'layer 2/2' "$top/err"; do
    sleep 0.02
done
kill -TERM $process 2>/dev/null
wait $process
code=$?
err_has "awqc: stopping at the next safe point, within 10 s; once more stops at once"
case $code in
130) err_has "awqc: error: interrupted; the work so far is kept in out.partial: run the same command again to go on with it" ;;
143) err_has "awqc: no safe point came; the work so far is kept" ;; # on a machine that is busy
*) fail "expected exit code 130" ;;
esac
[ ! -e out ] || fail "an interrupted run left an output"
[ -d out.partial ] || fail "an interrupted run kept nothing"

# Going on gives the same bytes as a run without a break.
# shellcheck disable=SC2086
expect 1 quantize recipe.yaml $recipe_options --set quantize.symmetric=true
err_like 'error: .*out\.partial: holds an interrupted run with another quantize\.symmetric: auto then, true now; .*--restart'
# shellcheck disable=SC2086
expect 0 quantize recipe.yaml $recipe_options
err_like '^awqc: .*out\.partial: an interrupted run has finished 1 of 2 layers; going on with layer 1$'
[ ! -e out.partial ] || fail "the partial directory is still there"
# shellcheck disable=SC2086
expect 0 quantize recipe.yaml $recipe_options --set output=whole --quiet
cmp out/model.safetensors whole/model.safetensors || fail "the resumed result differs"

# Killed at once when the first layer is said to be durable, and when the last one has begun, which
# may be before that: what is not whole is done again.
for mark in out.partial/awq_journal.json 'layer 2/2'; do
    rm -rf out
    command="quantize, killed at \"$mark\""
    # shellcheck disable=SC2086
    "$awqc" quantize recipe.yaml $recipe_options >"$top/out" 2>"$top/err" </dev/null &
    process=$!
    while kill -0 $process 2>/dev/null && [ ! -e "$mark" ] && ! grep -q "$mark" "$top/err"; do
        sleep 0.02
    done
    kill -KILL $process 2>/dev/null
    wait $process
    [ ! -e out ] || fail "a killed run left an output"
    # shellcheck disable=SC2086
    expect 0 quantize recipe.yaml $recipe_options
    cmp out/model.safetensors whole/model.safetensors || fail "the resumed result differs"
done
