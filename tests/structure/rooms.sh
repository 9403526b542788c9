# The rooms of libawq/src and their floors: each uses those on lower floors alone. To be sourced.
# shellcheck disable=SC2034
rooms="core:0 checkpoint:1 compute:1 text:2 arch:2 plan:3 forward:4 quant:5 format:5 backend:6 model:7 \
stream:8 write:8 layer:9 page:9 run:10 tensor:10"
