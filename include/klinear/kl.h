/** klinear: Kimi Linear in C.  The ground that every other header stands on: statuses, errors, tensors,
 *  threads, memory, and the backend that computes.  Operators are in kl_ops.h, training in kl_train.h.
 *
 *  Manners of the library, valid for every function of the three headers:
 *    - it never prints, never exits, never installs a signal handler and keeps no mutable global;
 *    - what can fail returns a kl_status and, when `err` is not NULL, writes one sentence that names the argument,
 *      what was found and what was expected; outputs are untouched on error unless the function says otherwise;
 *    - structs of arguments are read, never kept; a zero-filled field means "absent" or "the default";
 *    - a view borrows: the memory behind a kl_tensor belongs to the caller and must outlive the call. */
#ifndef KLINEAR_KL_H
#define KLINEAR_KL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(KL_STATIC)
#define KL_API
#else
#define KL_API __attribute__((visibility("default")))
#endif

#define KL_VERSION_MAJOR 0
#define KL_VERSION_MINOR 1
#define KL_VERSION_PATCH 0

/** The version of the library that is loaded, as "0.1.0".  Static storage. */
KL_API const char *kl_version(void);

/* ------------------------------------------------------------------------------------------------------ statuses -- */

/** Every status with its sentence: one list makes the enum and the texts. */
#define KL_STATUSES(X)                                                                                                 \
    X(OK, "no error")                                                                                                  \
    X(ERR_MEMORY, "out of memory")                                                                                     \
    X(ERR_IO, "the system refused a file or a thread")                                                                 \
    X(ERR_FORMAT, "a file is not what it claims to be")                                                                \
    X(ERR_ARGUMENT, "an argument has a value that is not allowed")                                                     \
    X(ERR_SHAPE, "tensor shapes do not fit together")                                                                  \
    X(ERR_DTYPE, "a tensor has an element type that is not accepted here")                                             \
    X(ERR_OVERLAP, "an output overlaps another tensor")                                                                \
    X(ERR_WORKSPACE, "the workspace is missing or too small")                                                          \
    X(ERR_UNSUPPORTED, "not available on this backend")                                                                \
    X(ERR_NUMERIC, "a number is not finite where it has to be")                                                        \
    X(ERR_CANCELLED, "the caller asked to stop")

typedef enum kl_status {
#define KL_X(name, text) KL_##name,
    KL_STATUSES(KL_X)
#undef KL_X
} kl_status;

/** "KL_ERR_SHAPE" for KL_ERR_SHAPE; "KL_?" for a value that is no status.  Static storage. */
KL_API const char *kl_status_name(kl_status status);
/** The sentence of KL_STATUSES for `status`.  Static storage. */
KL_API const char *kl_status_text(kl_status status);

/** What went wrong, for people.  The caller owns it; a failing call fills it, a succeeding one leaves it alone. */
typedef struct kl_error {
    kl_status status;
    char text[240]; /* zero-terminated; cut with "..." when longer */
} kl_error;

/* ------------------------------------------------------------------------------------------------------- tensors -- */

typedef enum kl_dtype {
    KL_F32 = 0,
    KL_BF16 = 1,
    KL_F16 = 2,
    KL_I32 = 3,
    /** Only where it is said so: bytes of blocks.  A row of n numbers, n a multiple of 32, is n / 32 * 34 of these
     *  elements: for each 32 numbers a scale in f16 and 32 integers of 8 bits, little-endian. */
    KL_Q8_0 = 4,
} kl_dtype;

/** Bytes of one element; 0 for a value that is no dtype. */
KL_API size_t kl_dtype_bytes(kl_dtype dtype);
/** "f32", "bf16", "f16", "i32", "q8_0"; "?" for a value that is no dtype.  Static storage. */
KL_API const char *kl_dtype_name(kl_dtype dtype);

/** A view of numbers in memory; owns nothing.  Row-major, outermost dimension first.  Everything inside one entry
 *  of dim[0] is dense; entries of dim[0] may lie further apart (`pitch`), so that a slice of a wider row, or q, k
 *  and v inside one fused projection, are views as well.  n_dim == 0 means "absent". */
typedef struct kl_tensor {
    void *data;     /* aligned to its element; reading through an input view never writes */
    int64_t dim[4]; /* dim[0 .. n_dim-1], each >= 0 */
    int64_t pitch;  /* elements from one entry of dim[0] to the next; 0: dense */
    kl_dtype dtype;
    int n_dim; /* 0..4 */
} kl_tensor;

static inline kl_tensor kl_view(void *data, kl_dtype dtype, int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    kl_tensor t;
    t.data = data;
    t.dim[0] = d0;
    t.dim[1] = d1;
    t.dim[2] = d2;
    t.dim[3] = d3;
    t.pitch = 0;
    t.dtype = dtype;
    t.n_dim = n_dim;
    return t;
}
static inline kl_tensor kl_view1(void *data, kl_dtype dtype, int64_t d0)
{
    return kl_view(data, dtype, 1, d0, 0, 0, 0);
}
static inline kl_tensor kl_view2(void *data, kl_dtype dtype, int64_t d0, int64_t d1)
{
    return kl_view(data, dtype, 2, d0, d1, 0, 0);
}
static inline kl_tensor kl_view3(void *data, kl_dtype dtype, int64_t d0, int64_t d1, int64_t d2)
{
    return kl_view(data, dtype, 3, d0, d1, d2, 0);
}
static inline kl_tensor kl_view4(void *data, kl_dtype dtype, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    return kl_view(data, dtype, 4, d0, d1, d2, d3);
}

