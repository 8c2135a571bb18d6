/** klinear for trainers: gradients of a whole model, and what turns them into better parameters.  The conventions at
 *  the head of kl_ops.h hold here too. */
#ifndef KLINEAR_KL_TRAIN_H
#define KLINEAR_KL_TRAIN_H

#include "klinear/kl/model.h"
#include "klinear/kl_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------ gradients of a model -- */

/** What turns gradients into steps. */
typedef enum kl_optimiser {
    KL_OPTIMISER_ADAMW = 0,
    KL_OPTIMISER_MUON, /* for the matrices of mixers and feed-forward, AdamW for everything else */
} kl_optimiser;

/** A model in training: parameters, their gradients and two moments of each, all f32, and the memory of one batch.
 *  Belongs to one thread at a time. */
typedef struct kl_trainer kl_trainer;

typedef struct kl_trainer_options {
    const kl_config *config;   /* copied */
    const kl_backend *backend; /* borrowed, must outlive the trainer */
    const kl_allocator *alloc; /* borrowed; NULL: the C library's */
    int64_t max_tokens;        /* most tokens of a batch, 1 .. 2^24 */
    int64_t max_seqs;          /* most sequences of a batch; 0: as many as tokens */
    /** [n_layer], 1: what the layer's backward needs is computed again instead of kept; NULL: everything is kept.
     *  The same bits either way.   [T: train/walk] */
    const uint8_t *recompute;
    kl_optimiser optimiser; /* that kl_trainer_step will use */
} kl_trainer_options;

/** Bytes that kl_trainer_open will ask the allocator for, exactly.
 *  Errors: KL_ERR_ARGUMENT, KL_ERR_FORMAT and KL_ERR_UNSUPPORTED (the configuration), KL_ERR_MEMORY. */
KL_API kl_status kl_trainer_memory(int64_t *bytes, const kl_trainer_options *options, kl_error *err);

/** Opens a trainer whose parameters, gradients and moments are all 0.  Nothing is allocated afterwards.
 *  Errors: as above. */
KL_API kl_status kl_trainer_open(kl_trainer **trainer, const kl_trainer_options *options, kl_error *err);
/** NULL is allowed. */
KL_API void kl_trainer_close(kl_trainer *trainer);
KL_API const kl_config *kl_trainer_config(const kl_trainer *trainer);

/** One parameter of one layer: [n], [rows][columns], or [experts][rows][columns].  The views may be written. */
typedef struct kl_parameter {
    char name[160]; /* as Hugging Face files have it; of stacked experts that of the first */
    int layer;      /* -1: of the model itself */
    kl_tensor value, gradient, moment1, moment2;
} kl_parameter;

/** Number of parameters, and one of them; i within it. */
KL_API int64_t kl_trainer_n_parameter(const kl_trainer *trainer);
KL_API void kl_trainer_parameter(const kl_trainer *trainer, int64_t i, kl_parameter *parameter);

/** Sequences, packed one after the other.  They do not see each other, and begin with empty states. */
typedef struct kl_batch {
    const int32_t *token; /* [n_token], within the vocabulary */
    const int32_t *label; /* [n_token] what should follow; negative: not scored */
    int64_t n_token;
    const int64_t *cu_seqlens; /* [n_seq + 1] */
    int64_t n_seq;
    float weight;     /* of each label's loss in the gradient, e.g. 1 / labels of the step; 0: 1 */
    bool count_right; /* count the labels that are the likeliest token */
} kl_batch;

typedef struct kl_loss {
    double sum;      /* of -log p(label), nats */
    int64_t n_label; /* labels that are scored */
    int64_t n_right; /* with count_right */
} kl_loss;

/** Loss of a batch; *loss is assigned.
 *  Errors: KL_ERR_ARGUMENT (too many tokens or sequences, an id or label out of the vocabulary, offsets that do not
 *  ascend), by place.   [T: train/walk] */
KL_API kl_status kl_trainer_loss(kl_trainer *trainer, const kl_batch *batch, kl_loss *loss, kl_error *err);

/** The same, and gradients += weight times the gradient of the sum.  The same bits for any number of threads.
 *  [T: train/gradients, train/walk] */
KL_API kl_status kl_trainer_backward(kl_trainer *trainer, const kl_batch *batch, kl_loss *loss, kl_error *err);

