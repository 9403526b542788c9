# What can compute is listed, refused with a reason, and chosen by its id.
devices=$AWQC_TEST_SUPPORT/../devices

expect 0 devices
err_is ""
out_like "^id  *name  *memory  *computes with"
out_like "^cpu  *[0-9]* threads  *-  *OpenBLAS"

expect 0 devices --plugin-path "$devices"
out_like "^fake:0  *loops 0  *8.59 GB, 4.29 GB free  *no capability, loops"
out_like "^fake:1  *loops 1 "
expect 0 --version --plugin-path "$devices"
out_like "^device: fake:0, loops 0 (no capability, loops)"

expect 0 devices --plugin-path "$devices/bad"
out_like "^refused  *.*awq-compute-other_version.so: built for libawq 0.0.1, expected"
out_like "^refused  *.*awq-compute-no_driver.so: no driver: libfault.so.1 was not found"
out_like "^refused  *fault:0 of .*: capability 3.5, expected 8.0 or more"

# A recipe's device and --device, which holds over it.
cat >recipe.yaml <<END
model: $data
output: out
device: fake
quantize:
  method: rtn
END
expect 0 quantize recipe.yaml --quiet --plugin-path "$devices"
grep -q '"device":.*"fake:0, loops 0"' out/awq_report.json || fail "the report names no device"
grep -q '"device":.*"fake:0, loops 0"' out/awq_provenance.json || fail "nor does the provenance"
expect 0 quantize recipe.yaml --quiet --force --device cpu
! grep -q '"device"' out/awq_report.json || fail "the report names a device"
expect 0 plan recipe.yaml --plugin-path "$devices"
out_like "^device  *fake:0, loops 0; about "
expect 0 plan recipe.yaml --device cpu
! grep -q "^device" "$top/out" || fail "a plan for the processor names a device"
expect 1 plan recipe.yaml
err_has "device fake: no awq-compute-fake.so that works is in the"
expect 1 quantize recipe.yaml --force --device fake:1 --plugin-path "$devices"
err_has "device fake:1: loops 1 is in use by another process"
expect 2 quantize recipe.yaml --force --device GPU
err_has 'device: "GPU", expected auto, cpu, or a kind of device as cuda, also with its number'
expect 0 eval "$data" --text "$data/eval.txt" --windows 2 --quiet --device fake --plugin-path "$devices"
