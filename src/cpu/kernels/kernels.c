#include "cpu/kernels/kernels.h"

#include "base/cpu.h"

void kl__kernels_fill(struct kl__kernels *t, unsigned features)
{
#define SLOT(slot)                                                                                                     \
    t->slot = kl__##slot##_ref;                                                                                        \
    t->variant.slot = "ref";
#include "cpu/kernels/slots.def"
#undef SLOT
#if defined(__x86_64__)
#define ROW(slot_, isa, needs)                                                                                         \
    if ((features & (needs)) == (needs)) {                                                                             \
        t->slot_ = kl__##slot_##_##isa;                                                                                \
        t->variant.slot_ = #isa;                                                                                       \
    }
#include "cpu/kernels/x86/rows.def"
#undef ROW
#else
    (void)features;
#endif
}
