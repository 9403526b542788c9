# Program, library and plugins work from wherever their tree is moved to.
unset AWQ_PLUGIN_PATH
build=$(dirname "$(dirname "$awqc")")
library=$(dirname "$plugins")
moved=$top/work/moved
mkdir -p "$moved/$(basename "$(dirname "$awqc")")" "$moved/${library#"$build"/}/awq"
cp "$awqc" "$moved/$(basename "$(dirname "$awqc")")/awqc"
cp -P "$library"/libawq.so* "$moved/${library#"$build"/}"
cp "$plugins"/awq-arch-mixtral.so "$moved/${library#"$build"/}/awq"
awqc=$moved/$(basename "$(dirname "$awqc")")/awqc
expect 0 plugins
out_has "$moved/${library#"$build"/}/awq/awq-arch-mixtral.so"
