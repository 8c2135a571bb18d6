/** What the processor can do. */
#ifndef KL_BASE_CPU_H
#define KL_BASE_CPU_H

/** Instruction sets that kernels are written for.  A kernel row names the bits it needs. */
enum {
    KL_CPU_AVX2 = 1 << 0,       /* AVX2, FMA, F16C */
    KL_CPU_AVX512 = 1 << 1,     /* AVX-512 F, BW, DQ, VL (and AVX2 above) */
    KL_CPU_AVX512BF16 = 1 << 2, /* VDPBF16PS, where it multiplies faster than f32 FMA does: see cpu.c */
    KL_CPU_AVX512FP16 = 1 << 3, /* f16 arithmetic */
    KL_CPU_AVXVNNI = 1 << 4,    /* VPDPBUSD on 256 bits, and AVX2 above */
    KL_CPU_AVX512VNNI = 1 << 5, /* VPDPBUSD on 512 bits, and AVX-512 above */
};

/** The bits that this machine has and this build may use (KLINEAR_MOST_ISA, CMakeLists.txt). */
unsigned kl__cpu_features(void);

/** Cores that this process may run on, at least 1. */
int kl__cpu_cores(void);

#endif
