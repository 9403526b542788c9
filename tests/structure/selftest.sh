#!/bin/sh
# selftest.sh ROOT CC CXX: the checks beside this file pass on a small tree without fault and fail on
# the same tree with one fault.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cc=$2
cxx=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
status=0

fresh_tree()
{
    rm -rf "$tree"
    mkdir -p "$tree/libawq/include/awq" "$tree/libawq/src/core" "$tree/libawq/src/plan" \
        "$tree/plugins/one" "$tree/cli" "$tree/tests"
    cat >"$tree/libawq/include/awq/types.h" <<'END'
#ifndef AWQ_TYPES_H
#define AWQ_TYPES_H
#ifdef __cplusplus
extern "C" {
#endif
#define AWQ_VERSION_MAJOR 0
#define AWQ_API __attribute__((visibility("default")))
AWQ_API const char *
awq_version(void);
#ifdef __cplusplus
}
#endif
#endif
END
    sed -e 's/TYPES_H/PLUGIN_H/' -e 's/awq_version/awq_other/' -e '/define AWQ_[VA][EP]/d' \
        -e '2a #include "awq/types.h"' "$tree/libawq/include/awq/types.h" \
        >"$tree/libawq/include/awq/plugin.h"
    printf '#include "awq/types.h"\n#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__\n#error\n#endif\n' \
        >"$tree/libawq/src/core/core.h"
    cat >"$tree/libawq/src/core/core.c" <<'END'
#include "core/core.h"
#include "awq/plugin.h"
/* exit(1) in a comment, // and abort() */
const char *awq_version(void) { return "exit(1); printf(\"%d\") // '"; } // exit(1)
const char *awq_other(void) { return 0; }
typedef struct pair { void *a; } pair;
void free(void *);
void awq__pair_free(pair *p)
{
    free(p->a);
    *p = (pair){0};
}
END
    printf '#include "plan/plan.h"\n#include "core/core.h"\nint awq__plan(void) { return !awq_version(); }\n' \
        >"$tree/libawq/src/plan/plan.c"
    : >"$tree/libawq/src/plan/plan.h"
    echo '#include "awq/plugin.h"' >"$tree/plugins/one/one.c"
    printf '#include "awq/types.h"\n#include "cli.h"\n#include <yaml.h>\n' >"$tree/cli/main.c"
    : >"$tree/cli/cli.h"
}

build_library()
{
    "$cc" -shared -fPIC -fvisibility=hidden -Wl,-soname,libawq.so.0 -I"$tree/libawq/include" \
        -I"$tree/libawq/src" "$tree"/libawq/src/*/*.c -o "$work/libawq.so"
}

build_objects()
{
    rm -rf "$work/objects"
    for source in "$tree"/libawq/src/*/*.c; do
        object=$work/objects/src/${source#"$tree/libawq/src/"}.o
        mkdir -p "$(dirname "$object")"
        "$cc" -c -I"$tree/libawq/include" -I"$tree/libawq/src" "$source" -o "$object" || return 1
    done
}

check()
{
    case $1 in
    circles) build_objects && sh "$here/circles.sh" "$work"/objects/src/*/*.o ;;
    headers) sh "$here/headers.sh" "$tree" "$cc" "$cxx" ;;
    symbols) build_library && sh "$here/symbols.sh" "$tree" "$work/libawq.so" ;;
    imports) build_library && sh "$here/calls.sh" "$tree" "$work/libawq.so" ;;
    *) sh "$here/$1.sh" "$tree" ;;
    esac >"$work/output" 2>&1
}

passes()
{
    if ! check "$1"; then
        echo "FAULT: $1 fails on a good tree:"
        cat "$work/output"
        status=1
    fi
}

# catches CHECK FILE TEXT: with TEXT added to FILE, CHECK fails.
catches()
{
    fresh_tree
    printf '%b\n' "$3" >>"$tree/$2"
    if check "$1"; then
        echo "FAULT: $1 does not see '$3' in $2"
        status=1
    fi
}

fresh_tree
for name in layers circles calls headers symbols imports length release unchecked ladders; do
    passes $name
done

catches layers libawq/src/core/core.h '#include "plan/plan.h"'
catches layers libawq/src/core/core.h '#include "core.h"'
catches layers libawq/src/core/core.h '#include "../plan/plan.h"'
catches layers libawq/src/plan/plan.c '#include "quant/quant.h"'
catches layers libawq/src/plan/plan.c '#  include <yaml.h>'
catches layers libawq/src/plan/plan.c '#include <awq/types.h>'
catches layers plugins/one/one.c '#include "awq/types.h"'
catches layers plugins/one/one.c '#include "core/core.h"'
catches layers cli/main.c '#include "core/core.h"'
catches layers libawq/include/awq/types.h '#include "core/core.h"'
catches layers libawq/include/awq/plugin.h '#include "awq/awq.h"'

catches circles libawq/src/core/core.c 'int awq__plan(void);\nint awq__up(void) { return awq__plan(); }'

# Two files of one room that use each other.
fresh_tree
printf 'int awq__two(void);\nint awq__one(void) { return awq__two(); }\n' >"$tree/libawq/src/core/one.c"
printf 'int awq__one(void);\nint awq__two(void) { return awq__one(); }\n' >"$tree/libawq/src/core/two.c"
if check circles; then
    echo "FAULT: circles does not see two files that use each other"
    status=1
fi

catches calls libawq/src/core/core.c 'void f(void) { exit (1); }'
catches calls libawq/src/core/core.c 'void f(void) { /* why */ printf("x"); }'
catches calls libawq/src/core/core.c 'void f(void) { fputs("x",\n stderr); }'
catches calls libawq/src/core/core.c 'char *f(void) { char c = 34; return c ? getenv("HOME") : 0; }'
catches calls libawq/src/core/core.c '#include <assert.h>\nvoid f(int i) { assert(i); }'
catches calls libawq/src/core/core.c 'int f(const awq_recipe *r) { return r != 0; }'
catches imports libawq/src/core/core.c '#include <stdlib.h>\nint awq__f(void) { return !getenv; }\n__attribute__((visibility("default"))) void *awq_f(void) { return (void *)getenv; }'

