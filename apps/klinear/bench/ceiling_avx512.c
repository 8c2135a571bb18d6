#define KA_ISA avx512
#define KA_LANES 16
#define KA_SUMS 16
#include "ceiling_loops.h"
