/** A text that a model reads and goes on with: one session, and what is needed to choose its next token. */
#ifndef KA_SPEECH_H
#define KA_SPEECH_H

#include "../cli/ids.h"
#include "../cli/loaded.h"
#include "ahead.h"
#include "sampling.h"

/** Why a text ends. */
enum ka_end {
    KA_END_LIMIT,     /* as many tokens as were asked for */
    KA_END_TOKEN,     /* a token that ends a turn */
    KA_END_STRING,    /* a stop string */
    KA_END_GRAMMAR,   /* the grammar has nothing more */
    KA_END_CONTEXT,   /* no more tokens fit */
    KA_END_INTERRUPT, /* Ctrl-C */
    KA_END_FAULT,     /* an error */
};
extern const char *const ka_end_name[];

/** What reading and writing took. */
struct ka_speech_stats {
    int64_t n_read, n_written;
    double read_seconds, write_seconds, first_seconds; /* first: from the beginning of reading to the first token */
    enum ka_end end;
};

struct ka_speech {
    struct ka_loaded *l;
    kl_session *session;
    float *logits; /* [n_vocab] behind the last token that was read */
    struct ka_ahead ahead; /* guesses at what comes next */
    /** To be read before anything is written: the last token that was chosen, and what the caller adds. */
    struct ka_ids pending;
    int64_t n_prompt; /* tokens of the session in front of the text that is written */
    struct ka_sampling sampling;
    kl_sampler_state state;
    kl_sampler *sampler;
    kl_stop *stop;   /* NULL: no stop strings */
    kl_guide *guide; /* through a grammar, the caller's; NULL: none */
    int32_t end_id[3];
    int n_end_id;
    int64_t context; /* most tokens of the session; 0: no limit */
    char *text;      /* room for pieces on their way out */
    char *shown;
    struct ka_speech_stats stats; /* of the last reading and writing */
};

/** Takes what is written, piece by piece. */
typedef kl_status ka_text_fn(void *user, const char *text, size_t bytes, kl_error *err);

/** `l` is open, with its tokenizer, and stays so.  On failure what there is has to be closed as well. */
kl_status ka_speech_open(struct ka_speech *s, struct ka_loaded *l, const struct ka_sampling_choice *choice,
                         int64_t context, kl_error *err);
void ka_speech_close(struct ka_speech *s);

/** Reads what is pending, with a bar where it takes long; what is written then is a new text.  Ctrl-C: KL_ERR_CANCELLED
 *  within milliseconds; the session is of no use until it is reset or resumed.
 *  Errors: as kl_prefill(); KL_ERR_MEMORY when more tokens are pending than the context has room for. */
kl_status ka_speech_read(struct ka_speech *s, kl_error *err);

/** Writes up to `n` tokens (negative: until something else ends it) behind what was read.  ids, where not NULL, gets
 *  them; a token that ends a turn is the last of them and no text.  stats.end says why it ended.
 *  Errors: as kl_decode() and kl_sampler_next(), those of `put`. */
kl_status ka_speech_write(struct ka_speech *s, int64_t n, ka_text_fn *put, void *user, struct ka_ids *ids,
                          kl_error *err);

#endif
