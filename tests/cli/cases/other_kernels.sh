# A run that was begun with other kernels goes on with those that there are, says so, and names both.
if ! grep -q ' avx .*' /proc/cpuinfo; then
    echo "skipped: this processor has one kind of kernels alone"
    exit 0
fi
write_recipe
recipe_options="--set calibration.samples=8 --set calibration.sequence_length=512"
differ="the run that goes on had other kernels, Nehalem of OpenBLAS"
cores() { grep -c '"core"' "$1/awq_provenance.json"; }

export OPENBLAS_CORETYPE=Nehalem
command="quantize, killed"
# shellcheck disable=SC2086 # words
"$awqc" quantize recipe.yaml $recipe_options --threads 1 >"$top/out" 2>"$top/err" </dev/null &
process=$!
while kill -0 $process 2>/dev/null && [ ! -e out.partial/awq_journal.json ]; do
    sleep 0.02
done
kill -KILL $process 2>/dev/null
wait $process
[ -e out.partial/awq_journal.json ] || fail "expected an interrupted run"

# With the same kernels nothing is said.
cp -r out.partial same.partial
# shellcheck disable=SC2086
expect 0 quantize recipe.yaml $recipe_options --set output=same
grep -qF "$differ" "$top/err" && fail "nothing differs"
[ "$(cores same)" = 1 ] || fail "expected one kind of kernels"

export OPENBLAS_CORETYPE=Sandybridge
# shellcheck disable=SC2086
expect 0 quantize recipe.yaml $recipe_options
err_has "$differ"
err_has "than this one has, Sandybridge of OpenBLAS"
[ "$(cores out)" = 2 ] || fail "expected two kinds of kernels"
