#define KL_ISA avx512
#define KL_LANES 16
#include "cpu/kernels/vec/i16_turn.h"
