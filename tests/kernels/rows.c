/* Every row of the kernel table, plain C included, with the checker of its slot.  A slot without a checker does not
 * link: write check_<slot>.c. */
#include "kcheck.h"

#include "base/cpu.h"

static const struct kc_row rows[] = {
#define ROW(slot, isa, needs)                                                                                          \
    {#slot, #isa, needs, (kc_any_fn *)kl__##slot##_##isa, (kc_any_fn *)kl__##slot##_ref, check_##slot},
#define SLOT(slot) ROW(slot, ref, 0)
#include "cpu/kernels/slots.def"
#if defined(__x86_64__)
#include "cpu/kernels/x86/rows.def"
#endif
#undef SLOT
#undef ROW
};

int main(int argc, char **argv)
{
    return kc_main(argc, argv, rows, sizeof rows / sizeof *rows);
}
