/** Softmax attention of a run of sequences over the pool of threads: what kl_attention and absorbed kl_mla share. */
#ifndef KL_CPU_ATTENTION_CORE_H
#define KL_CPU_ATTENTION_CORE_H

#include "cpu/cpu_backend.h"
#include "cpu/flash.h"

struct kl__attention {
    kl_tensor o, lse, q; /* [T][H][DV], [T][H] or absent, [T][H][DK]; entry 0 is token `first_token` */
    struct kl__kv kv;    /* key head 0; position 0 of the packed cache, or the pool; the table of sequence 0 */
    int64_t k_head, v_head, n_head_k; /* bytes from one key head to the next, and how many */
    const int64_t *cu_q, *cu_k;       /* cu_k NULL: as cu_q; both NULL: one sequence */
    int64_t n_query, n_key;           /* of the one sequence when there are no offsets */
    int64_t pages_per_seq;
    const int32_t *const *tables; /* lists of pages that lie apart; NULL: rows of kv.table */
    float scale;
    bool causal;
    int64_t first_seq, end_seq;     /* the sequences to work on */
    int64_t first_token, end_token; /* their tokens, or a part of these */
    int64_t room_seq; /* sequences to lend memory for, where they could be more than these */
};

/** The queries and the cache of sequence `n`; group is set by the number of heads. */
struct kl__flash_seq kl__attention_seq(const struct kl__attention *a, int64_t n);
/** What key head `head` of sequence `n` reads. */
struct kl__kv kl__attention_kv(const struct kl__attention *a, int64_t n, int64_t head);

/** Bounded, however long the caches are; and more tokens or longer caches never need less. */
size_t kl__attention_run_workspace(const kl_backend *be, const struct kl__attention *a);
/** `work` holds kl__attention_run_workspace bytes. */
void kl__attention_run(const kl_backend *be, const struct kl__attention *a, kl_workspace work);

/** The attention that the arguments of kl_attention ask for: all sequences, all tokens. */
struct kl__attention kl__attention_of(const kl_attention_args *a);

#endif
