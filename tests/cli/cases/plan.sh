# What would be done, to the byte, and that nothing is.
write_recipe
expect 0 plan recipe.yaml
err_is ""
out_as plan.txt
out_like '^peak memory  *up to [0-9.]* MB; at least [0-9.]* MB, allowed [0-9.]* [MGT]B by .*$'
out_like '^time  *about [0-9].*, without evaluation$'
out_like '^assumed  *512 calibration tokens, [0-9.e-]* TFLOP of products at [0-9]* GFLOP/s on [0-9]* threads$'
out_like '^  *weights read at [0-9.]* [kMG]B/s$'
expect 0 plan recipe.yaml --set quantize.method=rtn --set quantize.group_size=32 \
    --set quantize.symmetric=true --set 'quantize.modules=["*.layers.1.*.experts.*"]'
out_as plan_rtn.txt
[ "$(ls)" = recipe.yaml ] || fail "plan wrote something"

# A warning is part of the plan, and is on standard error of the run.
expect 0 plan recipe.yaml --set 'quantize.modules=["*.experts.*", "*.mlp.*"]'
out_like '^warning  *quantize.modules: "\*\.mlp\.\*" matches no module'
expect 0 quantize recipe.yaml --quiet --set quantize.method=rtn \
    --set 'quantize.modules=["*.experts.*", "*.mlp.*"]'
err_like '^awqc: warning: quantize.modules: "\*\.mlp\.\*" matches no module'

# A recipe that the model contradicts.
refused 'quantize.modules: "*.gate" matches only what is never quantized: model.layers.0.block_sparse_moe.gate (router)' \
    plan recipe.yaml --set 'quantize.modules=*.gate'

# Experts that see few tokens.
expect 0 plan recipe.yaml --set calibration.samples=1 --set calibration.sequence_length=16
out_like '^warning  *calibration: of 16 tokens an expert of layer 0 sees 8 in the mean, fewer than .* 128: most borrow those of others; 16 samples would do$'