catches headers libawq/include/awq/types.h 'static inline int f(unsigned u) { return u < -1; }'
catches headers libawq/include/awq/types.h 'static inline char *f(void *p) { char *c = p; return c; }'
catches headers libawq/include/awq/types.h '#include <stdio.h>'
catches headers libawq/include/awq/types.h 'typedef struct awq_x { int y; } awq_x'

fresh_tree
echo '#include "awq/types.h"' >"$tree/libawq/src/core/core.h"
if check headers; then
    echo "FAULT: headers does not see that big-endian processors are not refused"
    status=1
fi

catches symbols libawq/src/core/core.c '__attribute__((visibility("default"))) int other(void) { return 0; }'
catches symbols libawq/src/core/core.c '__attribute__((visibility("default"))) int awq__f(void) { return 0; }'
catches symbols libawq/include/awq/types.h 'AWQ_API int awq_missing(int a,\n int b);'

catches release libawq/src/core/core.c 'static void free_it(it *i)\n{\n    free(i->a);\n}'

catches unchecked libawq/src/core/core.c 'void f(cJSON *o)\n{\n    cJSON_AddNullToObject(o, "a");\n}'
catches ladders libawq/src/core/core.c 'int f(int status)\n{\n    if (status == AWQ_OK)\n        status = g();\n    return status;\n}'
catches ladders libawq/src/core/core.c 'int f(int status)\n{\n    if (a(1) &&\n        status == AWQ_OK) {\n        status = g();\n    }\n}'
catches ladders libawq/src/core/core.c 'int f(int status)\n{\n    for (int i = 0; i < 9 && status == AWQ_OK; i++)\n        status = g(i);\n}'
catches ladders libawq/src/core/core.c 'int f(int status)\n{\n    return status == AWQ_OK ? g() : status;\n}'
catches ladders libawq/src/core/core.c 'int f(int status)\n{\n    if (status != AWQ_OK)\n        return status;\n    return g();\n}'
catches ladders libawq/src/core/core.c 'int f(int status)\n{\n    if ((status = g()) != AWQ_OK)\n        return status;\n    return g();\n}'

catches unchecked libawq/src/core/core.h 'awq_status awq__f(int a);\nstatic void g(int a)\n{\n    if (a)\n        awq__f(a);\n}'

fresh_tree
awk 'BEGIN { for (i = 0; i < 601; i++) print "" }' >"$tree/cli/long.c"
if check length; then
    echo "FAULT: length does not see a file of 601 lines"
    status=1
fi

# harden FLAG...: a program built with these passes hardening.sh.
harden()
{
    "$cc" -O2 -U_FORTIFY_SOURCE "$@" "$work/hard.c" -o "$work/hard" &&
        sh "$here/hardening.sh" "$tree" Release "$work/hard" >"$work/output" 2>&1
}
cat >"$work/hard.c" <<'END'
#include <stdio.h>
int main(int argc, char **argv)
{
    char text[64];
    return sprintf(text, "%s", argv[argc - 1]) + text[argc];
}
END
all="-D_FORTIFY_SOURCE=2 -fstack-protector-strong -Wl,-z,now -Wl,-z,relro -Wl,-z,noexecstack -fPIE -pie"
# shellcheck disable=SC2086 # lists of words
if ! harden $all; then
    echo "FAULT: hardening fails on a hardened program:"
    cat "$work/output"
    status=1
fi
for flag in -U_FORTIFY_SOURCE -fno-stack-protector -Wl,-z,lazy -Wl,-z,norelro -Wl,-z,execstack -no-pie; do
    # shellcheck disable=SC2086
    if harden $all $flag; then
        echo "FAULT: hardening does not see $flag"
        status=1
    fi
done

mkdir -p "$tree/tests/mutants"
echo 'a fault @ libawq @ s/what is nowhere/x/ @ unit.core' >"$tree/tests/mutants/mutants.txt"
if sh "$here/mutants.sh" "$tree" >/dev/null 2>&1; then
    echo "FAULT: mutants does not see a fault that changes nothing"
    status=1
fi
exit $status
