/** klinear's operators on plain tensors: Kimi Delta Attention and the operators around it, forward and backward.
 *
 *  Every operator X has the same four doors:
 *      size_t    kl_X_workspace(backend, args)         bytes of scratch that kl_X needs for these shapes (0: none)
 *      kl_status kl_X(backend, args, err)              forward
 *      size_t    kl_X_bwd_workspace(backend, args)     the same two for the backward
 *      kl_status kl_X_bwd(backend, args, err)
 *
 *  Common rules, unless an operator says otherwise:
 *    shapes      [T] tokens of all sequences, packed one after the other.  H key heads, HV value heads (HV a multiple
 *                of H; value head j reads key head j / (HV/H)), K and V the head sizes, D a model width.
 *    sequences   `cu_seqlens` holds n_seq + 1 ascending token offsets, the first 0, the last T: sequence n owns tokens
 *                cu_seqlens[n] .. cu_seqlens[n+1]-1 and may be empty.  NULL with n_seq == 0: one sequence of T tokens.
 *    dtypes      f32, or bf16 where "f32|bf16" is said; sums, states and decays are always f32.
 *    aliasing    an output overlaps no input and no other output.
 *    absent      a tensor with n_dim == 0.
 *    pitch       allowed on everything but vectors of parameters ([D]: a norm's weights, a bias), which are dense.
 *    allocation  none: the caller lends `work`.  A workspace too small is KL_ERR_WORKSPACE with the size in the text.
 *    threads     work is split over the backend's pool; the bits of the result do not depend on the number of threads.
 *    numbers     NaN or infinity in an input gives NaN or infinity in what depends on it, never an endless loop.
 *    gradients   those of activations are assigned, those of parameters are added to what is there (+=).  Each
 *                gradient output may be absent where there are several.
 *    errors      KL_ERR_SHAPE, KL_ERR_DTYPE, KL_ERR_ARGUMENT, KL_ERR_OVERLAP, KL_ERR_WORKSPACE; outputs untouched.
 *    T = 0       is allowed everywhere and leaves states as they were.
 *
 *  [T: name] after a promise names the test that fails if it stops being true. */
#ifndef KLINEAR_KL_OPS_H
#define KLINEAR_KL_OPS_H

#include "klinear/kl/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ================================================================================= Kimi Delta Attention, kin == */

/** How the log decay g (nats, <= 0) comes about. */
typedef enum kl_gate {
    KL_GATE_LOG = 0,  /* `g` holds it */
    KL_GATE_SOFTPLUS, /* g = -exp(A_log) softplus(x + dt_bias), x in `g`: unbounded below, Kimi-Linear-48B */
    KL_GATE_BOUNDED,  /* g = lower_bound sigmoid(exp(A_log) (x + dt_bias)): its successors, lower_bound -5 */
} kl_gate;

/** What a token writes. */
typedef enum kl_rule {
    KL_RULE_DELTA = 0, /* the error against what the decayed state holds: KDA, Gated DeltaNet, DeltaNet */
    KL_RULE_ADD,       /* the value itself: GLA, Mamba2 / SSD, linear attention */
} kl_rule;

/** How one head's state lies in memory. */
typedef enum kl_layout {
    KL_LAYOUT_KV = 0, /* [K][V] */
    KL_LAYOUT_VK,     /* [V][K] */
} kl_layout;

/** Which algorithm runs. */
typedef enum kl_path {
    KL_PATH_AUTO = 0,  /* step for sequences of one token, chunk for the others */
    KL_PATH_RECURRENT, /* token by token */
    KL_PATH_CHUNK,     /* chunkwise, also for a single token: the same bits however a sequence is split at chunks */
} kl_path;

/** Element type of the operands of the matrix products inside; sums are f32 either way. */
typedef enum kl_operands {
    KL_OPERANDS_F32 = 0,
    KL_OPERANDS_BF16, /* rounded to 16 bits where the machine multiplies those faster; relative error about 3e-3 */
} kl_operands;

/** Kimi Delta Attention over packed sequences.  For each sequence and value head, in token order, with
 *  a = exp(g), k and q of key head j / (HV/H):
 *      S <- diag(a_t) S;   S <- S + beta_t k_t (v_t - S^T k_t)^T;   o_t = scale S^T q_t              (KL_RULE_DELTA)
 *      S <- diag(a_t) S;   S <- S + beta_t k_t v_t^T;               o_t = scale S^T q_t              (KL_RULE_ADD)
 *
 *  The relatives are settings of the same operator:
 *      Gated DeltaNet    g [T][HV]                        GLA               rule ADD, g [T][HV][K]
 *      DeltaNet          g absent                         Mamba2 / SSD      rule ADD, g [T][HV], beta = dt, v = x
 *                                                         linear attention  rule ADD, g absent, beta absent
 *
 *  Cost      recurrent 7 K V flops per token and value head; chunkwise nearly the same number as matrix products.
 *  Chunks    start at the first token of each sequence and are 16 tokens long, so that splitting a sequence at a
 *            multiple of 16 and carrying the state gives the same bits under KL_PATH_CHUNK.  [T: ops/kda_properties]
 *  Errors    as above; KL_ERR_ARGUMENT also for lower_bound >= 0 with KL_GATE_BOUNDED, chunk not one of 0, 8, 16, 32,
 *            64, snapshot_every not a positive multiple of the chunk.
 *  Source    arXiv:2510.26692 eq. 1; docs/kda.md.   Backward: kl_kda_bwd.   [T: ops/kda_golden, ops/kda_regimes,
 *            ops/kda_properties, ops/kda_tokens, ops/kda_bits, ops/kda_random, ops/kda_misuse] */
