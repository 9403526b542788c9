# Nesting without end is refused where it begins to be wrong.
{ printf 'quantize: {modules: '; head -c 500000 /dev/zero | tr '\0' '['; } >deep.yaml
refused 'deep.yaml:1:22: quantize.modules: an item of the list must be a text, not a list' \
    plan deep.yaml
head -c 500000 /dev/zero | tr '\0' '{' >deep.yaml
refused 'deep.yaml:1:2: expected the name of an option, found a mapping' plan deep.yaml
