# Within any limit of its address space awqc works, or says what is needed; it never waits for memory
# that does not come.
if grep -qa -e __asan_init -e __tsan_init "$awqc"; then
    echo "skipped: sanitizers need all addresses"
    exit 0
fi
write_recipe

# limited KIB ARGUMENT...: ends by itself, or the test does.
limited() {
    limit=$1
    shift
    command="$* (ulimit -v $limit, ${LD_LIBRARY_PATH:-usual libraries})"
    (
        ulimit -v "$limit"
        exec timeout -s KILL 120 "$awqc" "$@" >"$top/out" 2>"$top/err" </dev/null
    )
    code=$?
}

# The last number on standard error after the text.
figure() { sed -n "s/.*$1 \([0-9]*\) kB.*/\1/p" "$top/err" | tail -n 1; }

try_limits() {
    for limit in 50000 70000 100000 130000 200000 240000 400000 600000; do
        limited $limit --version
        case $code in
        0) out_like '^products: ' ;;
        1) err_like "in which OpenBLAS cannot be loaded: at least\|cannot start again with OPENBLAS_NUM" ;;
        127) err_has "failed to map segment" ;; # the system's loader
        *) fail "expected the version or why not" ;;
        esac
        rm -rf out out.partial
        limited $limit quantize recipe.yaml --quiet
        case $code in
        0) [ -e out/model.safetensors ] || fail "expected a result" ;;
        1) err_like "at least [0-9]* kB are needed\|OpenBLAS cannot be loaded: at least\|out of memory\|cannot start again" ;;
        127) err_has "failed to map segment" ;;
        *) fail "expected a result or why not" ;;
        esac
    done
}

try_limits
# What is said to be enough is enough.
limited 100000 quantize recipe.yaml --quiet
[ "$code" = 1 ] || fail "expected a refusal"
enough=$(figure "at least")
rm -rf out
limited "$enough" quantize recipe.yaml --quiet
[ "$code" = 0 ] || fail "expected that $enough kB are enough"
# As many threads as there is room for, with what they need beside.
for limit in 300000 600000 1000000 1400000 1800000 2300000 2600000 3000000 3400000 3800000; do
    rm -rf out out.partial
    limited $limit quantize recipe.yaml --quiet --threads 16
    [ "$code" = 0 ] || fail "expected a result"
done
# There is nothing to wait for at the end either.
limited 70000 help
[ "$code" = 0 ] || fail "expected help"

for openmp in /usr/lib/*/openblas-openmp; do
    [ -e "$openmp" ] || continue
    export LD_LIBRARY_PATH="$openmp"
    try_limits
done