typedef struct kl_kda_args {
    kl_tensor o; /* out [T][HV][V] f32|bf16 */
    kl_tensor q; /* [T][H][K] f32|bf16 */
    kl_tensor k; /* [T][H][K] as q; unit length unless qk_l2norm sees to it */
    kl_tensor v; /* [T][HV][V] as q */
    /** Decay: [T][HV][K] per channel or [T][HV] per head; f32|bf16; absent: none.  Per channel f32 is advised. */
    kl_tensor g;
    kl_tensor beta;    /* write strength [T][HV] f32|bf16; absent: 1 */
    kl_tensor A_log;   /* [HV] f32; with KL_GATE_SOFTPLUS and KL_GATE_BOUNDED; absent: 0 */
    kl_tensor dt_bias; /* [HV][K] f32, or [HV] when g is [T][HV]; absent: 0 */
    kl_gate gate;
    float lower_bound; /* KL_GATE_BOUNDED only: < 0 */
    kl_rule rule;
    bool qk_l2norm;    /* q, k <- x / sqrt(sum x^2 + 1e-6), before anything else */
    bool beta_sigmoid; /* beta <- sigmoid(beta) */
    bool beta_double;  /* beta <- 2 beta, last: allows negative eigenvalues of the transition */
    float scale;       /* of the output; 0: K^-1/2 */

    /** Recurrent states, f32, per sequence: [n_seq][HV][K][V], or [n_seq][HV][V][K] with KL_LAYOUT_VK.
     *  Absent state_in: zeros.  Absent state_out: dropped.  Both may be the very same memory. */
    kl_tensor state_in, state_out;
    kl_layout state_layout;
    /** States inside sequences: after every `snapshot_every` tokens of each sequence (a multiple of the chunk, counted
     *  from its start, the end included when it falls on one), sequences one after the other; [n][HV][..][..] f32 with
     *  n = sum over sequences of floor(length / snapshot_every).  Absent: none.  Not with KL_PATH_RECURRENT. */
    kl_tensor snapshots;
    int64_t snapshot_every;
    /** Errors, out [T][HV][V] f32: e_t = v_t - (diag(a_t) S)^T k_t, of which beta_t is written; v_t with KL_RULE_ADD.
     *  A backward that is given them need not find them again.  Absent: not wanted.  Not with KL_PATH_RECURRENT;
     *  sequences of one token then run as chunks, too. */
    kl_tensor e;

    const int64_t *cu_seqlens;
    int64_t n_seq;

    kl_path path;
    kl_operands operands;
    int chunk; /* tokens per chunk; 0: 16 */
    kl_workspace work;
} kl_kda_args;

KL_API size_t kl_kda_workspace(const kl_backend *backend, const kl_kda_args *args);
KL_API kl_status kl_kda(const kl_backend *backend, const kl_kda_args *args, kl_error *err);

/** Gradients of kl_kda, by chunks, f32 arithmetic.  `fwd` is the forward's arguments (its o, state_out, operands and
 *  work are not looked at; path chooses nothing, but has to be one).  fwd.snapshots and fwd.e, when present, must hold
 *  what the forward wrote there.
 *  Snapshots save a run through the sequence: every 64 or 128 tokens is best; without them one state for every 128
 *  tokens is kept in the workspace.  Errors save a product with the state for every token.
 *  Gradients are f32, and are with respect to the raw inputs: through the L2 norm, gate and sigmoid when those are on.
 *  Source: docs/kda.md, "Backward".   [T: ops/kda_bwd, ops/kda_bwd_properties, ops/kda_random] */
typedef struct kl_kda_bwd_args {
    kl_kda_args fwd;
    kl_tensor d_o;         /* [T][HV][V] f32|bf16 */
    kl_tensor d_state_out; /* [n_seq][HV][..][..] f32, laid out as the state; absent: zeros */
    kl_tensor d_q, d_k;    /* out [T][H][K] f32: summed over the value heads of a key head, in their order */
    kl_tensor d_v;         /* out [T][HV][V] f32 */
    kl_tensor d_g;         /* out, shaped as g, f32 */
    kl_tensor d_beta;      /* out [T][HV] f32 */
    kl_tensor d_A_log;     /* += [HV] f32 */
    kl_tensor d_dt_bias;   /* += shaped as dt_bias, f32 */
    kl_tensor d_state_in;  /* out [n_seq][HV][..][..] f32; may be the same memory as d_state_out */
    kl_workspace work;
} kl_kda_bwd_args;

