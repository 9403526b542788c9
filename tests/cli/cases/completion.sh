# Completions know the commands, their options, and the options of recipes.
expect 0 completion bash
cp "$top/out" awqc.bash
if command -v bash >/dev/null; then
    complete_with() {
        wanted=$1
        shift
        found=$(bash -c '. ./awqc.bash; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _awqc
            echo "${COMPREPLY[*]}"' _ "$@") || fail "bash failed"
        [ "$found" = "$wanted" ] || fail "expected completions of \"$*\": $wanted, found: $found"
    }
    complete_with 'plan plugins' awqc pl
    complete_with '--reference' awqc eval DIR --re
    complete_with '--force' awqc quantize recipe.yaml --fo
    complete_with 'quantize.group_size=' awqc plan recipe.yaml --set quantize.gr
    complete_with '' awqc quantize reci
fi
expect 0 completion zsh
cp "$top/out" _awqc
for part in '#compdef awqc' "'verify:Check" "'--reference\[Compare" 'quantize.group_size='; do
    grep -q -e "$part" _awqc || fail "not in the completion of zsh: $part"
done
! command -v zsh >/dev/null || zsh -n _awqc || fail "zsh does not read it"
refused 'completion: unknown shell "fish"; known are bash and zsh' completion fish
