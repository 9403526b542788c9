# config.json is read as JSON and written as JSON. What Python writes beyond it stays as it is spelled.
write_recipe
mkdir m
cp "$data"/* m
python=$(command -v python3 || true)
# with MEMBER: config.json with one member more, at the end.
with() {
    sed '$d' "$data/config.json" >m/config.json
    # shellcheck disable=SC2059 # escapes are meant
    printf ",$1}\n" >>m/config.json
}
with '"a":NaN, "b":[Infinity,-Infinity], "c":0.0, "d":"\\u00e9"'
expect 0 quantize recipe.yaml --quiet --set model=m --set quantize.method=rtn
grep -qF '"a":NaN, "b":[Infinity,-Infinity], "c":0.0, "d":"\u00e9"' out/config.json ||
    fail "config.json is not spelled as it was: $(cat out/config.json)"
for name in config.json awq_provenance.json awq_report.json; do
    [ -z "$python" ] || "$python" -c 'import json,sys; json.load(open(sys.argv[1]))' "out/$name" ||
        fail "$name is no JSON"
done
rm -r out

# What Python does not read is refused before anything is done, with the place.
for member in '"zz":\010\011"BF16"\010\010' '"zz":\014"x"' '"zz":"\377\376"' '"zz":"a\011b"' '"zz":nan'; do
    with "$member"
    expect 1 quantize recipe.yaml --quiet --set model=m
    err_like '^awqc: error: m/config\.json:[0-9]*:[0-9]*: not valid JSON: .* stands '
    [ ! -e out ] && [ ! -e out.partial ] || fail "a refused run left something"
done
with '"model_type":"mix\\u0000tral"'
expect 1 inspect m
err_like '^awqc: error: m/config\.json:[0-9]*:[0-9]*: .u0000'
{ printf '\357\273\277'; cat "$data/config.json"; } >m/config.json
for words in 'inspect m' 'quantize recipe.yaml --quiet --set model=m'; do
    # shellcheck disable=SC2086 # words of a command
    expect 1 $words
    err_is "awqc: error: m/config.json:1:1: not valid JSON: begins with a byte order mark; save it as UTF-8 without one"
done