KL_API size_t kl_kda_bwd_workspace(const kl_backend *backend, const kl_kda_bwd_args *args);
KL_API kl_status kl_kda_bwd(const kl_backend *backend, const kl_kda_bwd_args *args, kl_error *err);

/** General diagonal-plus-low-rank delta rule, per sequence and head (letters of the report):
 *      S <- (diag(exp g_t) - a_t b_t^T) S + k_t v_t^T;      o_t = scale S^T q_t
 *  b reads the state before its decay.  KDA is a = beta k, b = exp(g) . k, with beta k for k; RWKV-7 has b of unit
 *  length and a = gain . b.  The transition has to be stable for the numbers to stay finite; nothing checks that.
 *  All of q, k, a, b have H heads, as have v and o.  Source: arXiv:2510.26692, section 6.2.
 *  [T: ops/dplr_golden, ops/dplr_properties, ops/dplr_random] */
typedef struct kl_dplr_args {
    kl_tensor o;                    /* out [T][H][V] f32|bf16 */
    kl_tensor q, k, a, b;           /* [T][H][K] f32|bf16 */
    kl_tensor v;                    /* [T][H][V] as q */
    kl_tensor g;                    /* log decay [T][H][K] f32|bf16; absent: none */
    float scale;                    /* 0: K^-1/2 */
    kl_tensor state_in, state_out;  /* as kl_kda_args */
    kl_layout state_layout;
    const int64_t *cu_seqlens;
    int64_t n_seq;
    kl_path path;
    int chunk; /* 0: 16 */
    kl_workspace work;
} kl_dplr_args;

KL_API size_t kl_dplr_workspace(const kl_backend *backend, const kl_dplr_args *args);
KL_API kl_status kl_dplr(const kl_backend *backend, const kl_dplr_args *args, kl_error *err);

typedef struct kl_dplr_bwd_args {
    kl_dplr_args fwd; /* o, state_out and work are not looked at; path chooses nothing */
    kl_tensor d_o;
    kl_tensor d_state_out;                /* absent: zeros */
    kl_tensor d_q, d_k, d_a, d_b, d_v, d_g; /* out, f32, shaped as the inputs */
    kl_tensor d_state_in;
    kl_workspace work;
} kl_dplr_bwd_args;

KL_API size_t kl_dplr_bwd_workspace(const kl_backend *backend, const kl_dplr_bwd_args *args);
KL_API kl_status kl_dplr_bwd(const kl_backend *backend, const kl_dplr_bwd_args *args, kl_error *err);

/* =============================================================================== softmax attention and MLA == */

/** Where the rows of a growing cache lie: page p of a sequence holds its positions p * page_tokens ... and is entry
 *  table[n * pages_per_seq + p] of the pool.  table == NULL: rows are contiguous, sequence after sequence.
 *  Every entry that a sequence's length needs must name a page of the pool, or KL_ERR_ARGUMENT; the others are not
 *  looked at, nor are rows of a page beyond the length. */
typedef struct kl_paging {
    const int32_t *table;  /* [n_seq][pages_per_seq], borrowed */
    int64_t pages_per_seq;
    int64_t page_tokens;
    /** NULL, or [n_seq] lists that lie apart: that of sequence n is tables[n], at least as many entries as it needs and
     *  at most pages_per_seq, and `table` is tables[0]. */
    const int32_t *const *tables;
} kl_paging;

/** Softmax attention, grouped heads: query head h reads key head h / (H/HK).
 *      o_t = sum_s p_ts v_s,   p_t = softmax_s(scale q_t . k_s)
 *  Sequence n has cu_q[n+1]-cu_q[n] queries and cu_k[n+1]-cu_k[n] rows of cache; the queries are its last tokens, so
 *  with `causal` query i of Tq sees rows 0 .. Tk-Tq+i.  A query that sees no row gets o = 0 and lse = -inf.
 *  k and v may be views of the same memory (v the first DV columns of k: that is absorbed MLA); then it is read once.
 *
 *  Bits      a query's result depends on the query and the rows that it sees, by position, and on nothing else: not on
 *            the other queries of the call, the other sequences, the pages, or the number of threads.  A prefill in
 *            pieces over a growing cache, down to single tokens, gives the bits of the whole.
 *  Cost      2 (DK + DV) flops per query, head and row; a block of 64 rows of cache is read once for all the query
 *            heads that share its key head.  Online softmax, f32 sums.
 *  Errors    as above; KL_ERR_ARGUMENT also for pages out of the pool and a scale that is not finite; at most 2^20
 *            heads and columns.
 *  Source    arXiv:2205.14135, arXiv:2112.05682.   [T: ops/attention] */
