/** Attention of a block of query rows, one thread, in scratch of fixed size.
 *
 *  The rows of one sequence and key head are its queries times the `group` query heads that share the key head: row r
 *  is query r / group, head r % group of the group.  Up to KL__FLASH_ROWS of them go through the cache together.
 *
 *  The cache is cut at fixed positions into blocks of KL__ATTENTION_BLOCK rows (online softmax from block to block),
 *  those into pieces of level 0, pieces of level 0 into pieces of level 1, and level 2 is everything:
 *      piece of level l = the pieces of level l-1 inside it, merged in their order.
 *  So the bits of a row are a function of its own query and of the positions it sees: neither of the rows beside it,
 *  nor of who works on which piece, nor of the call in which the query comes.
 *
 *  With kv->sixteen products run on 16-bit integers (cpu/sixteen.h); softmax and sums over blocks stay in f32. */
#ifndef KL_CPU_FLASH_H
#define KL_CPU_FLASH_H

#include "base/memory.h"
#include "cpu/kv_rows.h"
#include "tensor/tensor.h"

enum { KL__FLASH_ROWS = 64, KL__FLASH_LEVELS = 3, KL__FLASH_SPAN_0 = 1024, KL__FLASH_SPAN_1 = 8192 };

/** Positions of a piece of `level`. */
static inline int64_t kl__flash_span(int level)
{
    return level == 0 ? KL__FLASH_SPAN_0 : level == 1 ? KL__FLASH_SPAN_1 : INT64_MAX;
}

/** Who sees what in one sequence. */
struct kl__flash_seq {
    int64_t n_query, n_key, group;
    bool causal;
};

/** Row `row` sees the positions below this. */
static inline int64_t kl__flash_seen(const struct kl__flash_seq *s, int64_t row)
{
    int64_t end = s->causal ? s->n_key - s->n_query + row / s->group + 1 : s->n_key;
    return end > 0 ? end : 0;
}

/** Softmax over a part of the positions, not yet divided by its sum. */
struct kl__flash_part {
    float *max, *sum; /* [n_row] */
    float *acc;       /* [n_row][n_v] */
    bool fresh;       /* nothing merged into it yet; max, sum and acc are undefined */
};

/** A block of rows: what kl__flash_attend works on. */
struct kl__flash_block {
    const struct kl__kernels *k;
    const struct kl__kv *kv;
    struct kl__flash_seq seq;
    int64_t first_row, n_row; /* of the sequence and key head; n_row <= KL__FLASH_ROWS */
    float scale;
};

/** Operands as 16-bit integers; empty where the cache is not worked on in this way. */
struct kl__flash_integers {
    int16_t *q, *panel;   /* [n_row][even n_k], and the same as panels */
    int16_t *w;           /* [n_row][KL__I16_BLOCK]: weights */
    float *q_scale, *w_scale; /* [n_row] */
    float *turned;        /* [KL__I16_BLOCK][KL__FLASH_ROWS]: scores, positions outermost */
    int16_t *keys;        /* a block's keys as panels, for few rows */
    int16_t *woven;       /* one panel of values */
    struct kl__i16_rows rows; /* of the cache */
};

/** One thread's memory. */
struct kl__flash_scratch {
    float *q;      /* [n_row][n_k]: the caller fills it */
    float *scores; /* [n_row][KL__ATTENTION_BLOCK] */
    float *kv;     /* [KL__ATTENTION_BLOCK][n_k + n_v] */
    float *sum;    /* [KL__KEY_PANELS_SUM] */
    float *keep;   /* [n_row] */
    int32_t *to;   /* [n_row] */
    struct kl__flash_integers x16;
    struct kl__flash_part part[KL__FLASH_LEVELS];
};

void kl__flash_carve(struct kl__flash_scratch *scratch, struct kl__carver *c, int64_t n_row, int64_t n_k, int64_t n_v,
                     enum kl__sixteen sixteen);
/** The same for one part on its own. */
void kl__flash_carve_part(struct kl__flash_part *part, struct kl__carver *c, int64_t n_row, int64_t n_v);

/** Once the caller has filled scratch->q: what else a block of rows needs before kl__flash_attend. */
void kl__flash_begin(const struct kl__flash_block *b, struct kl__flash_scratch *scratch);
/** The piece of `level` that begins at position `first`, into scratch->part[level]. */
void kl__flash_attend(const struct kl__flash_block *b, struct kl__flash_scratch *scratch, int level, int64_t first);
/** into <- into and `from` together.  A fresh `into` takes over from's memory and leaves its own in exchange. */
void kl__flash_merge(struct kl__flash_part *into, struct kl__flash_part *from, int64_t n_row, int64_t n_v);
/** Into other memory. */
void kl__flash_copy(struct kl__flash_part *to, const struct kl__flash_part *from, int64_t n_row, int64_t n_v);

/** First byte of head `head` of token `token` of a tensor [T][H][D]. */
static inline void *kl__head_row(kl_tensor x, int64_t token, int64_t head)
{
    return (char *)kl__row(x, token) + (size_t)(head * x.dim[2]) * kl_dtype_bytes(x.dtype);
}
/** Rows first_row .. first_row + n_row - 1 of `x` [T][H][D] as f32 [n_row][D]: tokens from `token` on, query heads from
 *  `head` on, `group` of them. */
void kl__flash_gather(const struct kl__kernels *k, float *rows, kl_tensor x, int64_t token, int64_t head, int64_t group,
                      int64_t first_row, int64_t n_row);
/** Divides, and writes o [T][H][n_v] and, if present, lse [T][H].  part->acc is used up. */
void kl__flash_finish(const struct kl__flash_block *b, struct kl__flash_part *part, kl_tensor o, kl_tensor lse,
                      int64_t token, int64_t head);

#endif
