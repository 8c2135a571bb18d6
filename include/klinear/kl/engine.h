/** Running a model: engines, sessions, steps, session files, and the cache of prompts' beginnings. */
#ifndef KLINEAR_KL_ENGINE_H
#define KLINEAR_KL_ENGINE_H

#include "klinear/kl/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------------------------------------------- engine -- */

/** Runs sequences of one model: owns the pages of the latent cache and the workspace of a step.  An engine and its
 *  sessions belong to one thread at a time. */
typedef struct kl_engine kl_engine;
/** One sequence: tokens, recurrent states, pages. */
typedef struct kl_session kl_session;

typedef struct kl_engine_options {
    int64_t cache_bytes;        /* most bytes of latent pages; 0: no limit but the machine's */
    kl_cache_type cache_type;
    int max_batch_tokens;       /* most tokens of one step; 0: 512.  Workspace grows with it. */
    int max_batch_sequences;    /* most sequences of one step; 0: 16 */
    const kl_allocator *alloc;
} kl_engine_options;

/** Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
KL_API kl_status kl_engine_open(kl_engine **engine, const kl_model *model, const kl_engine_options *options,
                                kl_error *err);
/** After all its sessions.  NULL is allowed. */
KL_API void kl_engine_close(kl_engine *engine);
KL_API const kl_model *kl_engine_model(const kl_engine *engine);
KL_API kl_cache_type kl_engine_cache_type(const kl_engine *engine);

typedef struct kl_engine_memory {
    int64_t workspace_bytes;  /* of a step */
    int64_t page_bytes;       /* of one page */
    int64_t pages_used;       /* that sessions and checkpoints hold, shared ones counted once */
    int64_t pages_held;       /* that have taken memory, used or free */
    int64_t pages_most;       /* within the budget */
    int64_t fixed_bytes;      /* of one session's fixed block */
} kl_engine_memory;
KL_API kl_engine_memory kl_engine_memory_of(const kl_engine *engine);
/** What an engine with these options would take, without taking it; counts of pages are 0.
 *  Errors: KL_ERR_ARGUMENT. */
KL_API kl_status kl_engine_predict(kl_engine_memory *memory, const kl_model *model, const kl_engine_options *options,
                                   kl_error *err);

KL_API kl_status kl_session_open(kl_session **session, kl_engine *engine, kl_error *err);
KL_API void kl_session_close(kl_session *session);
/** A second session that continues from the same tokens.  Copies the fixed block and the last, partly filled page;
 *  shares the other pages. */
KL_API kl_status kl_session_fork(kl_session **copy, const kl_session *session, kl_error *err);
/** Forgets everything. */
KL_API void kl_session_reset(kl_session *session);
/** Tokens that the session has read so far, and their ids (borrowed until the next call with this session). */
KL_API int64_t kl_session_length(const kl_session *session);
KL_API const int32_t *kl_session_tokens(const kl_session *session);

/** A place to return to: a copy of the fixed block; pages are shared.  Cost: kl_state_cost.fixed_bytes. */
typedef struct kl_checkpoint kl_checkpoint;
KL_API kl_status kl_checkpoint_take(kl_checkpoint **checkpoint, const kl_session *session, kl_error *err);
KL_API void kl_checkpoint_drop(kl_checkpoint *checkpoint);
KL_API int64_t kl_checkpoint_length(const kl_checkpoint *checkpoint);
/** Makes `session` (of the same engine) what the checkpoint's session was. */
KL_API kl_status kl_session_resume(kl_session *session, const kl_checkpoint *checkpoint, kl_error *err);

/** Which logits a span wants. */
typedef enum kl_want {
    KL_WANT_NONE = 0,
    KL_WANT_LAST, /* of the span's last token */
    KL_WANT_ALL,
} kl_want;

