#define KL_ISA avx2
#define KL_LANES 8
#include "cpu/kernels/vec/dplr_slabs_bwd.h"
