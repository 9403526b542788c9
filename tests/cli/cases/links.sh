# Files that are copied into the result are the checkpoint's own: links out of it are not followed.
write_recipe
mkdir m
cp "$data"/* m
echo secret >private
for name in generation_config.json tokenizer_config.json LICENSE chat_template.jinja; do
    ln -sf ../private "m/$name"
    for words in 'plan recipe.yaml' 'quantize recipe.yaml --quiet'; do
        # shellcheck disable=SC2086 # words of a command
        expect 1 $words --set model=m
        err_is "awqc: error: m/$name: a link to $PWD/private, outside the model's directory; it would be copied into the output: put the file itself in its place, or remove the link"
    done
    [ ! -e out ] && [ ! -e out.partial ] || fail "a refused run left something"
    rm "m/$name"
done
ln -s /proc/self/environ m/generation_config.json
expect 1 plan recipe.yaml --set model=m
err_has 'm/generation_config.json: a link to /proc/'
rm m/generation_config.json
ln -s nowhere m/LICENSE
expect 1 plan recipe.yaml --set model=m
err_has 'm/LICENSE: a link that leads nowhere: No such file or directory'
rm m/LICENSE

# Both ways out work.
cp private m/LICENSE
expect 0 quantize recipe.yaml --quiet --set model=m --set quantize.method=rtn
[ "$(cat out/LICENSE)" = secret ] || fail "LICENSE was not copied"
rm -r out m/LICENSE
# A link inside the directory is followed, as are those to what is parsed.
cp "$data/generation_config.json" m/own.json
ln -s own.json m/generation_config.json
mv m/model.safetensors weights
ln -s ../weights m/model.safetensors
mv m/config.json elsewhere
ln -s ../elsewhere m/config.json
expect 0 quantize recipe.yaml --quiet --set model=m --set quantize.method=rtn
cmp -s out/generation_config.json "$data/generation_config.json" || fail "a link inside was not followed"
[ ! -L out/generation_config.json ] || fail "the result has a link"
rm -r out

# Hugging Face's cache: the snapshot links to the blobs of its repository.
repo=hub/models--someone--small
mkdir -p $repo/blobs $repo/snapshots/0123
for file in "$data"/*; do
    name=$(basename "$file")
    cp "$file" "$repo/blobs/$(echo "$name" | cksum | cut -d' ' -f1)"
    ln -s "../../blobs/$(echo "$name" | cksum | cut -d' ' -f1)" "$repo/snapshots/0123/$name"
done
expect 0 quantize recipe.yaml --quiet --set model=$repo/snapshots/0123 --set quantize.method=rtn
cmp -s out/tokenizer.json "$data/tokenizer.json" || fail "the cache's blobs were not followed"
rm -r out
# A directory that an older downloader filled with links to them, and one that only looks alike.
mkdir local blobs
ln -s "$PWD/$repo/snapshots/0123"/* local
expect 0 plan recipe.yaml --set model=local
cp private blobs/x
ln -sf ../blobs/x local/LICENSE
expect 1 plan recipe.yaml --set model=local
err_has 'outside the model'