/** Tokens that one session reads in a step. */
typedef struct kl_span {
    kl_session *session;   /* no session twice in a step */
    const int32_t *token;  /* [n_token] */
    int n_token;           /* >= 1 */
    /** False: the tokens are a prompt and are read by chunks.  True: one generated token, read by the step kernels.
     *  The two give the same numbers up to rounding; how a text was cut into prompt and generated tokens is part of
     *  what determines the bits. */
    bool decode;
    kl_want want;
    float *logits;         /* out [1 or n_token][n_vocab] f32; not looked at with KL_WANT_NONE */
    float *hidden;         /* out [1 or n_token][n_embd], after the final norm; NULL: not wanted */
    kl_status status;      /* out: KL_OK, or KL_ERR_NUMERIC when its logits are not finite */
} kl_span;

/** One step of the network over all spans at once: prompts, generated tokens, or both.  A session's result has the same
 *  bits whatever else is in the step and for any number of threads, and a prompt may be cut into steps at any multiple
 *  of KL_PAGE_TOKENS.  At most max_batch_tokens tokens and max_batch_sequences spans.
 *  A session whose numbers are no longer finite gets its span's status; the others go on.
 *  Errors (then no session has changed): KL_ERR_ARGUMENT (a token outside the vocabulary, limits), KL_ERR_MEMORY (no
 *  page within the budget). */
KL_API kl_status kl_step(kl_engine *engine, kl_span *span, int n_span, kl_error *err);

/** From now on `stop` is asked before every layer of a step and between the tasks of its operators, by any thread of
 *  the backend's pool, so it has to be quick (a flag that a signal's handler sets).  Once it says true, the step ends
 *  within milliseconds with KL_ERR_CANCELLED, whatever the length of its sequences, and its sessions, which are
 *  half-way, are broken until they are reset or resumed.  NULL: no longer.   [T: engine/engine_stop] */
typedef bool kl_stop_fn(void *user);
KL_API void kl_engine_stop_when(kl_engine *engine, kl_stop_fn *stop, void *user);

/** Reads a prompt of any length in bounded memory, in pieces of max_batch_tokens.  logits [n_vocab] of the last token,
 *  or NULL.  Stopped by `progress`: KL_ERR_CANCELLED; the session has read the pieces before.
 *  Errors: as kl_step, KL_ERR_NUMERIC. */
KL_API kl_status kl_prefill(kl_session *session, const int32_t *token, int64_t n_token, float *logits,
                            kl_progress_fn *progress, void *user, kl_error *err);
/** The engine of a session. */
KL_API kl_engine *kl_session_engine(const kl_session *session);
/** Guesses what follows token [n], from what followed the last of them (three at least) when they stood in it before.
 *  Returns how many tokens, `most` or 0: no guess.   Cost: a pass over the last 32,768.   [T: engine/draft] */
KL_API int kl_guess_tokens(int32_t *guess, int most, const int32_t *token, int64_t n);
/** Reads one generated token. */
KL_API kl_status kl_decode(kl_session *session, int32_t token, float *logits, kl_error *err);

/** From now on what steps spend is added to spent [n_layer + 1][KL_N_PART], whose last row is what belongs to no layer;
 *  NULL: no longer. */
KL_API void kl_engine_watch(kl_engine *engine, kl_spent *spent);

/** Fills an empty session with `n_token` tokens' worth of plausible random state without computing them: depth for
 *  measurements.  Only what the engine's budget allows. */
KL_API kl_status kl_session_fill_random(kl_session *session, int64_t n_token, uint64_t seed, kl_error *err);

/** Writes the session to a file: tokens, states, pages, `extra` bytes of the caller (sampler, chat history), the
 *  model's fingerprint, a checksum.  The file is complete or absent.
 *  Errors: KL_ERR_IO, KL_ERR_MEMORY, KL_ERR_NUMERIC (the session is broken).   [T: engine/session_file] */
KL_API kl_status kl_session_save(const kl_session *session, const char *path, const void *extra, size_t extra_bytes,
                                 kl_error *err);
/** Opens a session from a file; nothing of a refused file is used.  It continues with the bits of the one that was
 *  saved.  *extra_bytes (may be NULL) becomes the size of the caller's bytes, which go to extra [extra_room]; `extra`
 *  NULL: they are left out.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT (truncated, changed, older, of another model or cache type, each by name),
 *  KL_ERR_WORKSPACE (extra_room is too small; *extra_bytes is set), KL_ERR_MEMORY.   [T: engine/session_file] */
