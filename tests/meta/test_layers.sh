# check_layers.py must see each planted include, and nothing else.
. "$(dirname "$0")/lib.sh"

plant src/LAYERS <<'END'
base
tensor  base          # a comment
cpu     base tensor
model   base tensor
END
plant include/klinear/kl.h </dev/null
plant src/base/error.h </dev/null
plant src/tensor/tensor.h </dev/null
plant src/model/step.h </dev/null
plant src/cpu/good.c <<'END'
#include "base/error.h"
#include "klinear/kl.h"
#include "tensor/tensor.h"
#include <stdio.h>
END
plant apps/klinear/verb.h </dev/null
plant apps/klinear/good.c <<'END'
#include "verb.h"
#include "base/error.h"
END
plant apps/klinear/LAYERS <<'END'
cli
talk    cli
END
plant apps/klinear/cli/amount.h </dev/null
plant apps/klinear/talk/talk.c <<'END'
#include "../cli/amount.h"
#include "base/error.h"
END
expect_fine "$tools/check_layers.py" "$tree"

plant src/cpu/oops.c <<'END'
#include "base/error.h"
#include "model/step.h"
END
plant src/base/upwards.h <<'END'
# include "tensor/tensor.h"
END
plant src/base/sideways.c <<'END'
#include "../model/step.h"
END
plant src/tensor/outside.c <<'END'
#include "support/kt.h"
END
plant apps/klinear/oops.c <<'END'
#include "verb.h"
#include "model/step.h"
END
plant apps/klinear/cli/upwards.c <<'END'
#include "amount.h"
#include "../talk/talk.c"
END
plant apps/klinear/extra/extra.c </dev/null
plant include/klinear/oops.h <<'END'
#include "base/error.h"
END
plant src/attic/old.c </dev/null
plant src/LAYERS <<'END'
base    cpu
tensor  base
cpu     base tensor
model   base tensor
END
expect_caught "$tools/check_layers.py" "$tree" <<'END'
src/LAYERS:1: base names cpu, which does not stand above it
src/attic: the room has no line in src/LAYERS
src/base/sideways.c:1: base/ may not include model/ (../model/step.h)
src/base/upwards.h:1: base/ may not include tensor/ (tensor/tensor.h)
src/cpu/oops.c:2: cpu/ may not include model/ (model/step.h)
src/tensor/outside.c:1: tensor/ may not include support/ (support/kt.h)
apps/klinear/oops.c:2: apps/ may not include model/ (model/step.h)
include/klinear/oops.h:1: include/ may not include base/ (base/error.h)
apps/klinear/cli/upwards.c:2: cli/ may not include talk (../talk/talk.c)
apps/klinear/extra: the room has no line in apps/klinear/LAYERS
END
