/** Calls of kl_kda drawn the way a model makes them, and the way it should not but may: gates, keys and strengths each
 *  come in kinds.  And ways to run a call: every level, path and chunk length. */
#ifndef KDA_CASE_H
#define KDA_CASE_H

#include "support/ref64.h"

typedef enum kda_gates {
    GATES_NONE = 0,   /* absent */
    GATES_ZERO,       /* present, all 0 */
    GATES_A1,         /* as the softplus gate gives them at initialisation, rate 1 */
    GATES_A16,        /* rate 16 */
    GATES_WIDE,       /* uniform in -5 .. 0: the bounded gate with wide logits */
    GATES_50,         /* all -50 */
    GATES_INF,        /* all -infinity */
    GATES_HALF,       /* half of the channels -50, the others 0 */
    GATES_SPIKES,     /* one in ten -50, the others mild */
    GATES_ERASE,      /* one in ten -infinity, the others mild */
    GATES_HEAD,       /* one per head, rate 4 */
    GATES_HEAD_ERASE, /* one per head, one in ten -infinity */
    KDA_N_GATES,
} kda_gates;

typedef enum kda_keys {
    KEYS_MODEL = 0, /* L2-normalised SiLU of Gaussians */
    KEYS_90,        /* with mean cosine 0.9 */
    KEYS_99,
    KEYS_SAME,   /* all the same */
    KEYS_ZEROS,  /* every third one 0 */
    KEYS_SMALL,  /* of length 1e-3 */
    KEYS_REPEAT, /* runs of four equal ones */
    KDA_N_KEYS,
} kda_keys;

typedef enum kda_betas {
    BETAS_MODEL = 0, /* sigmoid of Gaussians */
    BETAS_ZERO,
    BETAS_ONE,
    BETAS_95,
    BETAS_TWO,    /* reflections */
    BETAS_ABSENT, /* 1 */
    KDA_N_BETAS,
} kda_betas;

const char *kda_gates_name(kda_gates gates);
const char *kda_keys_name(kda_keys keys);
const char *kda_betas_name(kda_betas betas);

typedef struct kda_shape {
    int64_t T, H, HV, K, V;
} kda_shape;

/** Dense f32 inputs, a random state_in, no outputs.  One sequence; set cu_seqlens and redraw the state for more. */
kl_kda_args kda_draw(kt_rng *r, kda_shape shape, kda_gates gates, kda_keys keys, kda_betas betas);
/** [n_seq][HV][K][V] or its VK form, normally distributed. */
kl_tensor kda_states(kt_rng *r, const kl_kda_args *a, int64_t n_seq);
/** The same call on the tokens start .. end-1, as one sequence from `state_in` (which may be absent). */
kl_kda_args kda_slice(const kl_kda_args *a, int64_t start, int64_t end, kl_tensor state_in);
/** A view of rows start .. end-1. */
kl_tensor kda_rows(kl_tensor t, int64_t start, int64_t end);
/** A copy of an f32 tensor in memory of its own, dense. */
kl_tensor kda_copy(kl_tensor t);

/** Runs the call with fresh f32 outputs o and state_out (and snapshots and e when snapshot_every > 0 and the path has
 *  them), and returns it with them. */
kl_kda_args kda_run(const kl_backend *be, kl_kda_args a);
/** o and state_out (and snapshots and e) of a call that has run against float64. */
void kda_expect64(const char *what, const kl_kda_args *a, ref64_outputs want, double tolerance);

/** One way to run a call. */
typedef struct kda_variant {
    const kl_backend *be;
    kl_path path;
    int chunk;
    char name[40]; /* "avx2 chunk 32" */
} kda_variant;
/** The i-th way; false past the end.  Levels x (recurrent, chunks of 8, 16, 32, 64). */
bool kda_variant_at(int i, kda_variant *v);
/** The call along a variant. */
kl_kda_args kda_run_variant(const kda_variant *v, kl_kda_args a);

#endif
