#define KA_ISA avx2
#define KA_LANES 8
#define KA_SUMS 12
#include "ceiling_loops.h"
