#!/usr/bin/env bash
# Each public header compiles alone, as C11 and as C++17, with every compiler found.
# usage: tools/check_headers.sh [INCLUDE_DIR]
set -u
include=${1:-$(dirname "$0")/../include}
failed=0 n_try=0
try() { # LANGUAGE STANDARD COMPILER NAME
    n_try=$((n_try + 1))
    echo "#include <$4>" | "$3" -x "$1" -std="$2" -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$include" - ||
        { echo "$4 does not compile alone with $3 as $2"; failed=1; }
}
for header in "$include"/klinear/*.h "$include"/klinear/*/*.h; do
    [ -e "$header" ] || continue
    header=${header#"$include"/}
    for compiler in gcc clang; do
        command -v $compiler >/dev/null && try c c11 $compiler "$header"
    done
    for compiler in g++ clang++; do
        command -v $compiler >/dev/null && try c++ c++17 $compiler "$header"
    done
done
[ $n_try -gt 0 ] || { echo "no compiler found"; exit 2; }
[ $failed = 0 ] && echo "headers: fine, $n_try compilations"
exit $failed
