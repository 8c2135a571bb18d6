/** From text to tokens and back: tokenizer, chat template, sampling. */
#ifndef KLINEAR_KL_TEXT_H
#define KLINEAR_KL_TEXT_H

#include "klinear/kl/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ----------------------------------------------------------------------------------------------------- tokenizer -- */

/** Text to token ids and back.  Read-only once open, so that any number of threads may share one.  docs/tokenizer.md */
typedef struct kl_tokenizer kl_tokenizer;

/** Opens the tokenizer of a model: `path` is a tiktoken.model file (tokenizer_config.json and chat_template.jinja
 *  beside it are read too), a directory that holds one, a safetensors file or index that one lies beside, or a GGUF
 *  file.  The files may go away afterwards.
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
 *  Errors: KL_ERR_ARGUMENT (settings; a bias that forbids what the logits allow); KL_ERR_NUMERIC (NaN or INFINITY among
 *  the logits, or all forbidden).  Outputs and state are untouched then. */
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

#ifdef __cplusplus
}
#endif
#endif
