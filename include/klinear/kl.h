/** klinear: Kimi Linear in C.  This header runs models; the operators alone are in kl_ops.h, training in kl_train.h.
 *  Its parts can be included on their own. */
#ifndef KLINEAR_KL_H
#define KLINEAR_KL_H

#include "klinear/kl/base.h"
#include "klinear/kl/engine.h"
#include "klinear/kl/grammar.h"
#include "klinear/kl/model.h"
#include "klinear/kl/schedule.h"
#include "klinear/kl/text.h"
#include "klinear/kl/trace.h"

#endif
