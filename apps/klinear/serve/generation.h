/** A request that generates: one prompt or several, choices for each, and what became of them, told in the words of an
 *  API.  Everything of a choice happens on the thread that steps, once it is submitted. */
#ifndef KS_GENERATION_H
#define KS_GENERATION_H

#include "body.h"
#include "exchange.h"
#include "sessions.h"

enum { KS_MOST_CHOICES = 64 };

/** A call of a tool that the model writes. */
struct ks_call {
    struct ks_bytes id, arguments;
    bool begun, whole; /* the id is complete; all of it is */
};

struct ks_prompt {
    int32_t *token; /* [n] */
    int64_t n;
    int64_t mark[KL_JOB_MARKS]; /* where turns begin */
    int n_mark;
};

struct ks_choice {
    struct ks_generation *g;
    int index;
    const struct ks_prompt *prompt;
    _Atomic uint64_t job;
    kl_answer_reader reader;
    kl_stop *stop;
    kl_guide *guide; /* through the generation's grammar; NULL: there is none */
    int stop_found; /* -1: none */
    struct ks_bytes content;
    struct ks_bytes ids; /* i32 of the answer, where a session wants them */
    struct ks_call *call; /* [n_call]; the last one may be open */
    int n_call;
    bool faulty, ended;
    json_t *logprobs; /* array of what ks_token_json() makes; NULL: not wanted */
    json_t *untold;   /* those among them that a stream has not told, as they belong to no text; NULL likewise */
    int64_t offset;   /* characters of the text in front of the next token whose log-probability is told, and */
    kl_decoder passed; /* what decoded those of the answer */
    json_t *prompt_logprobs;
    float *embedding; /* [n_embd] once it has ended, where it is wanted */
    kl_job_report report;
    const char *finish; /* "stop", "length", "tool_calls", "error" */
};

/** How an API tells it.  All but `whole` are for streams. */
struct ks_dialect {
    void (*begin)(struct ks_choice *c);
    /** New text, perhaps none, and the entries of tokens, perhaps NULL, whose reference is the caller's. */
    void (*text)(struct ks_choice *c, kl_text text, json_t *logprobs);
    void (*call)(struct ks_choice *c, int i);
    void (*arguments)(struct ks_choice *c, int i, kl_text text);
    void (*end)(struct ks_choice *c);
    void (*finish)(struct ks_generation *g);
    json_t *(*whole)(struct ks_generation *g);                 /* a new reference */
};

struct ks_generation {
    struct ks_exchange *x;
    const struct ks_dialect *dialect;
    struct ks_id id;
    int64_t created;
    json_t *body; /* the request; its texts are borrowed */
    bool stream, usage_wanted, raw, echo, logprobs, prompt_logprobs, one_call, embed;
    kl_sampling sampling;
    kl_logit_bias *bias;
    bool seeded;
    uint64_t seed;
    int64_t max_new; /* -1: as many as there is room for */
    kl_text stop[KL_STOP_STRINGS];
    int n_stop;
    struct ks_prompt *prompt; /* [n_prompt] */
    int n_prompt, n;          /* choices for each prompt */
    struct ks_choice *choice; /* [n_prompt * n] */
    int n_ended;
    struct ks_session *session; /* that is gone on with; NULL: none, or it was given back */
    struct ks_session grown;    /* what it then was, but for its tokens */
    bool made;                  /* the session is new, and goes if its beginning cannot be read */
    bool stepping;              /* it is submitted on the thread that steps */
    kl_grammar *grammar;        /* that answers have to follow; NULL: none */
    kl_guide_options guided;    /* with `tail` */
    int32_t tail[KL_GUIDE_TAIL];
    bool without_opening;       /* the prompt does not open the assistant's turn */
    const int32_t *forced; /* [n_forced] the prompt's last tokens, which are the answer's first */
    int n_forced;
    bool traced, afresh;  /* somebody wants to see what the model does (traces.h); of all tokens */
    kl_trace *trace;      /* NULL: nobody */
    int64_t trace_first;  /* position from which on it was not told */
    double trace_told;    /* when it was, seconds */
    _Atomic bool refused; /* whatever its jobs say is not told */
    void *own;            /* of the dialect; freed with free() */
};

/** Parses the body and makes a generation of it, which belongs to the exchange; NULL: it has been refused. */
struct ks_generation *ks_generation_open(struct ks_exchange *x, const struct ks_dialect *dialect, const char *id);
/** The fields that ks_read_formats reads (formats.h). */
#define KS_FORMAT_FIELDS "response_format", "json_schema", "grammar", "regex"
/** The fields that ks_read_sampling reads and OpenAI's two APIs of completions share, for their lists of known ones. */
#define KS_SAMPLING_FIELDS                                                                                             \
    "temperature", "top_p", "min_p", "typical_p", "top_k", "repetition_penalty", "presence_penalty",                   \
        "frequency_penalty", "penalty_tokens", "seed", "n", "stream", "stream_options", "logit_bias", "stop", "trace"
/** Reads the fields that all APIs have alike: temperature, top_p, top_k, min_p, penalties, seed, logit_bias, stop, n,
 *  stream.  False: refused in *p. */
bool ks_read_sampling(struct ks_generation *g, const struct ks_fields *f);
/** A prompt more; takes `token`, which came from malloc. */
bool ks_add_prompt(struct ks_generation *g, int32_t *token, int64_t n, struct ks_problem *p);
/** Text into ids; false: refused.  *token is to be freed. */
bool ks_encode(const struct ks_server *s, int32_t **token, int64_t *n, kl_text text, kl_markup markup,
               struct ks_problem *p);
/** Reads a field that is a text, tokens, or an array of either. */
bool ks_read_prompts(struct ks_generation *g, const struct ks_fields *f, const char *name);
/** Submits everything, or refuses.  Whatever happens, the exchange will have its answer. */
void ks_generate(struct ks_generation *g);

/** Takes the session that the field "session" names, if there is one.  False: refused in *p. */
bool ks_read_session(struct ks_generation *g, const struct ks_fields *f);
/** The session gets prompt and answer, and is free again. */
void ks_grow_session(struct ks_generation *g);
/** The session, if there is one, stays what it was, and is free again. */
void ks_leave_session(struct ks_generation *g);

/** {"token", "logprob", "bytes", "top_logprobs"} */
json_t *ks_token_json(const struct ks_server *s, const kl_sampled *sampled, bool tops);
/** What a token shows, as well-formed text: a new JSON string. */
json_t *ks_token_text(const struct ks_server *s, int32_t id);
/** Text as JSON, whatever is in it. */
json_t *ks_text_json(const char *data, size_t n);
/** {"prompt_tokens", ...}: of all choices. */
json_t *ks_usage_json(const struct ks_generation *g);

#endif