/** gradients <- 0, and the count of what experts were chosen. */
KL_API void kl_trainer_forget_gradients(kl_trainer *trainer);

/** Parameters of a fresh model: matrices normal with deviation 0.5 / sqrt(columns), those that add to the stream of
 *  hidden states divided by sqrt(2 n_layer) besides; the embedding 0.02; convolutions uniform within 1 / sqrt(taps);
 *  A uniform in 1 .. 16 (0 in the logarithm with a bounded gate), time steps uniform in the logarithm of 1e-3 .. 1e-1;
 *  norms 1, biases 0.  Numbers depend on the seed and the name of the parameter alone.  Moments, gradients and the
 *  count of steps are 0 afterwards.   [T: train/step] */
KL_API void kl_trainer_init(kl_trainer *trainer, uint64_t seed);

/* --------------------------------------------------------------------------------------------------------- steps -- */

typedef struct kl_step_options {
    float lr;
    float beta1, beta2, eps;   /* of AdamW; 0: 0.9, 0.95, 1e-8 */
    float momentum;            /* of Muon; 0: 0.95 */
    float weight_decay;        /* of matrices; norms, A_log, dt_bias, convolutions and all vectors have none */
    float clip;                /* largest norm of all gradients together; 0: no limit */
    /** A step is skipped when its loss or gradient norm (in the logarithm) lies more than this many standard deviations
     *  above what is usual (running means over about 64 steps, from step 32 on).  0: never.  A step whose loss or norm
     *  is not finite is always skipped. */
    float outlier;
    double loss;               /* mean of the step, to be looked at; 0: not known */
    /** Balance of experts without a loss of its own: after the step each router's correction bias moves by this towards
     *  experts that were chosen less than the mean, and away from the others (arXiv:2408.15664).  0: not.
     *  The published 0.001 is for runs of 100,000 steps.  With 0.01, which recipes have where they say nothing, the
     *  bundled model's experts were balanced after eighty; with 0.001 the fullest still had 3.6 times the mean after a
     *  hundred. */
    float balance;
} kl_step_options;

typedef struct kl_step_report {
    double gradient_norm; /* before clipping */
    bool skipped;         /* parameters and moments are as before */
    /** Tokens of the fullest expert over the mean, in the worst layer, and the mean over layers; 0 without experts. */
    double worst_load, mean_load;
} kl_step_report;

/** One step with the gradients that have come together, which are 0 afterwards.  AdamW as kl_adamw.  Muon: momentum
 *  M <- momentum M + G, the step is the Newton-Schulz orthogonalisation (5 rounds) of G + momentum M times
 *  0.2 sqrt(max(rows, columns)), each expert by itself; lr and weight decay as AdamW.
 *  The same bits for any number of threads.   Source: arXiv:2502.16982.   Errors: KL_ERR_ARGUMENT.
 *  [T: train/step] */
KL_API kl_status kl_trainer_step(kl_trainer *trainer, const kl_step_options *options, kl_step_report *report,
                                 kl_error *err);
/** Steps that were not skipped. */
KL_API int64_t kl_trainer_n_step(const kl_trainer *trainer);

/** Writes everything that a later kl_trainer_load needs to go on to the bit: parameters, moments, the count of steps
 *  and what is usual; not the gradients: between steps.  `extra` [extra_bytes] is the caller's, e.g. the place in its
 *  data.
 *  The file is complete and checksummed, or `path` is as it was before, whatever happens.
 *  Errors: KL_ERR_IO, KL_ERR_MEMORY.   [T: train/training_file] */
KL_API kl_status kl_trainer_save(const kl_trainer *trainer, const char *path, const void *extra, size_t extra_bytes,
                                 kl_error *err);
/** Reads it into a trainer of the same configuration and optimiser; `extra` [extra_room] <- what was given, of
 *  *extra_bytes.  On failure the trainer is as before.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT (not such a file, a wrong checksum, another model, more bytes of the caller than
 *  there is room), KL_ERR_MEMORY.   [T: train/training_file] */
KL_API kl_status kl_trainer_load(kl_trainer *trainer, const char *path, void *extra, size_t extra_room,
                                 size_t *extra_bytes, kl_error *err);