typedef struct kl_attention_args {
    kl_tensor o;    /* out [T][H][DV] f32|bf16 */
    kl_tensor lse;  /* out [T][H] f32: log of the sum of exp(scale q.k); absent: not wanted.  The backward needs it. */
    kl_tensor q;    /* [T][H][DK] f32|bf16 */
    kl_tensor k;    /* [S][HK][DK] f32|bf16, or a pool [n_page][page_tokens][HK][DK] */
    kl_tensor v;    /* [S][HK][DV], or a pool [n_page][page_tokens][HK][DV]; dtype of k */
    float scale;    /* 0: DK^-1/2 */
    bool causal;
    /** n_seq + 1 offsets each; cu_k NULL: as cu_q.  Both NULL, n_seq 0: one sequence of T queries over the S rows of a
     *  contiguous cache, or over T rows in pages. */
    const int64_t *cu_q, *cu_k;
    int64_t n_seq;
    kl_paging paging;
    kl_workspace work;
} kl_attention_args;

KL_API size_t kl_attention_workspace(const kl_backend *backend, const kl_attention_args *args);
KL_API kl_status kl_attention(const kl_backend *backend, const kl_attention_args *args, kl_error *err);

/** Gradients of kl_attention over a contiguous cache (paging is KL_ERR_UNSUPPORTED).  Probabilities are recomputed from
 *  lse; d_k and d_v are summed over queries, and heads within a query, d_q over rows, in ascending order. */
typedef struct kl_attention_bwd_args {
    kl_attention_args fwd; /* with o and lse as the forward left them */
    kl_tensor d_o;         /* [T][H][DV] f32|bf16 */
    kl_tensor d_q, d_k, d_v; /* out, f32, shaped as the inputs */
    kl_workspace work;
} kl_attention_bwd_args;

KL_API size_t kl_attention_bwd_workspace(const kl_backend *backend, const kl_attention_bwd_args *args);
KL_API kl_status kl_attention_bwd(const kl_backend *backend, const kl_attention_bwd_args *args, kl_error *err);

typedef enum kl_mla_form {
    KL_MLA_AUTO = 0, /* the cheaper one for the number of queries; a function of the shapes only */
    KL_MLA_ABSORBED, /* queries are moved into the latent space: one key head of R + DR columns for all query heads */
    KL_MLA_EXPANDED, /* keys and values are expanded from the latents, block by block */
} kl_mla_form;

/** Multi-head latent attention over a cache of latents.  A row of the cache is [c (R) ; kr (DR)]; per head h
 *      k_h = [w_uk[h] c ; kr],   v_h = w_uv[h] c,   o_h = softmax(scale q_h . k_h) v_h
 *  Both forms give the same o up to rounding.  Positions are not encoded here: rotate q and kr before (kl_rope).
 *  w_uk and w_uv may be views of one matrix [H][DN + DV][R] with its pitch.  DN or DR may be 0.
 *
 *  Forms     KL_MLA_AUTO counts operations for each sequence by itself: with R = 512, DN = DV = 128, DR = 64 and a long
 *            cache, 171 queries and more are expanded.
 *  Bits      as kl_attention, within one form: name the form where a prefill in pieces has to give the bits of the
 *            whole.
 *  Cost      per query, head and row of cache, absorbed: 2 (2 R + DR) flops, and 2 R (DN + DV) per query and head;
 *            expanded: 2 (DN + DR + DV) flops, and 2 R (DN + DV) per row and head.
 *  Memory    absorbed: queries of 128 tokens in the space of the latents; expanded: keys and values of 8192 rows of one
 *            head, or of more heads within 8 MiB.
 *  Packed    with `packed` weights products run on 16-bit integers, rows of which have a scale of their own, and sums
 *            are exact until they become f32: o is off by about 1e-4 of its size, as with operands of f16, and the work
 *            is done two to four times as fast.  Bits then differ from those without, and are the same on every machine
 *            but for exponentials.  The backward ignores it.
 *  Blocks    a cache of q8_0 gives the bits of an f32 cache that holds the decoded numbers; the backward takes none.
 *  Masking, sequences, paging and errors as kl_attention.
 *  Source    arXiv:2405.04434 section 2.1; docs/kda.md.   [T: ops/mla, ops/mla_blocks] */
typedef struct kl_mla_args {
    kl_tensor o;     /* out [T][H][DV] f32|bf16 */
    kl_tensor lse;   /* out [T][H] f32; absent: not wanted */
    kl_tensor q;     /* [T][H][DN + DR] f32|bf16 */
    kl_tensor cache; /* [S][R + DR] f32|bf16|q8_0, or a pool [n_page][page_tokens][R + DR] */
    kl_tensor w_uk;  /* [H][DN][R] f32|bf16 */
    kl_tensor w_uv;  /* [H][DV][R] f32|bf16 */
    float scale;     /* 0: (DN + DR)^-1/2 */
    bool causal;
    kl_mla_form form;
    const int64_t *cu_q, *cu_k;
    int64_t n_seq;
    kl_paging paging;
    kl_workspace work;
    const void *packed; /* what kl_mla_pack made of w_uk and w_uv, aligned to 64 bytes; NULL: nothing */
} kl_mla_args;

KL_API size_t kl_mla_workspace(const kl_backend *backend, const kl_mla_args *args);
KL_API kl_status kl_mla(const kl_backend *backend, const kl_mla_args *args, kl_error *err);

