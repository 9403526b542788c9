# All that stands beside the source's weights goes with the result, within a limit, and what does not is
# named.
write_recipe
cat >>recipe.yaml <<'END'
  method: rtn
END
mkdir m m/additional_chat_templates m/original m/additional_chat_templates/old
cp "$data"/*.json "$data/model.safetensors" m
for name in tokenizer.model preprocessor_config.json modeling_own.py chat_template.jinja LICENSE.txt NOTICE \
    USE_POLICY.md README.md additional_chat_templates/tool_use.jinja additional_chat_templates/rag.jinja; do
    echo "of $name" >"m/$name"
done
# Weights in any form, their indexes, other quantizers' configs, and what is hidden.
for name in pytorch_model.bin pytorch_model.bin.index.json model.gguf quantize_config.json \
    quant_config.json recipe.yaml .env SHA256SUMS awq_report.json additional_chat_templates/.hidden; do
    echo never >"m/$name"
done
echo '{}' >m/hf_quant_config.json
truncate -s 67108864 m/at_limit.bin.txt
truncate -s 67108865 m/film.mp4
mkfifo m/pipe
warning="m: the result will lack additional_chat_templates/old/, film.mp4, original/, pipe: only files of at most 64 MiB are copied, no links that lead out of it, and no folder but additional_chat_templates"
expect 0 plan recipe.yaml --set model=m
out_has "$warning"
expect 0 quantize recipe.yaml --quiet --set model=m
err_is "awqc: warning: $warning"
[ "$(cd out && find . ! -type d | sort)" = "./LICENSE.txt
./NOTICE
./README.md
./README.source.md
./SHA256SUMS
./USE_POLICY.md
./additional_chat_templates/rag.jinja
./additional_chat_templates/tool_use.jinja
./at_limit.bin.txt
./awq_provenance.json
./awq_report.html
./awq_report.json
./chat_template.jinja
./config.json
./generation_config.json
./golden.json
./model.safetensors
./modeling_own.py
./preprocessor_config.json
./tokenizer.json
./tokenizer.model
./tokenizer_config.json" ] || fail "other files: $(cd out && find . ! -type d | sort)"
for name in tokenizer.model NOTICE additional_chat_templates/rag.jinja modeling_own.py at_limit.bin.txt; do
    cmp -s "m/$name" "out/$name" || fail "$name is not the source's"
done
cmp -s m/README.md out/README.source.md || fail "the source's card was not kept"
rm m/film.mp4 m/at_limit.bin.txt m/pipe
rm -r m/original m/additional_chat_templates/old

# They have checksums, in the folder too, and nobody's file there is lost.
(cd out && sha256sum --quiet -c SHA256SUMS) || fail "checksums do not hold"
expect 0 verify out
echo changed >out/additional_chat_templates/rag.jinja
expect 1 verify out
err_has "out/additional_chat_templates/rag.jinja: changed: SHA-256 is "
rm out/additional_chat_templates/rag.jinja
expect 1 verify out
err_has "out/additional_chat_templates/rag.jinja: missing"
for name in own.jinja folder/own.jinja; do
    mkdir -p "out/additional_chat_templates/$(dirname $name)"
    echo precious >out/additional_chat_templates/$name
    expect 1 quantize recipe.yaml --quiet --force --set model=m
    err_has "out: is not replaced, since it holds additional_chat_templates/${name%/*}, which is no part"
    rm -r "out/additional_chat_templates/${name%/*}"
done
mv out/additional_chat_templates templates
ln -s ../templates out/additional_chat_templates
expect 1 quantize recipe.yaml --quiet --force --set model=m
err_has "since it holds additional_chat_templates, which is no part"
rm out/additional_chat_templates
expect 0 quantize recipe.yaml --quiet --force --set model=m
err_is ""
expect 0 verify out

# Links as of any other file.
echo secret >private
ln -s ../../private m/additional_chat_templates/own.jinja
expect 1 plan recipe.yaml --set model=m
err_has "m/additional_chat_templates/own.jinja: a link to $PWD/private, outside the model's directory"
rm -r m/additional_chat_templates
ln -s ../templates m/additional_chat_templates
expect 1 plan recipe.yaml --set model=m
err_has "m/additional_chat_templates: a link to $PWD/templates, outside the model's directory"

# What no engine reads is left out.
rm m/additional_chat_templates
ln -s ../private m/notes.txt
expect 0 plan recipe.yaml --set model=m
out_has "the result will lack "
out_has "notes.txt"
