#define KL_ISA avx2
#define KL_LANES 8
#include "cpu/kernels/vec/dplr_prep_bwd.h"