/** Writes the parameters as a model in Hugging Face layout: a new folder, or one that is empty, which appears when it
 *  is complete.  `tokenizer` (may be NULL) is a folder whose tiktoken.model, tokenizer_config.json and
 *  chat_template.jinja are copied into it.  `type`: f32 (NULL), bf16 or f16, of everything but rates and biases of
 *  decays.  Other forms: kl_model_to_gguf, which reads the folder.
 *  Errors: KL_ERR_IO, KL_ERR_ARGUMENT (type), KL_ERR_NUMERIC, KL_ERR_UNSUPPORTED, KL_ERR_MEMORY.  [T: train/export] */
KL_API kl_status kl_trainer_export(const kl_trainer *trainer, const char *folder, const char *tokenizer,
                                   const char *type, kl_error *err);

/** From now on the time that operators take is added to seconds [KL_N_TIMED]; NULL: no longer. */
KL_API void kl_trainer_watch(kl_trainer *trainer, double *seconds);
enum {
    KL_N_TIMED = 31,
};
/** What entry `i` is the time of: "linear", "linear_bwd", ..., "rows" (copies and sums between operators), "muon",
 *  "adamw".  NULL past the end.  Static storage. */
KL_API const char *kl_timed_name(int i);

/** Model flops of one token, forwards and backwards, in sequences of `length` tokens: three times the forward's, which
 *  is two for each weight that a token is multiplied with, 7 K V for each recurrent head, and 2 (DN + DR + DV) for each
 *  head and row that MLA attends to.  What is computed again, to save memory or for another reason, does not count. */
KL_API double kl_config_train_flops(const kl_config *config, int64_t length);

/** Numbers in all parameters.   [T: train/walk] */
KL_API int64_t kl_config_n_parameter(const kl_config *config);

/** How the learning rate changes: up in a line over `warmup` steps, then
 *  CONSTANT  the peak;
 *  WSD       the peak, and over the last `decay` steps down to peak * floor along half a cosine;
 *  COSINE    down to peak * floor along half a cosine, over all the rest. */
typedef enum kl_schedule_kind {
    KL_SCHEDULE_CONSTANT = 0,
    KL_SCHEDULE_WSD,
    KL_SCHEDULE_COSINE,
} kl_schedule_kind;

typedef struct kl_schedule {
    kl_schedule_kind kind;
    double peak, floor;
    int64_t total, warmup, decay; /* steps */
} kl_schedule;

/** Learning rate of step `step`, 0 for the first; after the last it stays where it is.   [T: train/step] */
KL_API double kl_schedule_rate(const kl_schedule *schedule, int64_t step);

/* ----------------------------------------------------------------------------------------------- synthetic tasks -- */

/** Tasks whose answers are known: what a mixer can remember (arXiv:2510.26692 section 5.1). */
typedef enum kl_task_kind {
    /** Symbols, a separator, the same symbols backwards; everything after the separator is to be foreseen. */
    KL_TASK_PALINDROME = 0,
    /** Multi-query associative recall: keys, each followed by its value, a separator, then blanks with the keys in
     *  random places; at each the value is to be foreseen. */
    KL_TASK_MQAR,
    /** 64 stacks: "push i x" and "pop i x" in any order, x being what was pushed last; x is to be foreseen at each
     *  pop. */
    KL_TASK_STACK,
    /** Needles: keys, each followed by its value, in random places of a hay of other symbols; behind it a mark and
     *  the keys in a random order, at each of which the value is to be foreseen. */
    KL_TASK_NEEDLE,
    KL_N_TASK
} kl_task_kind;
/** "palindrome", "mqar", "stack", "needle"; "?" for a value that is no task.  Static storage. */
KL_API const char *kl_task_name(kl_task_kind task);

typedef struct kl_task {
    kl_task_kind kind;
    int64_t length;   /* tokens of a sequence, 8 .. 2^20; the last ones may be blanks */
    int64_t n_symbol; /* that are drawn from; 0: palindrome and stack 64; mqar 256 keys or twice the pairs, and as many
                         values; needle 64 keys, as many values and as many sorts of hay */
    int64_t n_pair;   /* mqar, needle: pairs, each asked for once; 0: mqar length / 8, needle 8, or 1 where a quarter of
                         the length is less */
    uint64_t seed;
} kl_task;

/** Size of the vocabulary.  Errors: KL_ERR_ARGUMENT. */
KL_API kl_status kl_task_vocab(int64_t *n_vocab, const kl_task *task, kl_error *err);
/** Sequence `index` of the task: token [length], label [length] (negative where nothing is to be foreseen).  Depends on
 *  nothing but its arguments.  Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY.   [T: train/tasks] */