/** Scratch memory that the caller lends to one call.  Any alignment; contents are undefined afterwards. */
typedef struct kl_workspace {
    void *data;
    size_t bytes;
} kl_workspace;

/* -------------------------------------------------------------------------------------------------------- memory -- */

/** Where handles get their memory from.  NULL anywhere an allocator is asked for: the C library's.
 *  `alloc` returns memory aligned to 64 bytes or NULL; it must be callable from several threads. */
typedef struct kl_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void (*release)(void *user, void *memory);
    void *user;
} kl_allocator;

/* ------------------------------------------------------------------------------------------------------- threads -- */

/** Threads that operators share.  A pool runs one operator at a time; calls from several threads take turns. */
typedef struct kl_pool kl_pool;

/** Opens a pool of `n_thread` threads, the calling one included (so 1 starts none; 0: one per available core).
 *  `alloc` may be NULL.  The caller closes it after every backend that uses it.
 *  Errors: KL_ERR_ARGUMENT (n_thread < 0 or > 1024), KL_ERR_MEMORY, KL_ERR_IO (no thread could be started). */
KL_API kl_status kl_pool_open(kl_pool **pool, int n_thread, const kl_allocator *alloc, kl_error *err);
/** Stops the threads and frees the pool.  NULL is allowed. */
KL_API void kl_pool_close(kl_pool *pool);
/** Threads in the pool, the calling one included; 1 for NULL. */
KL_API int kl_pool_threads(const kl_pool *pool);

/* ------------------------------------------------------------------------------------------------------- backend -- */

/** What computes: a table of operators and, for each leaf loop, the fastest variant that this machine can run. */
typedef struct kl_backend kl_backend;

typedef struct kl_backend_options {
    const char *name; /* "cpu"; NULL: the best one available */
    /** Highest instruction set to use: "ref" (plain C), "avx2", "avx512", "native".  NULL: "native". */
    const char *isa;
    kl_pool *pool;             /* borrowed; NULL: everything runs on the calling thread */
    const kl_allocator *alloc; /* borrowed; NULL: the C library's */
} kl_backend_options;

/** Opens a backend.  `options` may be NULL.  A backend is read-only once open and may be used from several threads.
 *  Errors: KL_ERR_ARGUMENT (unknown name or isa, or an isa that this machine lacks), KL_ERR_MEMORY. */
KL_API kl_status kl_backend_open(kl_backend **backend, const kl_backend_options *options, kl_error *err);
/** Frees the backend.  NULL is allowed. */
KL_API void kl_backend_close(kl_backend *backend);
/** The instruction set in use: "ref", "avx2" or "avx512".  Static storage. */
KL_API const char *kl_backend_isa(const kl_backend *backend);
/** Walks the chosen leaf loops: slot and variant names of entry `i`; false past the end.  Static storage. */
KL_API bool kl_backend_kernel(const kl_backend *backend, int i, const char **slot, const char **variant);

/** One line on this machine's processor: name, cores, instruction sets that klinear uses.
 *  Writes at most `bytes` characters, the closing zero included; returns the length it wanted to write. */
KL_API size_t kl_cpu_describe(char *text, size_t bytes);

/* ----------------------------------------------------------------------------------------------------- tokenizer -- */

/** Bytes that somebody else holds: not terminated, of any content.  {NULL, 0}: absent, or empty. */
typedef struct kl_text {
    const char *data;
    size_t bytes;
} kl_text;

static inline kl_text kl_text_of(const char *z)
{
    kl_text text;
    text.data = z;
    text.bytes = z ? strlen(z) : 0;
    return text;
}

/** Text to token ids and back.  Read-only once open, so that any number of threads may share one.  docs/tokenizer.md */
typedef struct kl_tokenizer kl_tokenizer;

/** Opens the tokenizer of a model: `path` is a tiktoken.model file (tokenizer_config.json and chat_template.jinja
 *  beside it are read too), a directory that holds one, or a GGUF file.  The files may go away afterwards.
 *  Errors: KL_ERR_IO; KL_ERR_FORMAT, with line or token, what was found and what was expected; KL_ERR_UNSUPPORTED
 *  (another kind of tokenizer, a limit); KL_ERR_MEMORY.   [T: unit/tokenizer_files] */
KL_API kl_status kl_tokenizer_open(kl_tokenizer **tokenizer, const char *path, const kl_allocator *alloc,
                                   kl_error *err);
/** NULL is allowed. */
KL_API void kl_tokenizer_close(kl_tokenizer *tokenizer);

