# Where OpenBLAS does not know the processor and takes kernels for an old one, awqc starts again with
# those that fit, once. OpenBLAS is made to say so by what is preloaded.
if ! grep -q ' avx2 .*' /proc/cpuinfo; then
    echo "skipped: this processor is an old one"
    exit 0
fi
unset OPENBLAS_CORETYPE
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0"
old_core=$AWQC_TEST_SUPPORT/libold_core.so
[ -e "$old_core" ] || fail "there is no $old_core"
write_recipe

again="does not know this processor and took kernels for Prescott; starting again with those for"
slow="does not know this processor and computes with kernels for Prescott: with OPENBLAS_CORETYPE="
lines() { grep -cF -e "$1" "$top/err" || true; }

# "NAME=VALUE ..." for the program alone, then its arguments.
with() {
    environment=$1
    shift
    command="($environment) $*"
    # shellcheck disable=SC2086 # words
    env LD_PRELOAD="$old_core" $environment "$awqc" "$@" >"$top/out" 2>"$top/err" </dev/null
    code=$?
}

with "" quantize recipe.yaml
[ "$code" = 0 ] || fail "expected success"
[ "$(lines "$again")" = 1 ] || fail "expected that it starts again once and says so"
[ "$(lines warning:)" = 0 ] || fail "expected kernels that fit"

with "" quantize recipe.yaml --force --quiet
[ "$code" = 0 ] || fail "expected success"
[ ! -s "$top/err" ] || fail "expected nothing on standard error"

# Chosen by the user: left alone, with a warning.
with "OPENBLAS_CORETYPE=Prescott OLD_CORE_ALWAYS=1" quantize recipe.yaml --force
[ "$code" = 0 ] || fail "expected success"
[ "$(lines "$again")" = 0 ] || fail "expected that the user's choice stays"
[ "$(lines "$slow")" = 1 ] || fail "expected one warning"

# Where that does not help, it goes on.
with "OLD_CORE_ALWAYS=1" quantize recipe.yaml --force
[ "$code" = 0 ] || fail "expected success"
[ "$(lines "$again")" = 1 ] || fail "expected that it starts again once"
[ "$(lines "$slow")" = 1 ] || fail "expected one warning"

# Where it cannot, results would be of other kernels: an error, also when nothing else is said.
with "OLD_CORE_STAYS=1" quantize recipe.yaml --force --quiet
[ "$code" = 1 ] || fail "expected an error"
[ "$(lines "error: cannot start again with kernels for this processor: Cannot allocate memory")" = 1 ] ||
    fail "expected the reason"

# What does not compute does not start again, and the version tells.
with "" inspect "$data"
[ "$code" = 0 ] && [ ! -s "$top/err" ] || fail "expected nothing but the model"
with "" --version
out_like "kernels for Prescott$"
out_like "^kernels that fit this processor: OPENBLAS_CORETYPE=[A-Z]"
