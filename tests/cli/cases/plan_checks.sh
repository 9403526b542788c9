# What can be known before a run is found by its plan, with the message that the run would have.
write_recipe

# both CODE MESSAGE ARGUMENT...: plan and quantize fail with the same message, and leave nothing.
both() {
    wanted=$1 message=$2
    shift 2
    for words in plan "quantize --quiet"; do
        # shellcheck disable=SC2086 # words
        expect "$wanted" $words recipe.yaml "$@"
        err_like "^awqc: error: $message\$"
    done
    [ ! -e out ] && [ ! -e out.partial ] || fail "something is left"
}

# Data: there, of a kind that is read, and as it should be where it begins.
both 1 'nowhere\.txt: No such file or directory' --set calibration.data=nowhere.txt
both 1 'nowhere\.jsonl: No such file or directory' \
    --set "calibration.data=[$data/calib.jsonl, nowhere.jsonl]"
both 1 'recipe\.yaml: the name ends in none of \.txt, \.jsonl, \.json and \.safetensors' \
    --set evaluation.data=recipe.yaml
: >empty.txt
both 1 'empty\.txt: no sequence of up to 128 ids, in 1 documents with [01] ids' \
    --set calibration.data=empty.txt
printf 'too short' >short.txt
both 1 'short\.txt: no sequence of up to 256 ids, in 1 documents with [0-9]* ids' \
    --set evaluation.data=short.txt --set evaluation.sequence_length=256
printf '{"body": "x"}\n' >body.jsonl
both 1 'body\.jsonl:1: "text" is missing, expected a string' \
    --set "calibration.data=[$data/calib.jsonl, body.jsonl]"
printf '{"text": 1\n' >broken.jsonl
both 1 'broken\.jsonl:1.*not valid JSON.*' --set "calibration.data=[$data/calib.jsonl, broken.jsonl]"
both 1 '.*model\.safetensors: neither a tensor input_ids nor a single I32 or I64 tensor of rank 2' \
    --set "calibration.data=$data/model.safetensors"
cp -R "$data" wordless
rm wordless/tokenizer.json
both 1 'wordless/tokenizer\.json: No such file or directory' --set model=wordless

# Little of a large text is enough to see that it will do.
yes "$(head -c 2000 "$data/eval.txt" | tr -dc 'a-z ')" | head -c 300000000 >large.txt
expect 0 plan recipe.yaml --set calibration.data=large.txt
rm large.txt
# One that has so long words, or so little, that only all of it can tell.
printf '%064d %064d %064d\n' 1 2 3 >words.txt
expect 0 plan recipe.yaml --set calibration.data=words.txt --set calibration.sequence_length=16
expect 0 plan recipe.yaml --set calibration.packing=cut --set calibration.data=words.txt

# Lengths that the model does not know.
both 2 'calibration\.sequence_length: 2049, more than the 2048 positions that the model knows (max_position_embeddings in .*mixtral-tiny/config\.json)' \
    --set calibration.sequence_length=2049
both 2 'evaluation\.sequence_length: 4096, more than the 2048 positions .*' \
    --set "evaluation.data=$data/eval.txt" --set evaluation.sequence_length=4096
expect 0 plan recipe.yaml --set quantize.method=rtn --set calibration.sequence_length=2049
expect 0 plan recipe.yaml --set "model=$source/tests/data/configs/gpt-oss-20b" \
    --set calibration.sequence_length=131072 --set engine=any

# The output's place.
mkdir home
echo x >home/photo
both 1 'home: exists already, and is no result of libawq .*' --set output=home
both 1 'home/photo: exists already, and is no result of libawq .*' --set output=home/photo
for words in plan "quantize --quiet"; do
    # shellcheck disable=SC2086 # words
    expect 1 $words recipe.yaml --set output=home/photo/below/it
    err_has "home/photo"
done
mkdir new.partial
echo x >new.partial/thesis
both 1 'new\.partial: in the way, and no earlier run has left it' --set output=new
expect 0 quantize recipe.yaml --quiet --set quantize.method=rtn
expect 0 plan recipe.yaml
out_like '^warning  *output: out exists already, and is replaced only where that is asked for (force)$'
mkdir out.replaced
echo x >out.replaced/thesis
expect 1 plan recipe.yaml
err_is "awqc: error: out.replaced: in the way, since out would be moved there"
rm -r out.replaced
if [ "$(id -u)" != 0 ]; then
    mkdir locked
    chmod 555 locked
    expect 0 plan recipe.yaml --set output=locked/out
    out_like '^warning  *output: locked/out cannot be created: Permission denied$'
fi
[ -z "$(find . -name '*.partial' ! -name new.partial)" ] || fail "a plan has left something"