/** Ids are 0 .. n-1.  A model may have more rows in its embedding than that; it should never write those. */
KL_API int32_t kl_tokenizer_n_vocab(const kl_tokenizer *t);
/** What a token spells, to the byte: often no whole characters.  Absent for ids that are none. */
KL_API kl_text kl_tokenizer_text(const kl_tokenizer *t, int32_t id);
/** True for markup such as <|im_end|>, false for ordinary tokens and what is none. */
KL_API bool kl_tokenizer_is_special(const kl_tokenizer *t, int32_t id);
/** The id of the special token of this name; -1 when there is none. */
KL_API int32_t kl_tokenizer_special(const kl_tokenizer *t, const char *name);
/** The ids that end a turn, those of [EOS], <|im_end|> and [EOT] that exist.  ids [3]; returns how many. */
KL_API int kl_tokenizer_stops(int32_t ids[3], const kl_tokenizer *t);
/** The chat template that came with the tokenizer, in Jinja; absent when none did. */
KL_API kl_text kl_tokenizer_template(const kl_tokenizer *t);
/** SHA-256, in hexadecimal, of the ordinary tokens written as a tiktoken.model file, wherever they came from: that of
 *  the released file for the released model.  Takes about 20 ms for its size. */
KL_API void kl_tokenizer_sha256(char hex[65], const kl_tokenizer *t);
/** True when the vocabulary has the size of the released one and other contents: worth a warning.  Cost as above. */
KL_API bool kl_tokenizer_is_suspect(const kl_tokenizer *t);

/** Whether the names of special tokens in a text become those tokens. */
typedef enum kl_markup {
    KL_MARKUP_PLAIN = 0, /* never: they are text, as all else that users write */
    KL_MARKUP_SPECIAL,   /* always: for templates, and for comparing with the reference, which does so */
} kl_markup;

/** Encodes `text`.  Adds nothing in front or behind.  Bytes that are no UTF-8 count as U+FFFD, one for each maximal
 *  part of a character, so that the ids are those of the text as decoders show it.
 *
 *  ids   [room]  the first ids; may be NULL when room is 0
 *  n_id          how many ids the text has, also when they are more than `room`; at most text.bytes where the text is
 *                well-formed, three times that where it is not
 *
 *  Equals the reference to the id, its limits included (400,000 characters in a block, 25,000 in a run).   Cost: time
 *  linear in the text, but n log n in the length of one word; 60 to 140 MB/s for English.   Allocates only for words
 *  beyond 64 bytes (28 bytes per byte) and for blocks with bytes that are no UTF-8 (1.2 MB at most).   Threads: any.
 *  Errors: KL_ERR_MEMORY, KL_ERR_ARGUMENT.   [T: unit/tokenize, text/tiktoken_oracle] */
KL_API kl_status kl_tokenize(int32_t *ids, size_t room, size_t *n_id, const kl_tokenizer *t, kl_text text,
                             kl_markup markup, kl_error *err);

/** Receives the next `n` ids; anything but KL_OK ends the encoding with that status. */
typedef kl_status kl_ids_fn(void *user, const int32_t *ids, size_t n);
/** The same for texts of any length: the ids come in portions. */
KL_API kl_status kl_tokenize_each(kl_ids_fn *hand_on, void *user, const kl_tokenizer *t, kl_text text,
                                  kl_markup markup, kl_error *err);

/** Turns ids into text one by one, without ever giving half a character.  The caller holds it; zero-filled it is at the
 *  start, a copy of it is a second stream. */
typedef struct kl_decoder {
    unsigned char held[4]; /* the beginning of a character */
    unsigned char n_held;
    bool show_special; /* the caller's choice: markup is shown by its name instead of being left out */
} kl_decoder;

/** Bytes of room that a call of kl_decoder_put() or kl_decoder_end() may need. */
KL_API size_t kl_decoder_room(const kl_tokenizer *t);
/** Writes the text that `id` completes, well-formed UTF-8, and returns its bytes.  What cannot become a character is
 *  U+FFFD, one for each maximal part of one; so is an id that is no token.  A special token ends what is held.
 *  text [kl_decoder_room()].   [T: unit/decoder] */
KL_API size_t kl_decoder_put(kl_decoder *d, char *text, const kl_tokenizer *t, int32_t id);
/** The same at the end: what is held is no character, and is U+FFFD. */
KL_API size_t kl_decoder_end(kl_decoder *d, char *text);
/** Decodes ids [n_id] at once.  text [room]: the first bytes, which may end inside a character; returns how many bytes
 *  there are. */
KL_API size_t kl_detokenize(char *text, size_t room, const kl_tokenizer *t, const int32_t *ids, size_t n_id,
                            bool show_special);

/* ---------------------------------------------------------------------------------------------------------- chat -- */

/** A call that an assistant made.  `id` is used as it is; the model itself writes functions.NAME:INDEX. */
typedef struct kl_chat_call {
    kl_text id;
    kl_text arguments;
    bool is_value; /* arguments are a JSON value to be written as the template does, instead of text to be copied */
} kl_chat_call;

/** A turn.  Absent fields count as empty. */
typedef struct kl_chat_message {
    kl_text role;               /* "system", "user", "assistant", "tool"; any other is shown as a system turn */
    kl_text name;               /* in place of the role, where there is one */
    kl_text content;            /* copied as it is; markers in it stay text */
    const kl_text *part;        /* [n_part] more of the content, one behind the other */
    size_t n_part;
    const kl_chat_call *call;   /* [n_call] of an assistant */
    size_t n_call;
    kl_text call_id;            /* of a tool: which call this is the answer to */
} kl_chat_message;

