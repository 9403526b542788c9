# Every usage error: its message, exit code 2, and nothing written.
write_recipe

refused 'a command is missing; "awqc help" lists them'
refused 'unknown command "quantise"; did you mean "quantize"?' quantise recipe.yaml
refused 'unknown command "evaluate"; did you mean "eval"?' evaluate out
refused 'unknown option "--verson"; did you mean "--version"?' --verson
refused 'quantize: unknown option "--forse"; did you mean "--force"?' quantize recipe.yaml --forse
refused 'quantize: unknown option "--quite"; did you mean "--quiet"?' quantize recipe.yaml --quite
# What discards something is offered for a slip of the finger alone, and nothing for another word.
for word in --source --for -f --fire --verbose --x --resume; do
    refused "quantize: unknown option \"$word\"; \"awqc help quantize\" lists the options" \
        quantize recipe.yaml $word
done
refused 'unknown option "--everything"; "awqc help" lists the options' --everything
refused 'plan: unknown option "--sett"; did you mean "--set"?' plan recipe.yaml --sett=a=b
refused 'inspect: unknown option "-a"; did you mean "--all"?' inspect -a out
refused 'quantize: RECIPE is missing; usage: awqc quantize RECIPE [OPTIONS]' quantize
refused 'plan: RECIPE is missing; usage: awqc plan RECIPE [OPTIONS]' plan --set model=x
refused 'inspect: DIR is missing; usage: awqc inspect DIR [OPTIONS]' inspect
refused 'eval: DIR is missing; usage: awqc eval DIR [OPTIONS]' eval --json
refused 'quantize: unexpected argument "b"' quantize a b
refused 'quantize: unexpected argument "--force"' quantize recipe.yaml -- --force
refused 'plugins: unexpected argument "x"' plugins x
refused 'quantize: --set needs KEY=VALUE after it' quantize recipe.yaml --set
refused '--plugin-path needs PATH after it' --plugin-path
refused 'quantize: --force takes no value' quantize recipe.yaml --force=yes
refused 'quantize: --threads stands twice' quantize recipe.yaml --threads 1 --threads 2
for number in 0 1025 -1 two 2.0 " 2" "" 99999999999999999999; do
    refused "quantize: --threads \"$number\" is not allowed; allowed is an integer from 1 to 1024" \
        quantize recipe.yaml "--threads=$number"
done
refused 'eval: --text FILE or --ids FILE is missing: what to evaluate on' eval out
refused 'eval: --text and --ids cannot be given together' eval out --text a --ids b
refused 'eval: --window "1" is not allowed; allowed is an integer from 2 to 1048576' \
    eval out --text a --window 1
refused 'eval: --windows "0" is not allowed; allowed is an integer from 1 to 1099511627776' \
    eval out --text a --windows 0

# A recipe that does not say enough.
printf 'output: out\n' >short.yaml
refused 'the recipe does not say model, calibration.data' plan short.yaml
refused 'the recipe does not say model, calibration.data' quantize short.yaml --quiet
refused 'the recipe does not say model' plan short.yaml --set quantize.method=rtn

refused "missing.yaml: No such file or directory" plan missing.yaml
refused ".: Is a directory" plan .
head -c 1048577 /dev/zero | tr '\0' '#' >large.yaml
refused "large.yaml: larger than 1048576 bytes, which no recipe is" plan large.yaml
