# Every recipe in configs/ parses. One for a model that is not here fails for that reason alone.
for recipe in "$source"/configs/*.yaml; do
    model=$(sed -n 's/^model: *//p' "$recipe")
    [ -n "$model" ] || fail "$recipe names no model"
    if [ -d "$source/configs/$model" ]; then
        expect 0 plan "$recipe"
    else
        expect 1 plan "$recipe"
        err_is "awqc: error: $source/configs/$model/config.json: No such file or directory"
    fi
done