KL_API kl_status kl_session_load(kl_session **session, kl_engine *engine, const char *path, void *extra,
                                 size_t extra_room, size_t *extra_bytes, kl_error *err);

/* -------------------------------------------------------------------------------------------------- prefix cache -- */

/** What prompts left behind, so that the beginning they share with the next one is not read twice.  One per engine. */
typedef struct kl_prefix kl_prefix;

typedef struct kl_prefix_options {
    int64_t bytes; /* most bytes of checkpoints and of latent pages that only the cache holds; 0: a quarter of memory */
    const char *folder; /* where kl_prefix_spill() writes, and what was written before is found; NULL: nowhere */
    int64_t disk_bytes; /* most bytes there, the last file apart; 0: 16 GiB */
} kl_prefix_options;

/** Errors: KL_ERR_ARGUMENT (the engine has one already), KL_ERR_MEMORY, KL_ERR_IO (the folder). */
KL_API kl_status kl_prefix_open(kl_prefix **prefix, kl_engine *engine, const kl_prefix_options *options, kl_error *err);
/** Before its engine.  NULL is allowed. */
KL_API void kl_prefix_close(kl_prefix *prefix);

/** What the cache did for one prompt. */
typedef struct kl_prefix_report {
    int64_t matched; /* tokens whose blocks are in the cache */
    int64_t reused;  /* tokens that were not read again: up to the deepest checkpoint among those */
    int64_t read;    /* tokens that were */
    int64_t loaded;  /* of those reused, tokens that came from the disk */
} kl_prefix_report;

/** Reads a prompt through the cache: the session, which must be empty, continues where the deepest checkpoint on the
 *  prompt's path lies and reads the rest; new checkpoints are kept at the last full block before the prompt's end, at
 *  positions 64, 128, 256, 512, ... and at `mark` (turn boundaries, ascending; each rounded down to a block).
 *  The session and `logits` have the bits of kl_prefill.  `space` separates users: prompts see only their own.
 *  Errors: as kl_prefill.   [T: engine/prefix] */
KL_API kl_status kl_prefix_prefill(kl_prefix *prefix, kl_session *session, uint64_t space, const int32_t *token,
                                   int64_t n_token, const int64_t *mark, int n_mark, float *logits,
                                   kl_prefix_report *report, kl_progress_fn *progress, void *user, kl_error *err);

typedef struct kl_prefix_state {
    int64_t bytes, most_bytes; /* held, and the budget */
    int64_t n_block, n_checkpoint;
    int64_t disk_bytes, n_file; /* in the folder, those of other models included */
} kl_prefix_state;
KL_API kl_prefix_state kl_prefix_state_of(const kl_prefix *prefix);
/** Writes one checkpoint to the folder: of those at the ends of what was read, and where prompts part, the one used
 *  last that is not there yet.  *wrote: there was one.  To be called when there is nothing else to do, and before
 *  closing until nothing is left.  A file is complete or absent, and has a checksum; one that cannot be read is
 *  removed, and the prompt read instead.   Cost: the write of a session file.
 *  Errors: KL_ERR_IO, KL_ERR_MEMORY.   [T: engine/prefix_disk] */
KL_API kl_status kl_prefix_spill(kl_prefix *prefix, bool *wrote, kl_error *err);
/** Writes the deepest checkpoint on the path of token [n_token] to a file of the caller's, which no budget removes.
 *  *length becomes its tokens; 0: there is none, and no file is written.   Errors: as kl_session_save.
 *  [T: engine/prefix_disk] */
KL_API kl_status kl_prefix_export(kl_prefix *prefix, int64_t *length, uint64_t space, const int32_t *token,
                                  int64_t n_token, const char *path, kl_error *err);
/** Takes what such a file holds into the cache, as far as the budget goes; *length (may be NULL) becomes its tokens.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT (also when it comes from another model or build, whose bits may differ),
 *  KL_ERR_MEMORY. */
KL_API kl_status kl_prefix_import(kl_prefix *prefix, int64_t *length, uint64_t space, const char *path, kl_error *err);
/** Forgets everything in memory. */
KL_API void kl_prefix_clear(kl_prefix *prefix);

#ifdef __cplusplus
}
#endif
#endif
