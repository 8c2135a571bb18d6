/** Backward of attention, one block at a time, one thread.  Probabilities are recomputed from the forward's lse.
 *      p = exp(scale q.k - lse);  delta = o . d_o;  ds = scale p (d_o.v - delta)
 *      d_v = p^T d_o;   d_k = ds^T q;   d_q = ds k
 *  A gradient row has one owner, which adds in ascending order of rows or positions: no order depends on threads. */
#ifndef KL_CPU_FLASH_BWD_H
#define KL_CPU_FLASH_BWD_H

#include "cpu/flash.h"

/** One sequence and one group of query heads. */
struct kl__flash_bwd {
    const struct kl__kernels *k;
    struct kl__kv kv;
    struct kl__flash_seq seq;
    kl_tensor q, d_o, lse; /* the tensors of the forward [T][H][..], [T][H] */
    kl_tensor delta;       /* [T][H] f32, from kl__flash_delta */
    int64_t token, head;   /* first token of the sequence, first query head of the group */
    float scale;
};

/** One thread's memory. */
struct kl__flash_bwd_scratch {
    float *q, *d_o;     /* [KL__FLASH_ROWS][n_k], [KL__FLASH_ROWS][n_v] */
    float *d_q;         /* [KL__FLASH_ROWS][n_k] */
    float *p, *ds;      /* [KL__FLASH_ROWS][KL__ATTENTION_BLOCK] */
    float *kv;          /* [KL__ATTENTION_BLOCK][n_k + n_v] */
    float *keys, *values; /* the block's, as panels (cpu/key_panels.h) */
    float *sum;         /* [KL__KEY_PANELS_SUM] */
    float *lse, *delta; /* [KL__FLASH_ROWS] */
    int32_t *to;        /* [KL__FLASH_ROWS]: positions of the block that a row sees */
    int32_t *from;      /* [KL__ATTENTION_BLOCK]: first row of the block that sees a position */
};

void kl__flash_bwd_carve(struct kl__flash_bwd_scratch *scratch, struct kl__carver *c, int64_t n_k, int64_t n_v);

/** delta[t][h] = o . d_o for the tokens first .. end - 1, at most KL__ATTENTION_BLOCK of them.  With the bits of
 *  d_o . v: where a row sees one position, whose value is its o, ds is 0 and no rounding. */
void kl__flash_delta(const struct kl__kernels *k, struct kl__flash_bwd_scratch *x, kl_tensor delta, kl_tensor o,
                     kl_tensor d_o, int64_t first, int64_t end);

/** ds, kept from the gradients of the positions for those of the rows: a tile is [KL__FLASH_ROWS][KL__ATTENTION_BLOCK],
 *  and the next block (of rows for positions, of positions for rows) has its own `step` floats on.  data NULL: nothing
 *  is kept, and everybody computes it. */
struct kl__flash_kept {
    float *data;
    int64_t step;
};

/** Gradients of positions first .. first + n - 1, n <= KL__ATTENTION_BLOCK, through rows row .. end_row - 1, `row` a
 *  multiple of KL__FLASH_ROWS: d_k [n][n_k], d_v [n][n_v] with pitches, assigned when `row` is 0 and added otherwise.
 *  Either may be NULL.  Tiles that no row sees are not kept. */
void kl__flash_bwd_keys(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, float *d_k, int64_t d_k_pitch,
                        float *d_v, int64_t d_v_pitch, int64_t first, int64_t n, int64_t row, int64_t end_row,
                        struct kl__flash_kept kept);

/** Gradient of rows first_row .. first_row + n_row - 1 through positions first .. end - 1, into d_q [T][H][n_k] f32:
 *  assigned, or added with `add`. */
void kl__flash_bwd_queries(const struct kl__flash_bwd *b, struct kl__flash_bwd_scratch *x, kl_tensor d_q, bool add,
                           int64_t first_row, int64_t n_row, int64_t first, int64_t end, struct kl__flash_kept kept);

#endif
