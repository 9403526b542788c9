# What could not be printed is a failure.
command="help >/dev/full"
if [ -c /dev/full ]; then
    "$awqc" help >/dev/full 2>"$top/err"
    code=$?
    [ "$code" = 1 ] || fail "expected exit code 1"
    err_is "awqc: error: standard output: No space left on device"
fi
command="help >&-"
"$awqc" help >&- 2>"$top/err"
code=$?
[ "$code" = 1 ] || fail "expected exit code 1"
err_is "awqc: error: standard output: Bad file descriptor"
