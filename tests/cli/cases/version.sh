version=$(sed -n 's/^#define AWQ_VERSION_STRING "\(.*\)"/\1/p' "$source/libawq/include/awq/types.h")
for arguments in --version "plan --version"; do
    # shellcheck disable=SC2086 # words
    expect 0 $arguments
    [ "$(head -n 1 "$top/out")" = "awqc $version" ] || fail "expected awqc $version"
    # What computes: library, how it would use threads, kernels, and the loops beside.
    out_like '^products: OpenBLAS [0-9.]* ([A-Za-z ]*), kernels for [A-Za-z0-9_]*$'
    out_like '^loops: cpu'
done
