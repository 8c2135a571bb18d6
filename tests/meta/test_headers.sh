# check_headers.sh must refuse a header that needs another one, and one that C++ cannot read.
. "$(dirname "$0")/lib.sh"

plant include/klinear/kl.h <<'END'
#include <stdint.h>
int32_t kl_fine(void);
END
expect_fine "$tools/check_headers.sh" "$tree/include"

only_complaints() { "$tools/check_headers.sh" "$tree/include" 2>/dev/null; }
caught() { # HEADER LANGUAGES...: named for every compiler found of those languages
    local header=$1 standard compiler
    shift
    only_complaints | grep -v "klinear/$header " && { echo "FAILED: complaints about another header"; exit 1; }
    for standard in "$@"; do
        for compiler in $([ "$standard" = c11 ] && echo gcc clang || echo g++ clang++); do
            command -v "$compiler" >/dev/null || continue
            only_complaints | grep -qx "klinear/$header does not compile alone with $compiler as $standard" ||
                { echo "FAILED: $header is accepted by $compiler as $standard"; exit 1; }
        done
    done
    rm "$tree/include/klinear/$header"
}
plant include/klinear/needs.h <<'END'
int32_t kl_needs_stdint(void);
END
caught needs.h c11 c++17
plant include/klinear/keyword.h <<'END'
int kl_make(int new);
END
caught keyword.h c++17
plant include/klinear/semicolon.h <<'END'
int kl_twice(void);;
END
caught semicolon.h c11
plant include/klinear/nameless.h <<'END'
struct kl_nameless { struct { int a; }; };
END
caught nameless.h c++17
