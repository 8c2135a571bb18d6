# check_docs.py must see each link and each promise that leads nowhere, and nothing else.
. "$(dirname "$0")/lib.sh"

plant docs/maths.md <<'END'
[home](../README.md), [a folder](../tests/ops), [the net](https://example.org/none), [below](#below)
END
plant README.md <<'END'
[maths](docs/maths.md#below)
END
plant include/kl.h <<'END'
/** Fine.  [T: name] is how a promise looks.  [T: ops/kda, ops/kda_golden]  Source: docs/maths.md. */
END
plant tests/ops/case_kda.c </dev/null
plant tests/golden/run_kda.c </dev/null
expect_fine "$tools/check_docs.py" "$tree"

plant docs/lost.md <<'END'
[one](none.md) and [two](maths.md)
END
plant src/lost.c <<'END'
/* Explained in docs/none.md. */
END
plant include/promise.h <<'END'
/** [T: ops/kda, ops/nobody]
 *  [T: ops/nobody_golden] */
END
expect_caught "$tools/check_docs.py" "$tree" <<'END'
docs/lost.md:1: leads nowhere: none.md
include/promise.h:1: no test is called ops/nobody
include/promise.h:2: no test is called ops/nobody_golden
src/lost.c:1: there is no docs/none.md
END
