/** Checks that the recurrent operators (kda, dplr) share. */
#ifndef KL_OPS_RECURRENCE_H
#define KL_OPS_RECURRENCE_H

#include "ops/check.h"

/** Tokens of sequence `n`. */
static inline int64_t kl__seq_tokens(const int64_t *cu, int64_t n, int64_t n_token)
{
    return kl__seq_start(cu, n + 1, n_token) - kl__seq_start(cu, n, n_token);
}

/** Tokens of the longest sequence. */
static inline int64_t kl__longest_sequence(const int64_t *cu, int64_t n_seq, int64_t n_token)
{
    int64_t longest = 0;
    for (int64_t n = 0; n < kl__n_seq(cu, n_seq); n++) {
        int64_t tokens = kl__seq_tokens(cu, n, n_token);
        longest = tokens > longest ? tokens : longest;
    }
    return longest;
}

/** Tokens of a chunk: what the caller asked for, or the default. */
static inline int kl__chunk_of(int chunk)
{
    return chunk ? chunk : 16;
}

/** `chunk` is 0, 8, 16, 32 or 64, and `path` a path. */
kl_status kl__check_chunk(const char *op, int chunk, kl_path path, kl_error *err);
/** A head size (K of `name`) is within 1 .. 4096. */
kl_status kl__check_head(const char *op, const char *name, int64_t dim, kl_error *err);
/** `state` is absent or [n][H][K][V] f32, transposed in the two inner dimensions for KL_LAYOUT_VK. */
kl_status kl__check_states(const char *op, const char *name, kl_tensor state, kl_layout layout, int64_t n, int64_t H,
                           int64_t K, int64_t V, kl_error *err);
/** `d` is absent, or f32 with the shape of `of`, which then has to be present. */
kl_status kl__check_gradient_of(const char *op, const char *name, kl_tensor d, const char *of_name, kl_tensor of,
                                kl_error *err);

#endif