/** Bytes of `packed` for these weights ([H][DN][R] and [H][DV][R]); 0: kl_mla_pack would refuse them. */
KL_API size_t kl_mla_packed_bytes(const kl_backend *backend, kl_tensor w_uk, kl_tensor w_uv);
/** Writes them to `packed`, aligned to 64 bytes.  Threads: the backend's.   [T: ops/mla_packed] */
KL_API size_t kl_mla_pack_workspace(const kl_backend *backend, kl_tensor w_uk, kl_tensor w_uv);
KL_API kl_status kl_mla_pack(const kl_backend *backend, void *packed, kl_tensor w_uk, kl_tensor w_uv, kl_workspace work,
                             kl_error *err);

/** Gradients of kl_mla over a contiguous cache (paging is KL_ERR_UNSUPPORTED).  Goes through the expanded form whatever
 *  fwd.form says; gradients of latents are summed over heads, those of weights over rows of the cache, in order. */
typedef struct kl_mla_bwd_args {
    kl_mla_args fwd; /* with o and lse as the forward left them */
    kl_tensor d_o;     /* [T][H][DV] f32|bf16 */
    kl_tensor d_q;     /* out [T][H][DN + DR] f32 */
    kl_tensor d_cache; /* out [S][R + DR] f32 */
    kl_tensor d_w_uk;  /* += [H][DN][R] f32 */
    kl_tensor d_w_uv;  /* += [H][DV][R] f32 */
    kl_workspace work;
} kl_mla_bwd_args;

KL_API size_t kl_mla_bwd_workspace(const kl_backend *backend, const kl_mla_bwd_args *args);
KL_API kl_status kl_mla_bwd(const kl_backend *backend, const kl_mla_bwd_args *args, kl_error *err);

/** Rotary position embedding, in place, on the first `n_rot` columns of every head: the pair (x, y) of frequency i
 *  turns by position * base^(-2 i / n_rot), an angle that is taken in f64.  The released model does not use it; the
 *  baselines do.  Cost: one sine and cosine per pair and token, 6 flops per pair and head.
 *  Source: arXiv:2104.09864.   [T: ops/rope] */
typedef struct kl_rope_args {
    kl_tensor x;             /* in and out [T][H][D] f32|bf16 */
    const int64_t *position; /* [T], 0 .. 2^31 - 1, borrowed */
    int n_rot;               /* even, 0 < n_rot <= D; 0: D */
    float base;              /* 0: 10000 */
    bool interleaved;        /* pairs are (2i, 2i+1); false: (i, i + n_rot/2) */
    kl_workspace work;
} kl_rope_args;

KL_API size_t kl_rope_workspace(const kl_backend *backend, const kl_rope_args *args);
KL_API kl_status kl_rope(const kl_backend *backend, const kl_rope_args *args, kl_error *err);
/** The backward rotates the gradient, in place in `x`, the other way. */
typedef kl_rope_args kl_rope_bwd_args;
KL_API size_t kl_rope_bwd_workspace(const kl_backend *backend, const kl_rope_bwd_args *args);
KL_API kl_status kl_rope_bwd(const kl_backend *backend, const kl_rope_bwd_args *args, kl_error *err);

/* ============================================================================================ around them == */

typedef enum kl_activation {
    KL_ACT_NONE = 0,
    KL_ACT_SIGMOID,
    KL_ACT_SILU,
} kl_activation;

/** RMSNorm over the last dimension, with an optional gate:
 *      y = x / sqrt(mean(x^2) + eps) . w . act(z)
 *  x is [T][D] or [T][H][D] (then every head is normalised by itself, with the same w): the latter with a sigmoid gate
 *  is the output norm of KDA, with SiLU that of Gated DeltaNet.  y may be the same memory as x.
 *  Source: arXiv:1910.07467; arXiv:2510.26692 eq. 10.   [T: ops/rmsnorm] */
typedef struct kl_rmsnorm_args {
    kl_tensor y;         /* out, shaped as x, f32|bf16 */
    kl_tensor x;         /* [T][D] or [T][H][D] f32|bf16 */
    kl_tensor w;         /* [D] f32|bf16; absent: ones */
    kl_tensor z;         /* gate before its activation, shaped as x, f32|bf16; absent: no gate */
    kl_activation act;   /* of the gate; KL_ACT_NONE without one */
    float eps;           /* 0: 1e-5 */
    kl_workspace work;
} kl_rmsnorm_args;

KL_API size_t kl_rmsnorm_workspace(const kl_backend *backend, const kl_rmsnorm_args *args);
KL_API kl_status kl_rmsnorm(const kl_backend *backend, const kl_rmsnorm_args *args, kl_error *err);

typedef struct kl_rmsnorm_bwd_args {
    kl_rmsnorm_args fwd; /* y is not looked at; x must be the forward's input */
    kl_tensor d_y;       /* shaped as x, f32|bf16 */
    kl_tensor d_x;       /* out f32; may be the same memory as d_y */
    kl_tensor d_w;       /* += [D] f32 */
    kl_tensor d_z;       /* out f32; only with fwd.z */
    kl_workspace work;
} kl_rmsnorm_bwd_args;