/** Which template renders a chat. */
typedef enum kl_template {
    KL_TEMPLATE_MODEL = 0, /* the one that came with the tokenizer; Kimi Linear's where none did */
    KL_TEMPLATE_KIMI,      /* Kimi Linear's, whatever came with the tokenizer */
} kl_template;

typedef struct kl_chat {
    const kl_chat_message *message; /* [n_message] */
    size_t n_message;
    kl_text tools;        /* JSON: the array of tools, as clients give it; absent or [] for none */
    bool without_opening; /* the prompt does not end by opening the assistant's turn */
    kl_template rendering;
} kl_chat;

/** A rendered chat, in memory that the caller lends.  Counts are what there is, also when it is more than the room. */
typedef struct kl_chat_prompt {
    int32_t *ids; /* [id_room]; markup by id, all else as plain text */
    size_t id_room, n_id;
    char *text; /* [text_room]; the same as text, without a closing zero */
    size_t text_room, text_bytes;
} kl_chat_prompt;

/** Can chats be rendered with this tokenizer?  KL_ERR_UNSUPPORTED, with the reason: the template is none that klinear
 *  knows, or the vocabulary lacks a marker.   [T: unit/chat] */
KL_API kl_status kl_chat_check(const kl_tokenizer *t, kl_template rendering, kl_error *err);
/** Is this Jinja text the template of Kimi Linear?  It is judged by the markers and phrases in it: KL_ERR_UNSUPPORTED
 *  names the one that should not be there, or is missing. */
KL_API kl_status kl_chat_check_template(kl_text jinja, kl_error *err);

/** Renders a chat as the template of Kimi Linear does: no text between turns, no default system turn, tools in a turn
 *  of their own in front.  Ids and text of `prompt` are written; text alone needs no tokenizer (`t` NULL).  Turns that
 *  follow can be rendered later and appended, because a marker begins each.
 *  Errors: KL_ERR_ARGUMENT (a role is missing), KL_ERR_FORMAT (tools or arguments are no JSON), KL_ERR_UNSUPPORTED as
 *  above, KL_ERR_MEMORY.   [T: unit/chat] */
KL_API kl_status kl_chat_render(kl_chat_prompt *prompt, const kl_tokenizer *t, const kl_chat *chat, kl_error *err);

/** Where the text of an answer stands. */
typedef enum kl_answer_place {
    KL_ANSWER_CONTENT = 0, /* to be shown */
    KL_ANSWER_CALLS,       /* between calls; the model writes nothing there */
    KL_ANSWER_CALL_ID,     /* the id of a call */
    KL_ANSWER_ARGUMENTS,   /* its arguments */
    KL_ANSWER_DONE,        /* behind a stop token or a fault: nothing more is read */
} kl_answer_place;

typedef enum kl_answer_event {
    KL_ANSWER_GOES_ON = 0,
    KL_ANSWER_CALL_BEGINS,
    KL_ANSWER_ARGUMENTS_BEGIN,
    KL_ANSWER_CALL_ENDS,
    KL_ANSWER_STOPS,  /* a stop token: the answer is whole */
    KL_ANSWER_FAULT,  /* a marker where none may be, or an empty id: what belongs to a call that is open is void */
} kl_answer_event;

/** Reads an answer id by id; markers are known by their ids.  The caller holds it, zero-filled at the start. */
typedef struct kl_answer_reader {
    kl_decoder decoder;
    kl_answer_place place;
    bool any; /* the id of the call that is open has text */
} kl_answer_reader;

/** What an id gave: first the text, then the event. */
typedef struct kl_answer_piece {
    kl_answer_place place; /* where the text belongs */
    size_t bytes;          /* of text */
    kl_answer_event event;
} kl_answer_piece;

/** Reads one id.  text [kl_decoder_room()], well-formed UTF-8.   [T: unit/answer] */
KL_API kl_answer_piece kl_answer_put(kl_answer_reader *r, char *text, const kl_tokenizer *t, int32_t id);
/** The end without a stop token, for instance because the room is used up. */
KL_API kl_answer_piece kl_answer_end(kl_answer_reader *r, char *text);

/** A whole answer. */
typedef struct kl_answer {
    kl_text content;
    const kl_chat_call *call; /* [n_call] the calls that are whole; arguments as the model wrote them, JSON or not */
    size_t n_call;
    bool stopped; /* by a stop token */
    bool faulty;  /* markers were out of place; calls in front of the fault are kept */
} kl_answer;

/** Reads ids [n_id] at once.  The answer borrows nothing; kl_answer_close() frees it.  Errors: KL_ERR_MEMORY. */
KL_API kl_status kl_answer_open(const kl_answer **answer, const kl_tokenizer *t, const int32_t *ids, size_t n_id,
                                kl_error *err);
KL_API void kl_answer_close(const kl_answer *answer);
/** The name in the id of a call: between the last '.' in front of the last ':' and that ':', as in functions.NAME:0; of
 *  other ids as much of that as there is. */
