#!/bin/sh
# page.sh AWQC PLUGIN_DIR SOURCE_DIR [PICTURES]: the page of a result in a real browser. Nothing is
# logged to its console, every number of awq_report.json's evaluation is in the document, and nothing
# is wider than a phone but what scrolls by itself. PICTURES: a directory for screenshots at three
# widths. Exit code 77 without chromium, which skips the test.
set -eu
awqc=$1 plugins=$2 source=$3 pictures=${4:-}
export AWQ_PLUGIN_PATH="$plugins"
browser=$(command -v chromium || command -v chromium-browser || true)
[ -n "$browser" ] || { echo "no chromium: skipped"; exit 77; }

top=$(mktemp -d "${TMPDIR:-/tmp}/awqc-page.XXXXXX")
trap 'rm -rf "$top"' EXIT
cd "$top"
data=$source/tests/data/qwen2_moe-tiny
cat >recipe.yaml <<END
model: $data
output: out
calibration:
  data: $data/calib.jsonl
  samples: 4
  sequence_length: 128
quantize:
  ratio_steps: 4
evaluation:
  data: $data/eval.txt
  sequence_length: 64
  windows: 6
END
"$awqc" quantize recipe.yaml --quiet >/dev/null 2>&1
"$awqc" report out --beside out --output two.html >/dev/null

# The browser's own complaints of a machine without a desktop do not count, those of the page do.
# open PAGE WIDTH OPTION...: its console goes to "log".
open_page() {
    page=$1 width=$2
    shift 2
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
        --user-data-dir="$top/profile" --enable-logging=stderr --log-level=0 --hide-scrollbars \
        --window-size="$width,2400" "$@" "file://$top/$page" 2>log
    ! grep 'CONSOLE' log || { echo "the console of $page is not empty"; exit 1; }
}

for page in out/awq_report.html two.html; do
    open_page $page 1280 --dump-dom >dom
    grep -q '</html>' dom || { echo "$page was not loaded"; cat log; exit 1; }
    for key in perplexity reference_perplexity kl top1_agreement router_topk_agreement \
        bytes_before bytes_after calibration_tokens; do
        value=$(sed -n "s/.*\"$key\":[[:space:]]*\([0-9.e+-]*\).*/\1/p" out/awq_report.json)
        [ -n "$value" ] || { echo "no $key in the report"; exit 1; }
        awk -v value="$value" -v RS='<data value="' 'NR > 1 { sub(/".*/, ""); found += $0 + 0 == value + 0 }
            END { exit !found }' dom || { echo "$key $value is not in $page"; exit 1; }
    done
done

# The page measures itself: a copy with a script that writes the width of its content to the title.
for width in 360 800 1280; do
    sed 's|</body>|<script>document.title = document.documentElement.scrollWidth</script></body>|' \
        two.html >measured.html
    open_page measured.html $width --dump-dom >dom
    wide=$(sed -n 's|.*<title>\([0-9]*\)</title>.*|\1|p' dom)
    # Chromium's windows are at least 500 wide.
    [ "$wide" -le $((width > 500 ? width : 500)) ] || { echo "$wide wide in a window of $width"; exit 1; }
    [ -z "$pictures" ] || open_page two.html $width --screenshot="$pictures/page-$width.png"
done
echo "the page is as its report"