KL_API kl_status kl_task_sequence(const kl_task *task, uint64_t index, int32_t *token, int32_t *label, kl_error *err);

/* ---------------------------------------------------------------------------------------------------------- data -- */

/** Documents out of a file of text. */
typedef struct kl_documents {
    const char *path;
    const char *field; /* the file is JSONL: one object a line, the document is this text in it.  NULL: plain text */
    /** Plain text: a line that is just this stands between documents; NULL: the file is one document.  White space at
     *  both ends of a document is left out, and so are documents of nothing else. */
    const char *separator;
} kl_documents;

/** Called with each document in turn; anything but KL_OK ends the reading and is handed on. */
typedef kl_status kl_document_fn(void *user, kl_text document, kl_error *err);

/** Reads all documents of a file.  *n_document (may be NULL) says how many.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT (a line is no object, lacks the field, has an empty text: by number; no documents),
 *  KL_ERR_MEMORY, what `fn` returns.   [T: train/documents] */
KL_API kl_status kl_documents_each(const kl_documents *documents, kl_document_fn *fn, void *user, int64_t *n_document,
                                   kl_error *err);

/** Learns a tokenizer: which pairs of neighbouring tokens are worth a token of their own, the most frequent first,
 *  within the pieces that the tokenizer of the released model cuts text into (docs/tokenizer.md). */
typedef struct kl_bpe kl_bpe;

/** `alloc` may be NULL.  Errors: KL_ERR_MEMORY. */
KL_API kl_status kl_bpe_open(kl_bpe **bpe, const kl_allocator *alloc, kl_error *err);
KL_API void kl_bpe_close(kl_bpe *bpe);
/** Counts the pieces of a text; its end is the end of a piece.  Errors: KL_ERR_MEMORY. */
KL_API kl_status kl_bpe_add(kl_bpe *bpe, kl_text text, kl_error *err);
/** Joins pairs until there are `n_rank` tokens, 256 bytes included, or no pair comes twice.  Pairs of the same count
 *  are joined in the order of their ids.  Once; *n_made (may be NULL) is the number of tokens.
 *  Errors: KL_ERR_ARGUMENT (n_rank below 256 or above 2^20), KL_ERR_MEMORY. */
KL_API kl_status kl_bpe_learn(kl_bpe *bpe, int64_t n_rank, int64_t *n_made, kl_error *err);
/** Writes tiktoken.model and tokenizer_config.json, with the names of `n_special` special tokens behind the ranks, into
 *  an existing folder.  kl_tokenizer_open reads them.   Errors: KL_ERR_IO, KL_ERR_MEMORY, KL_ERR_ARGUMENT (nothing was
 *  learnt; too many special tokens, or one with characters that need care in JSON).   [T: train/bpe] */
KL_API kl_status kl_bpe_write(const kl_bpe *bpe, const char *folder, const char *const *special, int n_special,
                              kl_error *err);

/** Tokens in files.  A shard is a file of documents, each at least one token, checksummed; it appears under its name
 *  when it is complete, and not before. */
typedef struct kl_shard_writer kl_shard_writer;

/** Starts a shard for ids below n_vocab.  The caller finishes or abandons it.  Errors: KL_ERR_ARGUMENT, KL_ERR_IO,
 *  KL_ERR_MEMORY. */
KL_API kl_status kl_shard_create(kl_shard_writer **writer, const char *path, int64_t n_vocab,
                                 const kl_allocator *alloc, kl_error *err);
/** Adds a document.  Errors: KL_ERR_ARGUMENT (no tokens, an id out of the vocabulary), KL_ERR_IO, KL_ERR_MEMORY. */
KL_API kl_status kl_shard_add(kl_shard_writer *writer, const int32_t *token, int64_t n_token, kl_error *err);
/** Puts the file in its place and frees the writer, also on failure, when nothing is left behind.
 *  Errors: KL_ERR_ARGUMENT (no documents), KL_ERR_IO. */
KL_API kl_status kl_shard_finish(kl_shard_writer *writer, kl_error *err);
/** Gives up.  NULL is allowed. */
KL_API void kl_shard_abandon(kl_shard_writer *writer);

enum {
    KL_MAX_SOURCES = 16,
};

