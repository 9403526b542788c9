version=$(sed -n 's/^#define AWQ_VERSION_STRING "\(.*\)"/\1/p' "$source/libawq/include/awq/types.h")
expect 0 --version
out_is "awqc $version"
expect 0 plan --version
out_is "awqc $version"
