# An output that would take away what the run reads is refused, with --force and without, by plan and
# by quantize.
write_recipe
mkdir models models/deep
cp -R "$data" m
cp -R "$data" models/deep/m
ln -s . here
ln -s m link
rtn="--set quantize.method=rtn --set calibration.data=[]"
find . | LC_ALL=C sort >../names
cksum m/* models/deep/m/* >../sums

# refuses MODEL OUTPUT MESSAGE ARGUMENT...
refuses() {
    model=$1 output=$2 message=$3
    shift 3
    for words in plan quantize "quantize --force" "quantize --restart --force"; do
        # shellcheck disable=SC2086 # words
        expect 2 $words recipe.yaml --set "model=$model" --set "output=$output" "$@"
        err_like "^awqc: error: output: $message; name a directory apart from it\$"
    done
    find . | LC_ALL=C sort | cmp -s - ../names || fail "a refused run changed what is there"
    cksum m/* models/deep/m/* | cmp -s - ../sums || fail "a refused run changed the model"
}
replaces=', which the output would replace'

# shellcheck disable=SC2086 # words
{
    refuses m m "m is the model m ([^ ]*/work/m)$replaces" $rtn
    refuses m here/m "here/m is the model m ([^ ]*/work/m)$replaces" $rtn
    refuses here/m m "m is the model here/m ([^ ]*/work/m)$replaces" $rtn
    refuses m link "link is the model m ([^ ]*)$replaces" $rtn
    refuses m m/../m "m/../m is the model m ([^ ]*)$replaces" $rtn
    refuses m nowhere/../m "nowhere/../m is the model m ([^ ]*)$replaces" $rtn
    refuses m m/quantized "m/quantized lies in the model m ([^ ]*)" $rtn
    refuses m link/a/b "link/a/b lies in the model m ([^ ]*)" $rtn
    refuses models/deep/m models "models holds the model models/deep/m ([^ ]*)$replaces" $rtn
    refuses models/deep/m here/models "here/models holds the model models/deep/m ([^ ]*)$replaces" $rtn
    refuses m . "\. holds the model m ([^ ]*)$replaces" $rtn

    # Under the names that the output has for a while.
    mv m out.partial
    mv models out.replaced
    find . | LC_ALL=C sort >../names
    expect 2 quantize recipe.yaml $rtn --force --set model=out.partial
    err_like "^awqc: error: output: out.partial is the model out.partial "
    expect 2 quantize recipe.yaml $rtn --force --set model=out.replaced/deep/m
    err_like "^awqc: error: output: out.replaced holds the model out.replaced/deep/m "
    find . | LC_ALL=C sort | cmp -s - ../names || fail "a refused run changed what is there"
    mv out.partial m
    mv out.replaced models
}

# Data, where it lies or where it leads, and the recipe. The output is a result, which --force would
# replace.
# shellcheck disable=SC2086 # words
expect 0 quantize recipe.yaml $rtn --quiet
mkdir texts
cp "$data/calib.jsonl" texts/calib.jsonl
cp "$data/eval.txt" recipe.yaml out
ln -s ../texts/calib.jsonl out/link.jsonl
ln -s ../out/eval.txt texts/eval.txt
find . | LC_ALL=C sort >../names
held="out holds"
refuses m out "$held calibration.data out/link.jsonl ([^ ]*/work/texts/calib.jsonl)$replaces" \
    --set calibration.data=out/link.jsonl
refuses m out "$held evaluation.data texts/eval.txt ([^ ]*/work/out/eval.txt)$replaces" \
    --set evaluation.data=texts/eval.txt
refuses m out "$held evaluation.data here/out/eval.txt ([^ ]*)$replaces" \
    --set "evaluation.data=[texts/calib.jsonl, here/out/eval.txt]"
for words in plan quantize "quantize --force"; do
    # shellcheck disable=SC2086 # words
    expect 2 $words out/recipe.yaml $rtn --set output=out
    err_like "^awqc: error: output: out holds the recipe out/recipe.yaml ([^ ]*)$replaces; "
done
find . | LC_ALL=C sort | cmp -s - ../names || fail "a refused run changed what is there"

# What the model's links lead to.
mkdir cache
for file in "$data"/*; do ln -s "$file" cache; done
cp "$data/tokenizer.json" out/blob
ln -sf ../out/blob cache/tokenizer.json
expect 2 quantize recipe.yaml --force --set model=cache
err_like "^awqc: error: output: out holds what a file of the model leads to, cache/tokenizer.json ([^ ]*/out/blob)$replaces"
[ -e out/blob ] || fail "a refused run changed what is there"

# A path through the output itself, and one through a link, are where they lead.
# shellcheck disable=SC2086 # words
{
    rm -f out/link.jsonl out/blob out/eval.txt out/recipe.yaml
    for output in out/../out here/out; do
        old=$(ls -di out)
        expect 0 quantize recipe.yaml $rtn --quiet --force --set output=$output
        [ "$(ls -di out)" != "$old" ] || fail "$output was not replaced"
        expect 0 inspect $output
    done
    [ ! -e out.partial ] && [ ! -e out.replaced ] || fail "something is left"
}

# What a file system is mounted on cannot be renamed: that is found before there is work to lose.
mkdir mounted
mount_and_run='mount -t tmpfs none mounted && exec "$0" "$@"'
if unshare -rm sh -c "$mount_and_run" true 2>/dev/null; then
    command="in a name space of its own"
    # shellcheck disable=SC2086 # words
    unshare -rm sh -c "$mount_and_run" "$awqc" quantize recipe.yaml $rtn --quiet \
        --set output=mounted >"$top/out" 2>"$top/err"
    code=$?
    [ "$code" = 1 ] || fail "expected exit code 1"
    err_is "awqc: error: mounted: a file system is mounted there, and an output takes its place by a rename; name a directory in it"
fi