/** A shard, and its part of the tokens that are drawn. */
typedef struct kl_source {
    const char *path;
    double weight; /* > 0; parts are weights divided by their sum */
} kl_source;

typedef struct kl_data_options {
    const kl_source *source; /* [n_source] */
    int n_source;            /* 1 .. KL_MAX_SOURCES */
    int64_t n_vocab;         /* of the model: every id must be below */
    int64_t row;             /* tokens of a row, 2 .. 2^24 */
    uint64_t seed;           /* of the order */
    const kl_allocator *alloc;
} kl_data_options;

/** An endless stream of rows out of shards.  Documents are cut into pieces of at most a row; pieces of each source come
 *  in a random order, another one in each epoch; sources take turns so that each has its part of the tokens.  Rows are
 *  filled with one piece after the other, each a sequence of its own; a piece that a row has no room for goes on in the
 *  next.  Every token but the last of its document is drawn once an epoch, with the token after it as its label.
 *  Everything depends on the options and the place alone.   [T: train/data] */
typedef struct kl_data kl_data;

/** Opens and checks the shards, which stay mapped.  Errors: KL_ERR_ARGUMENT, KL_ERR_IO, KL_ERR_FORMAT (not a shard, a
 *  wrong length or checksum, an id out of the vocabulary, an empty document, nothing to foresee), KL_ERR_MEMORY. */
KL_API kl_status kl_data_open(kl_data **data, const kl_data_options *options, kl_error *err);
/** NULL is allowed. */
KL_API void kl_data_close(kl_data *data);
/** Tokens that source `i` draws in an epoch. */
KL_API int64_t kl_data_epoch_tokens(const kl_data *data, int i);

/** What the order of rows is a function of, as a number: seed, row, and what is in the shards, in their order; not
 *  where the shards lie, nor their weights.  A place that was kept means the same in streams that have this number
 *  alike. */
KL_API uint64_t kl_data_order(const kl_data *data);

/** The next n_row rows: token and label [n_row * row], cu_seqlens [n_row * row + 1] with *n_seq sequences. */
KL_API void kl_data_next(kl_data *data, int64_t n_row, int32_t *token, int32_t *label, int64_t *cu_seqlens,
                         int64_t *n_seq);

/** Where a stream is. */
typedef struct kl_data_place {
    int64_t epoch[KL_MAX_SOURCES], piece[KL_MAX_SOURCES]; /* the next piece of each source */
    int64_t drawn[KL_MAX_SOURCES];                        /* tokens */
    int64_t source, at, end; /* rest of a piece: tokens at .. end - 1 of the source; at == end: none */
} kl_data_place;
KL_API kl_data_place kl_data_place_of(const kl_data *data);
/** Goes to a place; zeros are the beginning.  Errors: KL_ERR_ARGUMENT (no place of this stream). */
KL_API kl_status kl_data_go(kl_data *data, const kl_data_place *place, kl_error *err);

/* ---------------------------------------------------------------------------------------------------- optimisers -- */

/** One AdamW step on `n` parameters that share their settings:
 *      m <- b1 m + (1-b1) d;   v <- b2 v + (1-b2) d^2;   d = grad_scale * gradient
 *      p <- p - lr (m / (1-b1^step) / (sqrt(v / (1-b2^step)) + eps) + weight_decay p)
 *  All four arrays are [n] f32 and overlap nowhere; gradient is only read.  The same bits for any number of threads.
 *  Errors: KL_ERR_ARGUMENT (n < 0, step < 1, a beta outside [0,1), eps <= 0, NULL with n > 0).
 *  Source: arXiv:1711.05101.   [T: unit/adamw] */
typedef struct kl_adamw_args {
    float *p, *m, *v;
    const float *gradient;
    int64_t n;
    int64_t step; /* 1 for the first */
    float lr, beta1, beta2, eps, weight_decay;
    float grad_scale; /* e.g. the factor of clipping; 0: 1 */
} kl_adamw_args;

KL_API kl_status kl_adamw(const kl_backend *backend, const kl_adamw_args *args, kl_error *err);

/** Sum of squares of [n] f32, in f64, in an order that does not depend on the number of threads: one part of a global
 *  gradient norm.  NaN or infinity inside shows in the result.   [T: unit/adamw] */
KL_API double kl_sum_squares(const kl_backend *backend, const float *x, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