KL_API kl_text kl_chat_call_name(kl_text id);

/* ------------------------------------------------------------------------------------------------------ sampling -- */

typedef struct kl_logit_bias {
    int32_t id;
    double bias; /* added to the logit; -INFINITY forbids the token */
} kl_logit_bias;

/** How the next token is chosen; zero-filled: greedily.  In this order:
 *      repetition, presence and frequency penalty, bias       on logits
 *      temperature
 *      min-p, top-k, typical, top-p                            each leaves out candidates, by what the last one left
 *      a draw among what is left                               by the seed */
typedef struct kl_sampling {
    double temperature;        /* 0: the token of the highest logit, the lowest id of equals; at most 100 */
    int32_t top_k;             /* only the k most likely; 0: all */
    double top_p;              /* the most likely that together have this probability; 0 or 1: all */
    double min_p;              /* only those with this fraction of the highest probability; 0: all */
    double typical_p;          /* those nearest to the expected surprise that together have this; 0 or 1: all */
    double repetition_penalty; /* logits of tokens in the history: positive divided by it, others multiplied; 0: 1 */
    double presence_penalty;   /* subtracted from the logits of tokens that were generated */
    double frequency_penalty;  /* the same for each time */
    int64_t penalty_tokens;    /* only the last so many of the history count; 0: all */
    const kl_logit_bias *bias; /* [n_bias] */
    size_t n_bias;
    bool logprobs;  /* give the log-probability of the token, and top */
    int32_t n_top;  /* entries of kl_sampled.top, at most KL_MAX_TOP */
} kl_sampling;

enum { KL_MAX_TOP = 64 };

typedef struct kl_logprob {
    int32_t id;
    double logprob; /* natural logarithm of its probability as the model gave it, before penalties, bias, temperature */
} kl_logprob;

/** Where a stream of random numbers is: copy it to fork, write it to save.  {seed, 0} at the start. */
typedef struct kl_sampler_state {
    uint64_t seed;
    uint64_t n_drawn; /* tokens chosen so far: token n is drawn with number n of the seed, whatever came before */
} kl_sampler_state;

/** What came before: the caller's prompt and what was generated. */
typedef struct kl_history {
    const int32_t *id; /* [n] */
    size_t n;
    size_t n_prompt; /* the first so many were not generated */
} kl_history;

typedef struct kl_sampled {
    int32_t id;
    double logprob;             /* when asked for */
    int32_t n_top;              /* as asked for, or the vocabulary if that has fewer */
    kl_logprob top[KL_MAX_TOP]; /* the most likely tokens in falling order */
} kl_sampled;

/** Scratch memory for choosing among `n_vocab` tokens; any number of sequences may take turns with one, one thread at a
 *  time. */
typedef struct kl_sampler kl_sampler;
/** Takes 36 bytes per token.  Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
KL_API kl_status kl_sampler_open(kl_sampler **sampler, int32_t n_vocab, const kl_allocator *alloc, kl_error *err);
KL_API void kl_sampler_close(kl_sampler *sampler);
/** Are the settings in range?  For asking before a generation begins; kl_sampler_next() asks as well.
 *  Errors: KL_ERR_ARGUMENT, with the field, what was found and what was expected. */
KL_API kl_status kl_sampling_check(const kl_sampling *sampling, int32_t n_vocab, kl_error *err);

/** Chooses the next token and moves the state on; nothing else is remembered.
 *
 *  sampled  out
 *  state    in/out
 *  logits   [n_vocab]  f32; -INFINITY forbids, NaN and INFINITY are faults
 *  history             may be NULL; used by penalties only
 *
 *  The same logits, settings, history and state give the same token on every machine and with every compiler: numbers
 *  come from a counter (Philox 4x32-10), all arithmetic is in double in a fixed order, exp and log are our own.
 *  Allocates nothing.  About 0.1 ms for a greedy choice among 163,840 tokens, 1 ms for a draw.   [T: unit/sampler]
 *  Errors: KL_ERR_ARGUMENT; KL_ERR_NUMERIC (NaN or INFINITY among the logits, or all forbidden).  Outputs and state are
 *  untouched then. */
KL_API kl_status kl_sampler_next(kl_sampler *sampler, kl_sampled *sampled, kl_sampler_state *state, const float *logits,
                                 const kl_sampling *sampling, const kl_history *history, kl_error *err);

/** Watches a stream of text for stop strings, and holds back what may become one. */
typedef struct kl_stop kl_stop;

/** string [n_string]: well-formed UTF-8, none empty, at most KL_STOP_STRINGS of KL_STOP_BYTES each; copied.
 *  Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY.   [T: unit/stop] */
KL_API kl_status kl_stop_open(kl_stop **stop, const kl_text *string, size_t n_string, const kl_allocator *alloc,
                              kl_error *err);
KL_API void kl_stop_close(kl_stop *stop);
enum { KL_STOP_STRINGS = 64, KL_STOP_BYTES = 4096 };
/** Bytes that may be held back at most. */
KL_API size_t kl_stop_held(const kl_stop *stop);
/** Takes `text` and writes what may be shown: out [text.bytes + kl_stop_held()].  Returns its bytes.  The string that
 *  is complete first stops, of several the longest; it is not written, and nothing behind it ever is. */
