/** Leaf loops: single-threaded, pure, on raw pointers; they cannot fail.  A slot is a contract (a function type, in
 *  slots_<noun>.h), a row is a variant of it (rows.def); plain C exists for every slot and is the specification.
 *
 *  To add a variant: write <arch>/<noun>_<isa>.c with kl__<slot>_<isa>, add one row to <arch>/rows.def.  That declares
 *  it, dispatches it, checks it against plain C and times it (tests/kernels).
 *  To add a slot: a typedef in slots_<noun>.h, a line in slots.def, plain C in ref/<noun>_ref.c, a checker in
 *  tests/kernels/check_<slot>.c; without the checker the kernel tests do not link. */
#ifndef KL_CPU_KERNELS_H
#define KL_CPU_KERNELS_H

#include "cpu/kernels/slots_attention.h"
#include "cpu/kernels/slots_conv.h"
#include "cpu/kernels/slots_dplr.h"
#include "cpu/kernels/slots_elementwise.h"
#include "cpu/kernels/slots_gemm.h"
#include "cpu/kernels/slots_i16.h"
#include "cpu/kernels/slots_kda.h"
#include "cpu/kernels/slots_kda_bwd.h"
#include "cpu/kernels/slots_rope.h"
#include "cpu/kernels/slots_softmax.h"
#include "cpu/kernels/slots_weight.h"

/** One pointer per slot, and the name of the variant behind it. */
struct kl__kernels {
#define SLOT(slot) kl__##slot##_fn *slot;
#include "cpu/kernels/slots.def"
#undef SLOT
    struct {
#define SLOT(slot) const char *slot;
#include "cpu/kernels/slots.def"
#undef SLOT
    } variant;
};

/** Fills the table: plain C, then every row whose needs are among `features`; the last one wins. */
void kl__kernels_fill(struct kl__kernels *table, unsigned features);

#define SLOT(slot) kl__##slot##_fn kl__##slot##_ref;
#include "cpu/kernels/slots.def"
#undef SLOT
#if defined(__x86_64__)
#define ROW(slot, isa, needs) kl__##slot##_fn kl__##slot##_##isa;
#include "cpu/kernels/x86/rows.def"
#undef ROW
#endif

#endif
