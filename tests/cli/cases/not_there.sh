# What stands in the place of a checkpoint: a name of the Hub, pointers of git-LFS, another architecture.
expect 1 inspect Owner/Some-Model
err_is "awqc: error: Owner/Some-Model: there is no such directory; if Owner/Some-Model is a repository of the Hugging Face Hub, download it first: hf download Owner/Some-Model --local-dir DIRECTORY"
write_recipe
expect 1 plan recipe.yaml --set model=Owner/Some-Model
err_has "hf download Owner/Some-Model --local-dir DIRECTORY"
# A file is no repository.
expect 1 inspect Owner/config.json
err_is "awqc: error: Owner/config.json/config.json: No such file or directory"
# Where the directory above is there, it is a path.
mkdir Owner
expect 1 inspect Owner/Some-Model
err_is "awqc: error: Owner/Some-Model/config.json: No such file or directory"
expect 1 inspect ../Some-Model
err_is "awqc: error: ../Some-Model/config.json: No such file or directory"

mkdir m
cp "$data"/* m
pointer() { printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 123456\n' 0 >"m/$1"; }
for file in model.safetensors config.json tokenizer.json; do
    pointer $file
    expect 1 plan recipe.yaml --set model=m
    err_has "m/$file: a pointer of git-LFS, not the file itself; \"git lfs pull\" fetches it"
    cp "$data/$file" m
done

sed 's/"model_type": "mixtral"/"model_type": "gpt2"/' "$data/config.json" >m/config.json
expect 1 inspect m
err_like 'no plugin serves model_type "gpt2"; [0-9]* plugins were found, for .*mixtral'