KL_API size_t kl_stop_put(kl_stop *stop, char *out, kl_text text);
/** At the end of the stream: writes what was held back.  out [kl_stop_held()] */
KL_API size_t kl_stop_end(kl_stop *stop, char *out);
/** The index of the string that was found; -1: none yet. */
KL_API int kl_stop_found(const kl_stop *stop);
/** Forgets text and find: a new stream. */
KL_API void kl_stop_reset(kl_stop *stop);

/* --------------------------------------------------------------------------------------------------------- model -- */

enum {
    KL_MAX_LAYERS = 512,
};

/** What lets tokens of a layer see each other. */
typedef enum kl_mixer {
    KL_MIXER_KDA = 0, /* Kimi Delta Attention */
    KL_MIXER_MLA,     /* multi-head latent attention */
    KL_MIXER_GDN,     /* Gated DeltaNet: one decay per head */
    KL_MIXER_DELTANET, /* no decay */
    KL_MIXER_MAMBA2,  /* one decay per head, writes without erasing */
    KL_MIXER_GLA,     /* a decay per channel, writes without erasing */
    KL_MIXER_LINEAR,  /* no decay, writes without erasing */
    KL_N_MIXER
} kl_mixer;
/** "kda", "mla", "gdn", ...; "?" for a value that is no mixer.  Static storage. */
KL_API const char *kl_mixer_name(kl_mixer mixer);

typedef enum kl_ffn {
    KL_FFN_DENSE = 0,
    KL_FFN_MOE,
} kl_ffn;

/** A model's description: plain numbers.  The keys of config.json that they come from are in docs/formats.md. */
typedef struct kl_config {
    int n_layer;                   /* 1 .. KL_MAX_LAYERS */
    uint8_t mixer[KL_MAX_LAYERS];  /* [n_layer] kl_mixer */
    uint8_t ffn[KL_MAX_LAYERS];    /* [n_layer] kl_ffn */
    int n_vocab, n_embd;           /* rows of the embedding, width of the residual stream */
    float rms_eps;
    bool tied;                     /* the head is the embedding */
    int64_t n_context;             /* longest sequence it was made for; informational */

    /* recurrent mixers */
    int n_kda_head, n_kda_v_head;  /* H key heads, HV value heads, a multiple of H */
    int kda_k, kda_v;              /* K and V */
    int n_conv;                    /* taps of the short convolution; 0: none, SiLU of the projection directly */
    bool conv_bias;
    int decay_rank;                /* width between the two matrices of the decay gate */
    int gate_rank;                 /* the same of the output gate; 0: one full matrix */
    int gate_act;                  /* of the output gate, a kl_activation: 0 none, and no gate; 1 sigmoid; 2 SiLU */
    bool gate_bounded;             /* decay = lower_bound sigmoid(..) instead of -exp(A_log) softplus(..) */
    float gate_lower_bound;        /* < 0; only with gate_bounded */
    bool neg_eigval;               /* beta in 0 .. 2 */

    /* multi-head latent attention */
    int n_head;
    int q_rank;                    /* 0: one matrix for the queries */
    int kv_rank;                   /* R: width of the latent */
    int qk_nope, qk_rope, v_dim;   /* DN, DR, DV */
    float kv_norm_eps;
    bool rope;                     /* rotate the DR columns; the released model does not */
    float rope_base;

    /* feed-forward */
    int n_ff;                      /* width of dense layers */
    int n_expert, n_expert_used, n_expert_shared;
    int n_ff_expert;               /* width of one expert */
    bool router_softmax;           /* false: sigmoid scores */
    bool router_renormalise;
    bool router_weight_biased;     /* weights from biased scores, as the remote code of the release computes them */
    float router_scale;
    int n_group, topk_group;       /* 1, 1: no groups */

    int64_t bos, eos, pad;         /* token ids; -1: none */
} kl_config;

/** Bytes that one sequence keeps: the same for every length, and per token. */
typedef struct kl_state_cost {
    int64_t fixed_bytes;     /* recurrent states f32 and tails of the convolutions f32 */
    int64_t token_bytes;     /* latents of one token, all MLA layers, in the cache's element type */
    int64_t page_bytes;      /* of KL_PAGE_TOKENS tokens: the unit in which latents take memory */
} kl_state_cost;

enum {
    KL_PAGE_TOKENS = 64,
};

/** Element types of the latent cache. */
typedef enum kl_cache_type {
    KL_CACHE_BF16 = 0,
    KL_CACHE_F32,
    KL_CACHE_Q8_0, /* blocks of 32 numbers with one scale: 34 bytes */
} kl_cache_type;
/** "bf16", "f32", "q8_0"; "?" for a value that is no cache type.  Static storage. */
KL_API const char *kl_cache_type_name(kl_cache_type type);

/** What a sequence of a model with this configuration keeps. */
KL_API kl_state_cost kl_config_state_cost(const kl_config *config, kl_cache_type type);

/** A model: configuration and weights out of a file.  Read-only once open; shared by any number of engines
 *  and threads. */
typedef struct kl_model kl_model;

