#!/usr/bin/env bash
# What the library shows to the linker.   usage: tools/check_symbols.sh BUILD_DIR [INCLUDE_DIR]
#   - libklinear.so exports kl_* and nothing else: exactly the functions that the headers declare with KL_API;
#   - libklinear.a defines only kl_* and kl__* where a program's own names could collide;
#   - the library calls nothing that prints, exits, or keeps state behind the caller's back.
set -u
build=${1:?usage: check_symbols.sh BUILD_DIR [INCLUDE_DIR]}
include=${2:-$(dirname "$0")/../include}
so=$build/libklinear.so archive=$build/libklinear.a
failed=0
report() {
    echo "$*"
    failed=1
}

declared() {
    # The last identifier before the first parenthesis of each KL_API declaration.
    find "$include" -name '*.h' -exec grep -hv '^#' {} + | tr '\n' ' ' | grep -oE 'KL_API [^;(]*\(' |
        grep -oE '[A-Za-z_0-9]+ *\($' |
        tr -d ' (' | sort -u
}
exported() {
    nm -D --defined-only "$so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u
}

[ -e "$so" ] && [ -e "$archive" ] || { echo "$build has no libklinear.so and libklinear.a"; exit 2; }
[ -n "$(declared)" ] || report "no KL_API declaration found below $include"
for name in $(exported | grep -vE '^kl_[^_]'); do
    report "libklinear.so exports $name, which does not begin with kl_"
done
for name in $(comm -13 <(exported) <(declared)); do
    report "$name is declared with KL_API, but libklinear.so does not export it"
done
for name in $(comm -23 <(exported | grep -E '^kl_[^_]') <(declared)); do
    report "libklinear.so exports $name, which no public header declares"
done
for name in $(nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u | grep -vE '^kl_'); do
    report "libklinear.a defines $name, which does not begin with kl_"
done
for name in exit _exit quick_exit printf vprintf fprintf vfprintf puts putchar fputs fputc perror stdout stderr signal \
    sigaction rand srand setlocale strtok getenv; do
    if nm -D --undefined-only "$so" | awk '{ sub(/@.*/, "", $NF); print $NF }' | grep -qx "$name"; then
        report "libklinear.so calls $name: a library does not print, exit, or read what it was not given"
    fi
done
[ $failed = 0 ] && echo "symbols: fine, $(exported | wc -l) exported"
exit $failed
