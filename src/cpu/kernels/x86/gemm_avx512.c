#define KL_ISA avx512
#define KL_LANES 16
#define KL_GEMM_ROWS 14 /* 28 sums, 2 columns, 1 broadcast: 31 of 32 registers */
#define KL_GEMM_BLOCK_ROWS 518
#define KL_GEMM_BLOCK_COLUMNS 768
#include "cpu/kernels/vec/gemm.h"
