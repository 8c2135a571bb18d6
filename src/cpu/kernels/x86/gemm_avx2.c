#define KL_ISA avx2
#define KL_LANES 8
#define KL_GEMM_ROWS 6 /* 12 sums, 2 columns, 1 broadcast: 15 of 16 registers */
#define KL_GEMM_BLOCK_ROWS 258
#define KL_GEMM_BLOCK_COLUMNS 256
#include "cpu/kernels/vec/gemm.h"