KL_API size_t kl_rmsnorm_bwd_workspace(const kl_backend *backend, const kl_rmsnorm_bwd_args *args);
KL_API kl_status kl_rmsnorm_bwd(const kl_backend *backend, const kl_rmsnorm_bwd_args *args, kl_error *err);

/** L2 norm over the last dimension: y = x / sqrt(sum x^2 + eps).  y may be the same memory as x.  [T: ops/l2norm] */
typedef struct kl_l2norm_args {
    kl_tensor y; /* out, shaped as x */
    kl_tensor x; /* [T][D] or [T][H][D] f32|bf16 */
    float eps;   /* 0: 1e-6 */
    kl_workspace work;
} kl_l2norm_args;

KL_API size_t kl_l2norm_workspace(const kl_backend *backend, const kl_l2norm_args *args);
KL_API kl_status kl_l2norm(const kl_backend *backend, const kl_l2norm_args *args, kl_error *err);

typedef struct kl_l2norm_bwd_args {
    kl_l2norm_args fwd; /* y is not looked at */
    kl_tensor d_y;      /* shaped as x, f32|bf16 */
    kl_tensor d_x;      /* out f32; may be the same memory as d_y */
    kl_workspace work;
} kl_l2norm_bwd_args;

KL_API size_t kl_l2norm_bwd_workspace(const kl_backend *backend, const kl_l2norm_bwd_args *args);
KL_API kl_status kl_l2norm_bwd(const kl_backend *backend, const kl_l2norm_bwd_args *args, kl_error *err);

/** Short causal convolution, one filter of W taps per channel, then an activation:
 *      y_t = act(bias + sum_j w_j x_{t-W+1+j})          tap W-1 sees the current token
 *  What lies before a sequence is its carried tail, the last W-1 raw inputs of the call before (oldest first); absent
 *  tail_in: zeros.  One token at a time is the same call with sequences of length 1; a sequence gives the same bits
 *  however it is cut into calls.
 *  tail_in and tail_out may be the same memory.   Source: arXiv:2510.26692 section 4.   [T: ops/short_conv] */
typedef struct kl_short_conv_args {
    kl_tensor y;    /* out [T][D] f32|bf16 */
    kl_tensor x;    /* [T][D] f32|bf16 */
    kl_tensor w;    /* [D][W] f32|bf16, 1 <= W <= 16 */
    kl_tensor bias; /* [D] f32|bf16; absent: 0 */
    kl_tensor tail_in, tail_out; /* [n_seq][W-1][D] f32 */
    kl_activation act;           /* KL_ACT_NONE or KL_ACT_SILU */
    const int64_t *cu_seqlens;
    int64_t n_seq;
    kl_workspace work;
} kl_short_conv_args;

KL_API size_t kl_short_conv_workspace(const kl_backend *backend, const kl_short_conv_args *args);
KL_API kl_status kl_short_conv(const kl_backend *backend, const kl_short_conv_args *args, kl_error *err);

typedef struct kl_short_conv_bwd_args {
    kl_short_conv_args fwd; /* y and tail_out are not looked at */
    kl_tensor d_y;          /* [T][D] f32|bf16 */
    kl_tensor d_x;          /* out [T][D] f32; may be the same memory as d_y */
    kl_tensor d_w;          /* += [D][W] f32 */
    kl_tensor d_bias;       /* += [D] f32 */
    kl_tensor d_tail_in;    /* out [n_seq][W-1][D] f32: through y only */
    kl_workspace work;
} kl_short_conv_bwd_args;

KL_API size_t kl_short_conv_bwd_workspace(const kl_backend *backend, const kl_short_conv_bwd_args *args);
KL_API kl_status kl_short_conv_bwd(const kl_backend *backend, const kl_short_conv_bwd_args *args, kl_error *err);

/** SwiGLU: y = silu(gate) . up.  y may be the same memory as gate or up.  Source: arXiv:2002.05202. [T: ops/swiglu] */
typedef struct kl_swiglu_args {
    kl_tensor y;        /* out [T][F] f32|bf16 */
    kl_tensor gate, up; /* [T][F] f32|bf16 */
    kl_workspace work;
} kl_swiglu_args;

KL_API size_t kl_swiglu_workspace(const kl_backend *backend, const kl_swiglu_args *args);
KL_API kl_status kl_swiglu(const kl_backend *backend, const kl_swiglu_args *args, kl_error *err);

typedef struct kl_swiglu_bwd_args {
    kl_swiglu_args fwd;      /* y is not looked at */
    kl_tensor d_y;           /* [T][F] f32|bf16 */
    kl_tensor d_gate, d_up;  /* out [T][F] f32; one of them may be the same memory as d_y */
    kl_workspace work;
} kl_swiglu_bwd_args;

KL_API size_t kl_swiglu_bwd_workspace(const kl_backend *backend, const kl_swiglu_bwd_args *args);
KL_API kl_status kl_swiglu_bwd(const kl_backend *backend, const kl_swiglu_bwd_args *args, kl_error *err);

