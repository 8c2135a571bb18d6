#define KL_ISA avx2
#define KL_LANES 8
#include "cpu/kernels/vec/i16_turn.h"
