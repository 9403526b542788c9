# The rooms of libawq/src and their floors: each uses those on lower floors alone. To be sourced.
# shellcheck disable=SC2034
rooms="core:0 checkpoint:1 compute:1 text:2 arch:2 plan:3 forward:4 quant:5 format:5 model:6 \
stream:7 write:7 layer:8 run:9 tensor:9"