/** Rows of a table: y_t = table[id_t].  An id outside the table is KL_ERR_ARGUMENT, named.   [T: ops/embedding] */
typedef struct kl_embedding_args {
    kl_tensor y;     /* out [T][D] f32|bf16 */
    kl_tensor table; /* [N][D] f32|bf16 */
    kl_tensor id;    /* [T] i32 */
    kl_workspace work;
} kl_embedding_args;

KL_API size_t kl_embedding_workspace(const kl_backend *backend, const kl_embedding_args *args);
KL_API kl_status kl_embedding(const kl_backend *backend, const kl_embedding_args *args, kl_error *err);

typedef struct kl_embedding_bwd_args {
    kl_embedding_args fwd; /* y is not looked at */
    kl_tensor d_y;         /* [T][D] f32|bf16 */
    kl_tensor d_table;     /* += [N][D] f32, token by token in their order; of fwd.table only the shape is used */
    kl_workspace work;
} kl_embedding_bwd_args;

KL_API size_t kl_embedding_bwd_workspace(const kl_backend *backend, const kl_embedding_bwd_args *args);
KL_API kl_status kl_embedding_bwd(const kl_backend *backend, const kl_embedding_bwd_args *args, kl_error *err);

/** Linear layer: y = x w^T + b, or y += x w^T + b with `add`.
 *  Every sum runs over D in one fixed order, which does not depend on T or N: the row of a token has the same bits
 *  alone and in any batch.  y in bf16 is rounded once, at the end.   Cost 2 T N D flops.
 *  Errors: as above.   Backward: kl_linear_bwd.   [T: ops/linear, unit/gemm] */
typedef struct kl_linear_args {
    kl_tensor y; /* out [T][N] f32|bf16 */
    kl_tensor x; /* [T][D] f32|bf16 */
    kl_tensor w; /* [N][D] f32|bf16 */
    kl_tensor b; /* [N] f32|bf16; absent: 0 */
    bool add;    /* y f32 only */
    kl_workspace work;
} kl_linear_args;

KL_API size_t kl_linear_workspace(const kl_backend *backend, const kl_linear_args *args);
KL_API kl_status kl_linear(const kl_backend *backend, const kl_linear_args *args, kl_error *err);

/** Gradients of kl_linear:  d_x = d_y w,  d_w += d_y^T x,  d_b += sum over tokens of d_y.   Cost 4 T N D flops. */
typedef struct kl_linear_bwd_args {
    kl_linear_args fwd; /* y and add are not looked at, nor is b */
    kl_tensor d_y;      /* [T][N] f32|bf16 */
    kl_tensor d_x;      /* out [T][D] f32; with add_dx: += */
    kl_tensor d_w;      /* += [N][D] f32 */
    kl_tensor d_b;      /* += [N] f32 */
    bool add_dx;
    kl_workspace work;
} kl_linear_bwd_args;

KL_API size_t kl_linear_bwd_workspace(const kl_backend *backend, const kl_linear_bwd_args *args);
KL_API kl_status kl_linear_bwd(const kl_backend *backend, const kl_linear_bwd_args *args, kl_error *err);

typedef enum kl_score {
    KL_SCORE_SIGMOID = 0,
    KL_SCORE_SOFTMAX,
} kl_score;

/** Chooses experts.  s = score(logits); choice by s + bias (which moves the weight only with `weight_biased`):
 *  with n_group > 1 a group's rank is the sum of its two best (s + bias), only the experts of the `topk_group` best
 *  groups are eligible; then the `topk` best experts, best first; ties to the lower id, among groups as well.
 *  weight = s of the chosen, divided by their sum (+ 1e-20) with `renormalise`, times `scale`.
 *
 *  NaN       ranks below every number: an expert is chosen for a NaN only when no number is left among the eligible, a
 *            group with fewer than two numbers only after all others.  With KL_SCORE_SOFTMAX one NaN logit makes all
 *            weights of its token NaN (they depend on it), while the choice is made as if it were not there.
 *  Cost      E exponentials and comparisons per token, and moves in a list of topk.
 *  Errors    as above; KL_ERR_ARGUMENT also for groups that do not divide E, and topk beyond the eligible experts.
 *  Source    arXiv:2412.19437 section 2.1.2; the released model's configuration.   Backward: kl_router_bwd.
 *            [T: ops/router] */
typedef struct kl_router_args {
    kl_tensor id;     /* out [T][topk] i32 */
    kl_tensor weight; /* out [T][topk] f32 */
    kl_tensor logits; /* [T][E] f32 */
    kl_tensor bias;   /* [E] f32; absent: 0 */
    kl_score score;
    int topk;       /* 1 .. E */
    int n_group;    /* 0 or 1: no groups; else divides E, with at least 2 experts a group */
    int topk_group; /* 1 .. n_group; not looked at without groups */
    bool renormalise;
    bool weight_biased; /* weights from s + bias: what the code beside the released weights computes */
    float scale;        /* 0: 1 */
    kl_workspace work;
} kl_router_args;

