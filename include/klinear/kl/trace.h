/** Looking into a model while it reads: how fast it forgets, what it writes, where it looks, which experts work. */
#ifndef KLINEAR_KL_TRACE_H
#define KLINEAR_KL_TRACE_H

#include "klinear/kl/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What one session did while it was watched.  All memory is taken at the opening: for each token that is kept 4 bytes
 *  for each value head that writes and 68 for each MLA layer; and 8 (n_channel + KL_TRACE_BINS) for each head that
 *  forgets.
 *
 *  A watched session has the bits of one that is not.  It costs, on the thread that steps, a logarithm for each decay
 *  (every token, head and channel), and for each query whose attention is kept a pass over the latents in plain C.  A
 *  session that nobody watches costs one comparison for each layer.
 *
 *  Seen are the tokens that are read while watched: not what a fork, a checkpoint, a file or the prefix cache brought
 *  along.  A position that is read again counts once.  One thread at a time, the one that steps.
 *  [T: engine/trace, model/trace] */
typedef struct kl_trace kl_trace;

enum {
    KL_TRACE_BINS = 48, /* of half-lives, two for each octave */
    KL_TRACE_TOP = 8,   /* places that are kept of a token's attention */
};

typedef struct kl_trace_options {
    int64_t max_tokens;        /* of the last so many positions single numbers are kept; 0: 4096.  At most 2^20 */
    const kl_allocator *alloc; /* borrowed; NULL: the C library's */
} kl_trace_options;

/** Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
KL_API kl_status kl_trace_open(kl_trace **trace, const kl_model *model, const kl_trace_options *options, kl_error *err);
/** After the session has been told, or closed.  NULL is allowed. */
KL_API void kl_trace_close(kl_trace *trace);
/** Forgets everything that was seen. */
KL_API void kl_trace_reset(kl_trace *trace);
/** From now on steps of `session` tell `trace`, which is of the same model and watches one session at a time; NULL: no
 *  longer.  Borrowed. */
KL_API void kl_session_trace(kl_session *session, kl_trace *trace);

/** Positions first .. end - 1 are those of which single numbers may be kept; `end` is one behind the last one seen. */
KL_API int64_t kl_trace_first(const kl_trace *trace);
KL_API int64_t kl_trace_end(const kl_trace *trace);
/** The token at `position`; -1: it was not seen, or is kept no longer. */
KL_API int32_t kl_trace_token(const kl_trace *trace, int64_t position);

/** How strongly the token was written into each head's state, [n_kda_v_head]: beta in 0 .. 1 (0 .. 2 with neg_eigval),
 *  the time step of Mamba2.  NULL: not seen, or a layer that writes everything with 1 or has no state. */
KL_API const float *kl_trace_beta(const kl_trace *trace, int layer, int64_t position);

/** How fast a layer forgets.  A state is multiplied by a = exp(g) at each token; its half-life is ln 2 / -g tokens. */
typedef struct kl_trace_decay {
    int64_t n_token;     /* tokens that were seen */
    int n_head;          /* value heads */
    int n_channel;       /* key channels of a head; 1 where a head has one decay */
    const double *sum;   /* [n_head][n_channel] sums of -g: what remains after all tokens is exp(-sum) */
    const uint64_t *bin; /* [n_head][KL_TRACE_BINS] how many decays of tokens and channels had which half-life */
} kl_trace_decay;
/** False: the layer forgets nothing, or has no state.  Borrowed until the next step. */
KL_API bool kl_trace_decay_of(kl_trace_decay *decay, const kl_trace *trace, int layer);
/** Half-life in tokens at which bin `i` begins: 2^(i/2 - 4).  What is shorter is in bin 0, what is longer than all in
 *  the last one. */
KL_API double kl_trace_bin_begins(int i);
/** The half-life that the share `q` (0 .. 1) of a head's decays stays below, to within a bin; 0: nothing was seen. */
KL_API double kl_trace_half_life(const kl_trace_decay *decay, int head, double q);

/** Where the last query of an MLA layer looked: softmax weights, averaged over the heads. */
typedef struct kl_trace_attention {
    int64_t query;       /* its position; -1: there was none */
    int64_t first, n;    /* positions first .. first + n - 1, the last of which is the query's */
    const float *weight; /* [n] */
    float before;        /* sum of the weights of all positions before; with it the sum of all is 1 */
} kl_trace_attention;
/** False: the layer has no attention.  Borrowed until the next step. */
KL_API bool kl_trace_attention_of(kl_trace_attention *attention, const kl_trace *trace, int layer);
typedef struct kl_trace_place {
    int32_t position; /* -1: none */
    float weight;
} kl_trace_place;
/** [KL_TRACE_TOP] the places where the token at `position` looked most, the strongest first.  NULL: it was no query
 *  whose attention was kept (generated tokens are, and the last of a step's piece of a prompt), or no MLA layer. */
KL_API const kl_trace_place *kl_trace_top(const kl_trace *trace, int layer, int64_t position);

/** Which experts were chosen. */
typedef struct kl_trace_experts {
    int64_t n_token;
    int n_expert;
    const uint64_t *count; /* [n_expert] tokens that went there */
    const double *weight;  /* [n_expert] sums of their weights */
} kl_trace_experts;
/** False: the layer has no experts.  Borrowed until the next step. */
KL_API bool kl_trace_experts_of(kl_trace_experts *experts, const kl_trace *trace, int layer);

/** What a sequence of `n_token` tokens keeps, and what it would keep if every recurrent layer kept keys and values of
 *  all tokens instead, with the same heads and the cache's element type. */
typedef struct kl_memory_use {
    int64_t recurrent_bytes; /* states and tails, f32, whatever the length */
    int64_t latent_bytes;    /* of the MLA layers, in whole pages */
    int64_t full_bytes;      /* latents of n_token tokens, and keys and values of the others */
} kl_memory_use;
KL_API kl_memory_use kl_config_memory_use(const kl_config *config, kl_cache_type type, int64_t n_token);

#ifdef __cplusplus
}
#endif
#endif