typedef struct kl_model_options {
    const kl_backend *backend;  /* borrowed, must outlive the model; NULL is not allowed */
    const kl_allocator *alloc;  /* borrowed; NULL: the C library's */
    bool router_weight_biased;  /* see kl_config */
    /** Activations stay f32 in products with quantised and bf16 weights: slower, and as accurate as the weights.
     *  False: they may be rounded to 8 bits in blocks of 32, or to bf16, where the machine multiplies those faster. */
    bool exact;
} kl_model_options;

/** Opens a directory in Hugging Face layout, or a GGUF file.  Weights are mapped and read when they are first used;
 *  small tensors (norms, convolutions, gates) are converted to f32 here.  Every tensor's shape is checked against the
 *  configuration.  The caller closes the model after every engine that uses it.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_SHAPE, KL_ERR_UNSUPPORTED, KL_ERR_MEMORY, KL_ERR_ARGUMENT. */
KL_API kl_status kl_model_open(kl_model **model, const char *path, const kl_model_options *options, kl_error *err);
KL_API void kl_model_close(kl_model *model);
KL_API const kl_config *kl_model_config(const kl_model *model);
/** Bytes of the weights in their files, and bytes that opening took beside them. */
KL_API int64_t kl_model_file_bytes(const kl_model *model);
KL_API int64_t kl_model_memory_bytes(const kl_model *model);
/** 128 bits that change with configuration, tensor names, shapes, types and a sample of their contents. */
KL_API void kl_model_fingerprint(const kl_model *model, uint8_t fingerprint[16]);

/** What one token costs, whatever computes it. */
typedef struct kl_token_cost {
    int64_t parameters;        /* of the model, all experts counted */
    int64_t fixed_parameters;  /* that meet every token in a product; a product is two operations */
    int64_t expert_parameters; /* of one routed expert in every layer that has them; a token meets n_expert_used */
    int64_t fixed_bytes;       /* of the former in the file, and of the token's row of the embedding */
    int64_t expert_bytes;
    int64_t state_bytes;       /* of the recurrent states, read and written */
    int64_t state_flops;       /* of the recurrences */
    int64_t row_bytes;         /* of latents, for every token before it */
    int64_t row_flops;         /* of attention in the expanded form, for every token before it */
} kl_token_cost;
KL_API kl_token_cost kl_model_token_cost(const kl_model *model, kl_cache_type type);

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

/** Called now and then by what takes long, on the thread that called: between the pieces of a prompt, of a file.  False
 *  stops it (KL_ERR_CANCELLED). */
typedef bool kl_progress_fn(void *user, int64_t done, int64_t total);

/** Reads a prompt of any length in bounded memory, in pieces of max_batch_tokens.  logits [n_vocab] of the last token,
 *  or NULL.  Stopped by `progress`: KL_ERR_CANCELLED; the session has read the pieces before.
 *  Errors: as kl_step, KL_ERR_NUMERIC. */
KL_API kl_status kl_prefill(kl_session *session, const int32_t *token, int64_t n_token, float *logits,
                            kl_progress_fn *progress, void *user, kl_error *err);
/** Reads one generated token. */
KL_API kl_status kl_decode(kl_session *session, int32_t token, float *logits, kl_error *err);

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

/* --------------------------------------------------------------------------------------------------- model files -- */

/** What all functions that write model files take.  A file appears under its name when it is complete, and not before;
 *  memory is bounded whatever the size of the model; the same bytes for any number of threads. */
typedef struct kl_file_options {
    /** Type of the matrices, in any case: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, or one of the
     *  mixtures q4_k_m, q5_k_m.  Rows that are no whole blocks get the nearest type that fits; norms, convolutions,
     *  routers and everything that is no matrix stay f32.  NULL: the function's default. */
    const char *type;
    kl_pool *pool;             /* borrowed; NULL: everything runs on the calling thread */
    const kl_allocator *alloc; /* borrowed; NULL: the C library's */
    kl_progress_fn *progress;  /* bytes written; NULL: nobody is told */
    void *user;                /* for `progress` */
    int64_t shard_bytes;       /* of a safetensors file at most, unless one tensor has more; 0: 5 GiB */
    bool dry_run;              /* everything is checked and planned as it would be, and nothing appears */
} kl_file_options;

/** Reads a model's configuration alone: from a directory in Hugging Face layout, a safetensors file in one, a GGUF
 *  file, or a config.json.  Everything is checked: kl_config has no value afterwards that the library cannot work
 *  with.
 *  Errors: KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_UNSUPPORTED (another architecture), KL_ERR_MEMORY.   [T: unit/config] */
KL_API kl_status kl_config_read(kl_config *config, const char *path, const kl_allocator *alloc, kl_error *err);

/** The geometry called `name`: tiny, small, mid, mid256, 48b (the released one); NAME-mla has MLA in all layers,
 *  NAME-gdn Gated DeltaNet in place of KDA.  Errors: KL_ERR_ARGUMENT.   [T: unit/init] */
KL_API kl_status kl_config_preset(kl_config *config, const char *name, kl_error *err);
/** Name of preset `i`; NULL past the end.  Static storage. */
KL_API const char *kl_preset_name(int i);

