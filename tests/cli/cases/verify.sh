# A finished output carries checksums that sha256sum reads; verify tells what is no longer whole.
write_recipe
expect 2 verify
err_like 'verify: .*DIR'
expect 1 verify nowhere
err_is "awqc: error: nowhere: not a directory"
expect 0 quantize recipe.yaml --quiet
(cd out && sha256sum -c --strict --quiet SHA256SUMS) || fail "sha256sum does not accept SHA256SUMS"
[ "$(wc -l <out/SHA256SUMS)" = "$(($(find out -type f | wc -l) - 1))" ] || fail "a file has no checksum"
expect 0 verify out --quiet
err_is ""
out_like '^checksums  *12 files$'
out_like '^structure  *41 modules, 24 of them quantized$'
expect 0 verify out --source "$data" --quiet --threads 1
err_is ""
out_like '^source  *13 modules are its bit for bit, 4 rescaled, 24 rounded$'

# flip FILE OFFSET: changes one byte.
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %o $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
for file in out/*; do
    [ "$file" = out/SHA256SUMS ] && continue
    flip "$file" 50
    expect 1 verify out --quiet
    err_like "error: $file: changed: SHA-256 is [0-9a-f]\\{64\\}, expected [0-9a-f]\\{64\\}\$"
    out_is ""
    flip "$file" 50
    mv "$file" aside
    expect 1 verify out --quiet
    err_like "error: $file: missing: SHA256SUMS lists it\$"
    mv aside "$file"
done
size=$(wc -c <out/model.safetensors)
for part in 2 3 4 5 6 7 8 9; do
    flip out/model.safetensors $((size * part / 10))
    expect 1 verify out --quiet
    err_has "error: out/model.safetensors: changed"
    flip out/model.safetensors $((size * part / 10))
done
expect 0 verify out --quiet

# What others add is told; weights that engines would read are wrong.
echo mine >out/notes.md
expect 0 verify out --quiet
err_is "awqc: warning: out/notes.md: additional: SHA256SUMS does not list it"
cp out/model.safetensors out/other.safetensors
expect 1 verify out --quiet
err_has "error: out/other.safetensors: additional: SHA256SUMS does not list it, and engines may read it"
rm out/notes.md out/other.safetensors

# Another source, though its shapes are the same.
mkdir source
cp "$data"/*.json "$data/model.safetensors" source
expect 0 verify out --source source --quiet
flip source/model.safetensors $((2299000))
expect 1 verify out --source source --quiet
err_has "is not what the result was made of: xxh3:"
expect 1 verify out --source nowhere --quiet
err_is "awqc: error: nowhere/config.json: No such file or directory"
rm out/SHA256SUMS
expect 1 verify out --quiet
err_is "awqc: error: out/SHA256SUMS: No such file or directory"
