# Installs into an empty prefix, then builds and runs the example of README.md as a stranger would: through pkg-config,
# shared and static, and through find_package.   usage: test_install.sh BUILD_DIR
set -u
build=${1:?usage: test_install.sh BUILD_DIR}
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-cc}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
    echo "FAILED: $*"
    exit 1
}
expected="1 2
3 4
1.5 2"

cmake --install "$build" --prefix "$scratch/first" >"$scratch/log" || fail "cmake --install: $(cat "$scratch/log")"
prefix=$scratch/home/.local # an installed tree can be moved
mkdir "$scratch/home"
mv "$scratch/first" "$prefix"
lib=$(dirname "$(find "$prefix" -name libklinear.a)")
for file in "$lib/libklinear.so.0" "$lib/pkgconfig/klinear.pc" "$lib/cmake/klinear/klinearConfig.cmake" \
    "$prefix/include/klinear/kl.h" "$prefix/include/klinear/kl_ops.h" "$prefix/include/klinear/kl_train.h"; do
    [ -e "$file" ] || fail "${file#"$prefix"/} was not installed"
done
if [ -e "$prefix/bin/klinear" ]; then
    for file in man/man1/klinear.1 bash-completion/completions/klinear zsh/site-functions/_klinear \
        fish/vendor_completions.d/klinear.fish; do
        grep -q doctor "$prefix/share/$file" || fail "share/$file was not installed, or does not know the program"
    done
    (cd / && "$prefix/bin/klinear" run -n 4 -q -p Once >"$scratch/log" 2>&1) || fail "the model: $(cat "$scratch/log")"
fi
readelf -d "$lib/libklinear.so" | grep -q 'SONAME.*libklinear\.so\.0\]' || fail "the SONAME is not libklinear.so.0"

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$here/../../README.md" >"$scratch/example.c"
[ -s "$scratch/example.c" ] || fail "README.md has no example in C"

expect_run() { # NAME PROGRAM
    local said
    said=$(LD_LIBRARY_PATH=$lib "$2" 2>&1) || fail "$1: exit $?: $said"
    [ "$said" = "$expected" ] || fail "$1 prints: $said"
}

export PKG_CONFIG_PATH=$lib/pkgconfig
pkg() { pkg-config "$@" klinear || fail "pkg-config $*"; }
version=$(sed -n 's/^#define KL_VERSION_[A-Z]* \([0-9]*\)$/\1/p' "$prefix/include/klinear/kl/base.h" | paste -sd.)
[ "$(pkg --modversion)" = "$version" ] || fail "klinear.pc is version $(pkg --modversion), kl/base.h $version"
flags="-std=c11 -Wall -Wextra -Wpedantic -Werror ${KL_CONSUMER_FLAGS:-}"
# shellcheck disable=SC2086,SC2046
"$cc" $flags $(pkg --cflags) "$scratch/example.c" $(pkg --libs) -o "$scratch/shared" || fail "pkg-config, shared"
expect_run "pkg-config, shared" "$scratch/shared"
# shellcheck disable=SC2086,SC2046
"$cc" $flags $(pkg --cflags) "$scratch/example.c" "$lib/libklinear.a" $(pkg --libs --static | sed 's/-lklinear//') \
    -o "$scratch/static" || fail "pkg-config, static"
expect_run "pkg-config, static" "$scratch/static"

# The lines of README.md as they stand, by somebody whose home this is.
if [ "$lib" = "$prefix/lib" ]; then
    lines=$(sed -n 's/^    \(cc example\.c .*\|\.\/example\)$/\1/p' "$here/../../README.md")
    [ "$(wc -l <<<"$lines")" = 2 ] || fail "README.md does not say how to compile and run its example"
    # shellcheck disable=SC2086
    said=$(
        cc() { command "$cc" $flags "$@"; }
        unset PKG_CONFIG_PATH LD_LIBRARY_PATH
        HOME=$scratch/home
        cd "$scratch" && eval "$lines" 2>&1
    ) || fail "README.md: exit $?: $said"
    [ "$said" = "$expected" ] || fail "README.md prints: $said"
fi

cp "$here/CMakeLists.txt" "$scratch/"
cmake -S "$scratch" -B "$scratch/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_C_FLAGS="${KL_CONSUMER_FLAGS:-}" >"$scratch/log" 2>&1 &&
    cmake --build "$scratch/build" >>"$scratch/log" 2>&1 || fail "find_package: $(tail -20 "$scratch/log")"
expect_run "find_package, shared" "$scratch/build/consumer_shared"
expect_run "find_package, static" "$scratch/build/consumer_static"

# Where the sources lie has no say in how they are compiled: not even below folders that are called as rooms of ours.
if [ "$(uname -m)" = x86_64 ]; then
    mkdir -p "$scratch/src/text (c++)/src/text"
    elsewhere="$scratch/src/text (c++)/src/text/tree"
    ln -s "$(cd "$here/../.." && pwd)" "$elsewhere"
    cmake -S "$elsewhere" -B "$scratch/elsewhere" -G Ninja -DCMAKE_C_COMPILER="$cc" -DBUILD_TESTING=OFF \
        >"$scratch/log" 2>&1 || fail "cmake -S $elsewhere: $(tail -20 "$scratch/log")"
    grep -A 4 'l2norm_avx512\.c\.o:' "$scratch/elsewhere/build.ninja" | grep -q 'FLAGS.*-mavx512f' ||
        fail "kernels have lost their flags in $elsewhere"
fi
