#!/usr/bin/env bash
# The plain C library compiles for aarch64, and runs there: builds library and program with the cross compiler
# and, where qemu-aarch64 is installed, runs the example of README.md.
# usage: tools/check_cross.sh [BUILD_DIR]     needs: apt-get install gcc-aarch64-linux-gnu [qemu-user]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/aarch64}
compiler=aarch64-linux-gnu-gcc
command -v $compiler >/dev/null || { echo "install gcc-aarch64-linux-gnu first" >&2; exit 2; }
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux \
    -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=$compiler -DKLINEAR_WITH_JANSSON=OFF -DBUILD_TESTING=OFF
cmake --build "$build"
for object in libklinear.so klinear; do
    [ ! -e "$build/$object" ] || file "$build/$object" 2>/dev/null | grep -q 'ARM aarch64' ||
        readelf -h "$build/$object" | grep -q AArch64
done
if command -v qemu-aarch64 >/dev/null; then
    awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$build/example.c"
    $compiler -std=c11 -Iinclude "$build/example.c" "$build/libklinear.a" -lm -pthread -static -o "$build/example"
    [ "$(qemu-aarch64 "$build/example")" = "$(printf '1 2\n3 4\n1.5 2')" ]
    echo "aarch64: builds, and the example of README.md runs"
else
    echo "aarch64: builds"
fi
