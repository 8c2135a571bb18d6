#include "cpu/cpu_backend.h"

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"

#include <string.h>

/* Levels a user can name, lowest first, each with the features it may use. */
static const struct {
    const char *name;
    unsigned features;
} levels[] = {
    {"ref", 0},
    {"avx2", KL_CPU_AVX2 | KL_CPU_AVXVNNI},
    {"avx512", KL_CPU_AVX2 | KL_CPU_AVXVNNI | KL_CPU_AVX512 | KL_CPU_AVX512BF16 | KL_CPU_AVX512FP16 |
                   KL_CPU_AVX512VNNI},
};
enum { N_LEVEL = sizeof levels / sizeof *levels };

static int best_level(unsigned features)
{
    return features & KL_CPU_AVX512 ? 2 : features & KL_CPU_AVX2 ? 1 : 0;
}

static kl_status cpu_open(kl_backend *be, const char *isa, kl_error *err)
{
    unsigned features = kl__cpu_features();
    int best = best_level(features), chosen = strcmp(isa, "native") == 0 ? best : -1;
    for (int i = 0; chosen < 0 && i < N_LEVEL; i++)
        if (strcmp(isa, levels[i].name) == 0)
            chosen = i;
    if (chosen < 0)
        return kl__fail(err, KL_ERR_ARGUMENT, "isa is \"%s\", expected ref, avx2, avx512 or native", isa);
    if (chosen > best)
        return kl__fail(err, KL_ERR_ARGUMENT, "isa is \"%s\", but this machine reaches %s only", isa,
                        levels[best].name);
    struct kl__cpu *cpu = kl__alloc(be->alloc, sizeof *cpu);
    if (!cpu)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for the table of kernels");
    cpu->isa = levels[chosen].name;
    cpu->features = features & levels[chosen].features;
    kl__kernels_fill(&cpu->kernels, cpu->features);
    be->impl = cpu;
    return KL_OK;
}

static void cpu_close(kl_backend *be)
{
    kl__release(be->alloc, be->impl);
}

static const char *cpu_isa(const kl_backend *be)
{
    return ((const struct kl__cpu *)be->impl)->isa;
}

static bool cpu_kernel(const kl_backend *be, int i, const char **slot, const char **variant)
{
    const struct kl__kernels *k = kl__cpu_kernels(be);
    int n = 0;
#define SLOT(x)                                                                                                        \
    if (n++ == i) {                                                                                                    \
        *slot = #x;                                                                                                    \
        *variant = k->variant.x;                                                                                       \
        return true;                                                                                                   \
    }
#include "cpu/kernels/slots.def"
#undef SLOT
    return false;
}

const struct kl__backend_type kl__backend_cpu = {
    .name = "cpu",
    .ops =
        {
#define OP(x)                                                                                                          \
    .x = kl__cpu_##x, .x##_workspace = kl__cpu_##x##_workspace, .x##_bwd = kl__cpu_##x##_bwd,                          \
    .x##_bwd_workspace = kl__cpu_##x##_bwd_workspace,
#include "ops/ops.def"
#undef OP
            .mla_packed_bytes = kl__cpu_mla_packed_bytes,
            .mla_pack_workspace = kl__cpu_mla_pack_workspace,
            .mla_pack = kl__cpu_mla_pack,
            .weight_linears_workspace = kl__cpu_weight_linears_workspace,
            .weight_linears = kl__cpu_weight_linears,
            .weight_experts_workspace = kl__cpu_weight_experts_workspace,
            .weight_experts = kl__cpu_weight_experts,
            .weight_packed_bytes = kl__cpu_weight_packed_bytes,
            .weight_pack = kl__cpu_weight_pack,
            .weight_rows = kl__cpu_weight_rows,
        },
    .open = cpu_open,
    .close = cpu_close,
    .isa = cpu_isa,
    .kernel = cpu_kernel,
};