KL_API size_t kl_router_workspace(const kl_backend *backend, const kl_router_args *args);
KL_API kl_status kl_router(const kl_backend *backend, const kl_router_args *args, kl_error *err);

/** Gradient of kl_router with the choice held fixed; the bias has none.  An id outside 0 .. E-1 is KL_ERR_ARGUMENT. */
typedef struct kl_router_bwd_args {
    kl_router_args fwd;  /* with id as the forward left it; weight is not looked at; bias only with weight_biased */
    kl_tensor d_weight;  /* [T][topk] f32 */
    kl_tensor d_logits;  /* out [T][E] f32 */
    kl_workspace work;
} kl_router_bwd_args;

KL_API size_t kl_router_bwd_workspace(const kl_backend *backend, const kl_router_bwd_args *args);
KL_API kl_status kl_router_bwd(const kl_backend *backend, const kl_router_bwd_args *args, kl_error *err);

/** Routed experts, grouped by expert so that each expert's weights are read once per call:
 *      y_t = sum_j weight_tj w_down[e] (silu(w_gate[e] x_t) . (w_up[e] x_t)),   e = id_tj,   summed in the order of j
 *  With `add`, y +=.  An expert may be chosen twice by a token, or by none.  The bits of a token depend neither on the
 *  other tokens of the call nor on what those chose.
 *
 *  Cost       6 topk D F flops per token.   Workspace: topk (D + 4) floats per token, and a few MB per thread.
 *  Errors     as above; an id outside 0 .. E-1 is KL_ERR_ARGUMENT, named.
 *  Source     arXiv:1701.06538; arXiv:2412.19437 section 2.1.2.   Backward: kl_experts_bwd.   [T: ops/experts] */
typedef struct kl_experts_args {
    kl_tensor y;                   /* out [T][D] f32 */
    kl_tensor x;                   /* [T][D] f32|bf16 */
    kl_tensor id, weight;          /* [T][topk] i32 and f32 */
    kl_tensor w_gate, w_up;        /* [E][F][D] f32|bf16 */
    kl_tensor w_down;              /* [E][D][F] f32|bf16 */
    bool add;
    kl_workspace work;
} kl_experts_args;

KL_API size_t kl_experts_workspace(const kl_backend *backend, const kl_experts_args *args);
KL_API kl_status kl_experts(const kl_backend *backend, const kl_experts_args *args, kl_error *err);

/** Gradients of kl_experts, with the choice held fixed.  Computes the hidden units again; each of the gradients may be
 *  absent.   Cost 16 topk D F flops per token.   Workspace: topk (3 D + 3 F + 4) floats per token, and a few
 *  MB per thread. */
typedef struct kl_experts_bwd_args {
    kl_experts_args fwd;                /* y is not looked at */
    kl_tensor d_y;                      /* [T][D] f32 */
    kl_tensor d_x;                      /* out [T][D] f32 */
    kl_tensor d_weight;                 /* out [T][topk] f32 */
    kl_tensor d_w_gate, d_w_up, d_w_down; /* += f32 */
    kl_workspace work;
} kl_experts_bwd_args;

KL_API size_t kl_experts_bwd_workspace(const kl_backend *backend, const kl_experts_bwd_args *args);
KL_API kl_status kl_experts_bwd(const kl_backend *backend, const kl_experts_bwd_args *args, kl_error *err);

/** Softmax and cross-entropy in one:  loss_t = lse_t - logits_t[label_t],  lse_t = log sum_n exp(logits_tn).
 *  A negative label is ignored: loss 0, no gradient.  A label >= N is KL_ERR_ARGUMENT.  Logits of -infinity are masked
 *  out.  The forward reads the logits once, whatever N.  Source: arXiv:1805.02867.   [T: ops/cross_entropy] */
typedef struct kl_cross_entropy_args {
    kl_tensor loss;   /* out [T] f32 */
    kl_tensor lse;    /* out [T] f32; absent: not wanted */
    kl_tensor logits; /* [T][N] f32|bf16 */
    kl_tensor label;  /* [T] i32 */
    kl_workspace work;
} kl_cross_entropy_args;

KL_API size_t kl_cross_entropy_workspace(const kl_backend *backend, const kl_cross_entropy_args *args);
KL_API kl_status kl_cross_entropy(const kl_backend *backend, const kl_cross_entropy_args *args, kl_error *err);

typedef struct kl_cross_entropy_bwd_args {
    kl_cross_entropy_args fwd; /* with lse as the forward left it; loss is not looked at */
    kl_tensor d_loss;          /* [T] f32; absent: ones */
    kl_tensor d_logits;        /* out [T][N] f32: d_loss (softmax - onehot); may be the same memory as f32 logits */
    kl_workspace work;
} kl_cross_entropy_bwd_args;

KL_API size_t kl_cross_entropy_bwd_workspace(const kl_backend *backend, const kl_cross_entropy_bwd_args *args);
KL_API kl_status kl_cross_entropy_bwd(const kl_backend *backend, const kl_cross_entropy_bwd_args *args, kl_error *err);

#ifdef __cplusplus
}
#endif
#endif
