/* Scores turned from rows of positions into rows of queries. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/turn.h"

void KL_VARIANT(i16_turn)(float *to, const float *from, int64_t n)
{
    for (int i = 0; i < KL__I16_BLOCK; i += KL_BLOCK)
        turn_rows(to + i, KL__I16_BLOCK, from + i * KL__I16_BLOCK, KL__I16_BLOCK, KL_BLOCK, n);
}
