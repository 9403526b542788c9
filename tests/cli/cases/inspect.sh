# The modules of a checkpoint.
expect 0 inspect "$data"
err_is ""
out_as inspect.txt
expect 0 inspect "$data" --all
out_like '^model\.layers\.1\.block_sparse_moe\.experts\.3\.w2  *expert  *1  *128 x 256  *BF16  *16\.00  *65\.54 kB$'
[ "$(grep -c '^model\.layers\.[01]\.block_sparse_moe\.experts\.[0-3]\.w[123] ' "$top/out")" = 24 ] ||
    fail "not every expert is listed"
expect 0 inspect "$data" --plugin mixtral
out_as inspect.txt
expect 1 inspect "$data" --plugin other
err_has 'other'