/** Writes a GGUF file with random weights, scaled as those of a trained model are, and a small tokenizer where the
 *  vocabulary has at least 512 entries.  Numbers depend on seed and tensor name, before they are rounded to the type,
 *  and on nothing else.  Default type: f32.
 *  Errors: KL_ERR_ARGUMENT (type), KL_ERR_FORMAT and KL_ERR_UNSUPPORTED (the configuration), KL_ERR_IO, KL_ERR_MEMORY,
 *  KL_ERR_CANCELLED.   [T: unit/init] */
KL_API kl_status kl_model_init(const char *path, const kl_config *config, uint64_t seed, const kl_file_options *options,
                               kl_error *err);

/** Converts a model in Hugging Face layout to GGUF.  Default type: every matrix keeps its own.  With that,
 *  kl_model_to_hf makes the same model again, to the bit: what GGUF has no place for (types, A_log, texts) is kept in
 *  metadata. Errors: KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_SHAPE, KL_ERR_UNSUPPORTED (another architecture or type; a
 *  tensor that would be lost), KL_ERR_NUMERIC (a number that the type cannot hold), KL_ERR_MEMORY, KL_ERR_CANCELLED.
 *  [T: unit/convert] */
KL_API kl_status kl_model_to_gguf(const char *path, const char *from, const kl_file_options *options, kl_error *err);

/** Converts a GGUF file, of this or another tool, to Hugging Face layout: a new folder, or one that is empty.  Types
 *  are f32, f16 and bf16.  Default: those of the model that the file was made from, else bf16, with f32 for what the
 *  file has in f32 and bf16 could not hold.   Errors: as kl_model_to_gguf.   [T: unit/convert] */
KL_API kl_status kl_model_to_hf(const char *folder, const char *from, const kl_file_options *options, kl_error *err);

/** What became of one tensor. */
typedef struct kl_requantized {
    const char *name;        /* valid during the call */
    const char *from, *to;   /* types, "BF16", "Q4_K"; static storage */
    int64_t n_element, from_bytes, to_bytes;
    /** Sums of squares: of what was written minus what was read, and of what was read.  sqrt(error / power) is the
     *  relative error of the tensor, and of several tensors when both are summed.  Both 0 for what was copied. */
    double error, power;
} kl_requantized;
typedef void kl_requantized_fn(void *user, const kl_requantized *tensor);

/** Writes a GGUF file again with matrices of another type, tensor by tensor.  Metadata is copied; norms, convolutions,
 *  routers and tensors that no such model has are copied as they are.  options->type has to be set; `each` (may be
 *  NULL) is told of every tensor, with options->user, on the thread that called.  A dry run tells what sizes would be.
 *  Errors: as kl_model_to_gguf.   [T: unit/quantize] */
KL_API kl_status kl_model_quantize(const char *path, const char *from, const kl_file_options *options,
                                   kl_requantized_fn *each, kl_error *err);

/** A tensor of a model's files. */
typedef struct kl_tensor_info {
    kl_text name;      /* not terminated */
    const char *role;  /* which parameter it is, "KDA_Q"; NULL: none that the model has.  Static storage */
    int layer;         /* -1: of the model itself */
    const char *type;  /* "BF16", "Q4_K".  Static storage */
    int n_dim;
    int64_t dim[6];    /* outermost first */
    int64_t n_element, bytes;
    int file;          /* from 0 */
} kl_tensor_info;
/** Tensor `i` in the order of the files; false past the last.  Texts live as long as the model. */
KL_API bool kl_model_tensor(kl_tensor_info *info, const kl_model *model, int64_t i);
/** "gguf" or "safetensors"; static storage. */
KL_API const char *kl_model_format(const kl_model *model);
/** Path of file `i`; NULL past the last. */
KL_API const char *kl_model_file(const kl_model *model, int i);
/** What the file says that it is called; empty when it says nothing. */
KL_API kl_text kl_model_name(const kl_model *model);

/* -------------------------------------------------------------------------------------------------- prefix cache -- */

/** What prompts left behind, so that the beginning they share with the next one is not read twice.  One per engine. */
typedef struct kl_prefix kl_prefix;

typedef struct kl_prefix_options {
    int64_t bytes; /* most bytes of checkpoints and of latent pages that only the cache holds; 0: a quarter of memory */
} kl_prefix_options;

/** Errors: KL_ERR_ARGUMENT (the engine has one already), KL_ERR_MEMORY. */
KL_API kl_status kl_prefix_open(kl_prefix **prefix, kl_engine *engine, const kl_prefix_options *options, kl_error *err);
/** Before its engine.  NULL is allowed. */
KL_API void kl_prefix_close(kl_prefix *prefix);

/** What the cache did for one prompt. */
typedef struct kl_prefix_report {
    int64_t matched; /* tokens whose blocks are in the cache */
    int64_t reused;  /* tokens that were not read again: up to the deepest checkpoint among those */
    int64_t read;    /* tokens that were */
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
} kl_prefix_state;
KL_API kl_prefix_state kl_prefix_state_of(const kl_prefix *prefix);
/** Forgets everything. */
KL_API void kl_prefix_clear(kl_prefix *prefix);

#ifdef __cplusplus
}
#endif
#endif
