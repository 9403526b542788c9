# The limit of a memory cgroup is found, refused where the run has no room, and enough where it is said
# to be.
if grep -qa -e __asan_init -e __tsan_init "$awqc"; then
    echo "skipped: sanitizers need more memory"
    exit 0
fi
group=
for place in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    mkdir "$place/awqc-test.$$" 2>/dev/null || continue
    group=$place/awqc-test.$$
    for file in memory.limit_in_bytes memory.max; do
        [ -w "$group/$file" ] && limit=$group/$file
    done
    [ -n "${limit:-}" ] && break
    rmdir "$group"
    group=
done
[ -n "$group" ] || { echo "skipped: memory cgroups cannot be made here"; exit 0; }
trap 'rmdir "$group"; rm -rf "$top"' EXIT

# within BYTES ARGUMENT...: runs awqc in the group.
within() {
    echo "$1" >"$limit" || exit 1
    shift
    command="$* (in a memory cgroup)"
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$awqc" "$@" \
        >"$top/out" 2>"$top/err" </dev/null
    code=$?
}

write_recipe
expect 0 quantize recipe.yaml --quiet
mv out whole
within 20000000 plan recipe.yaml
[ "$code" = 1 ] || fail "expected a refusal"
within 20000000 quantize recipe.yaml --quiet
[ "$code" = 1 ] || fail "expected a refusal"
err_like "this run needs [0-9]* MB of memory, but memory\.[a-z_]* of the memory cgroup /.* is 2[0-9.]* MB"
[ ! -e out ] && [ ! -e out.partial ] || fail "something is left"
enough=$(sed -n 's/.*this run needs \([0-9]*\) MB.*/\1/p' "$top/err")
within "${enough}000000" plan recipe.yaml
[ "$code" = 0 ] || fail "expected that $enough MB are enough"
within "${enough}000000" quantize recipe.yaml --quiet
[ "$code" = 0 ] || fail "expected that $enough MB are enough"
cmp -s out/model.safetensors whole/model.safetensors || fail "the result depends on the limit"

# An evaluation by itself is no other.
evaluate="eval out --reference $data --text $data/eval.txt --windows 2 --json --quiet"
# shellcheck disable=SC2086 # words, here and below
expect 0 $evaluate
mv "$top/out" ../unlimited
within 20000000 $evaluate
[ "$code" = 1 ] || fail "expected a refusal"
err_like "this run needs [0-9]* MB of memory, but memory\.[a-z_]* of the memory cgroup /.* is 2[0-9.]* MB"
enough=$(sed -n 's/.*this run needs \([0-9]*\) MB.*/\1/p' "$top/err")
within "${enough}000000" $evaluate
[ "$code" = 0 ] || fail "expected that $enough MB are enough"
cmp -s "$top/out" ../unlimited || fail "the evaluation depends on the limit"
