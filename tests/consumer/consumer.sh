#!/bin/sh
# consumer.sh ROOT BUILD CMAKE GENERATOR CC LIBDIR FLAGS: installs BUILD to one prefix, moves that to another,
# and uses it there as a stranger would: awqc, a project with find_package(awq), a compiler with
# pkg-config, and a plugin built outside the tree. FLAGS go to the compiler (sanitizers).
set -eu
root=$1 build=$2 cmake=$3 generator=$4 cc=$5 libdir=$6 flags=$7
here=$root/tests/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/moved
unset DESTDIR AWQ_PLUGIN_PATH LD_LIBRARY_PATH PKG_CONFIG_PATH CMAKE_PREFIX_PATH

step()
{
    echo "== $1"
}

fail()
{
    echo "consumer.sh: $1"
    exit 1
}

has_plugin() # PROGRAM...: its output names the plugin
{
    "$@" >"$work/plugins" || fail "$1 failed"
    cat "$work/plugins"
    grep -q mixtral "$work/plugins" || fail "$1 does not find the plugin mixtral"
}

step "install, and move away"
"$cmake" --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$prefix"

step "nothing installed knows the source or the build directory, or the first prefix"
for path in "$build" "$root/libawq" "$work/first"; do
    if grep -rlIF "$path" "$prefix"; then
        fail "the files above contain $path"
    fi
done
for file in "$prefix"/bin/awqc "$prefix/$libdir"/libawq.so "$prefix/$libdir"/awq/*.so; do
    rpath=$(readelf -d "$file" | sed -n 's/.*(R[UN]*PATH).*\[\(.*\)\]/\1/p')
    case $rpath in
    "" | "\$ORIGIN"*) ;;
    *) fail "$file has run path $rpath" ;;
    esac
done

step "awqc"
"$prefix/bin/awqc" --version
has_plugin "$prefix/bin/awqc" plugins
for file in share/man/man1/awqc.1 share/awq/configs/demo.yaml; do
    [ -s "$prefix/$file" ] || fail "$file is not installed"
done

step "find_package(awq)"
"$cmake" -G "$generator" -S "$here/project" -B "$work/by-cmake" -D CMAKE_PREFIX_PATH="$prefix" \
    -D CMAKE_C_COMPILER="$cc" -D CMAKE_C_FLAGS="$flags" \
    -D PLUGIN_SOURCE="$root/plugins/mixtral/mixtral.c" >"$work/log" || { cat "$work/log"; exit 1; }
"$cmake" --build "$work/by-cmake" >"$work/log" || { cat "$work/log"; exit 1; }
has_plugin "$work/by-cmake/consumer"
has_plugin "$work/by-cmake/consumer-static"
readelf -d "$work/by-cmake/consumer-static" | grep -q 'libawq' && fail "the static program needs libawq.so"

step "pkg-config awq"
PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046,SC2086 # lists of flags
"$cc" -std=c11 $flags -DPLUGIN_DIR="\"$(pkg-config --variable=plugindir awq)\"" \
    "$here/project/consumer.c" $(pkg-config --cflags --libs awq) -o "$work/by-pkg-config"
LD_LIBRARY_PATH="$prefix/$libdir"
export LD_LIBRARY_PATH
has_plugin "$work/by-pkg-config"
unset LD_LIBRARY_PATH

step "pkg-config --static awq"
mkdir "$work/static"
cp "$prefix/$libdir/libawq.a" "$work/static"
# shellcheck disable=SC2046,SC2086 # lists of flags; the directory with libawq.a alone comes first
"$cc" -std=c11 $flags -DPLUGIN_DIR="\"$(pkg-config --variable=plugindir awq)\"" \
    "$here/project/consumer.c" $(pkg-config --cflags awq) -L"$work/static" \
    $(pkg-config --static --libs awq) -o "$work/by-static"
has_plugin "$work/by-static"

step "a plugin built outside the tree"
rm "$prefix/$libdir"/awq/awq-arch-*.so
AWQ_PLUGIN_PATH=$work/by-cmake
export AWQ_PLUGIN_PATH
has_plugin "$prefix/bin/awqc" plugins
