# Relative paths in a recipe are taken from its directory, wherever awqc is started.
mkdir -p models/a deep/er
cp "$data"/* models/a
cat >deep/recipe.yaml <<END
model: ../models/a/
output: ./er/out
calibration:
  data: ["../models/a/calib.jsonl"]
END
expect 0 plan deep/recipe.yaml
out_like '^model  *deep/../models/a$'
out_like '^output  *deep/er/out$'
cd deep || exit 1
expect 0 plan recipe.yaml
out_like '^model  *../models/a$'
out_like '^output  *er/out$'
