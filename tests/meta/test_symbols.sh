# check_symbols.sh must see each planted symbol, and nothing else.
. "$(dirname "$0")/lib.sh"
cc=${CC:-cc}

build() { # SOURCE: as libklinear.so and libklinear.a in $tree/build
    mkdir -p "$tree/build"
    "$cc" -fPIC -fvisibility=hidden -I "$tree/include" -c "$tree/$1" -o "$tree/build/one.o" &&
        "$cc" -shared "$tree/build/one.o" -o "$tree/build/libklinear.so" &&
        rm -f "$tree/build/libklinear.a" && ar rc "$tree/build/libklinear.a" "$tree/build/one.o" || exit 1
}
plant include/klinear/kl.h <<'END'
#define KL_API __attribute__((visibility("default")))
KL_API int kl_declared(int a,
                       int b);
KL_API const char *kl_also_declared(void);
END
plant good.c <<'END'
#include <klinear/kl.h>
KL_API int kl_declared(int a, int b) { return a + b; }
KL_API const char *kl_also_declared(void) { return ""; }
int kl__inside(void);
int kl__inside(void) { return 0; }
END
build good.c
expect_fine "$tools/check_symbols.sh" "$tree/build" "$tree/include"

plant bad.c <<'END'
#include <klinear/kl.h>
#include <stdio.h>
KL_API int kl_declared(int a, int b) { return printf("%d", a + b); }
KL_API int kl_undeclared(void);
KL_API int kl_undeclared(void) { return 0; }
KL_API int kl__inside(void);
KL_API int kl__inside(void) { return 0; }
KL_API int oops(void);
KL_API int oops(void) { return 0; }
int helper(void);
int helper(void) { return 0; }
END
build bad.c
expect_caught "$tools/check_symbols.sh" "$tree/build" "$tree/include" <<'END'
libklinear.so exports kl__inside, which does not begin with kl_
libklinear.so exports oops, which does not begin with kl_
kl_also_declared is declared with KL_API, but libklinear.so does not export it
libklinear.so exports kl_undeclared, which no public header declares
libklinear.a defines helper, which does not begin with kl_
libklinear.a defines oops, which does not begin with kl_
libklinear.so calls printf: a library does not print, exit, or read what it was not given
END
