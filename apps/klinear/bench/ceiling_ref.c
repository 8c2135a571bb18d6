/* What a plain C program may use: four lanes on every 64-bit machine.  x86-64 without flags multiplies and adds in
 * two instructions, aarch64 in one. */
#define KA_ISA ref
#define KA_LANES 4
#define KA_SUMS 12
#include "ceiling_loops.h"
