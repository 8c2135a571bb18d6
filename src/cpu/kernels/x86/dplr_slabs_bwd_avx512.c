#define KL_ISA avx512
#define KL_LANES 16
#include "cpu/kernels/vec/dplr_slabs_bwd.h"
