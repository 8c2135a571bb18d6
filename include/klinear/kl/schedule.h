/** Many requests on one engine: what is waiting, what is read and written in the next step, what is reported. */
#ifndef KLINEAR_KL_SCHEDULE_H
#define KLINEAR_KL_SCHEDULE_H

#include "klinear/kl/engine.h"
#include "klinear/kl/grammar.h"
#include "klinear/kl/text.h"
#include "klinear/kl/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Requests and the order in which they get steps.  One thread steps, and is the only one that touches the engine;
 *  any thread may submit, cancel and ask.
 *
 *  A step reads one generated token of every request that is being written, and with what is left of its tokens the
 *  next pieces of prompts; so a long prompt delays nobody by more than one piece.  Users take turns: whoever had the
 *  fewest tokens comes first, and of one user the request that came first.  When pages run out, the request that came
 *  last gives its pages back and is read again later, generated tokens as generated ones.  A prompt that shares its
 *  beginning with one that is being read waits for it, and then takes it from the prefix cache.
 *
 *  What a request is told has the bits that its prompt, settings and seed have in a process of their own, whatever
 *  else is served.   [T: engine/schedule, engine/schedule_random, engine/draft] */
typedef struct kl_scheduler kl_scheduler;

typedef struct kl_scheduler_options {
    int max_running;      /* requests that have a session; 0: as many as a step of the engine takes */
    int max_waiting;      /* requests beyond those; 0: 256 */
    int max_waiting_user; /* of one user; 0: as many as of all */
    int piece_tokens;     /* most prompt tokens of a step in which tokens are generated; 0: 256.  Rounded up to pages */
    int draft_tokens;     /* most tokens that are guessed ahead, from what the text has had before, and read with the
                             next token; 0: none; at most 16.  Changes no answer, only how fast it comes */
    kl_prefix *prefix;    /* of the same engine; borrowed.  NULL: every prompt is read whole */
} kl_scheduler_options;

/** Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
KL_API kl_status kl_scheduler_open(kl_scheduler **scheduler, kl_engine *engine, const kl_scheduler_options *options,
                                   kl_error *err);
/** Ends every request as cancelled, on this thread; nobody may be inside another call.  Before engine and prefix cache.
 *  NULL is allowed. */
KL_API void kl_scheduler_close(kl_scheduler *scheduler);

/** Why so much of a prompt was read. */
typedef enum kl_reuse {
    KL_REUSE_OFF = 0,    /* there is no prefix cache, or the request wants numbers of every prompt token */
    KL_REUSE_NOTHING,    /* no block of the prompt was in the cache */
    KL_REUSE_CHECKPOINT, /* blocks were there behind the last checkpoint: states cannot be rewound */
    KL_REUSE_ALL,        /* all blocks that were there were reused */
} kl_reuse;
/** "off", "nothing", "checkpoint", "all"; "?" for a value that is none.  Static storage. */
KL_API const char *kl_reuse_name(kl_reuse reuse);

typedef enum kl_job_end {
    KL_JOB_RUNS = 0,
    KL_JOB_STOPPED,   /* by one of the stop tokens */
    KL_JOB_LENGTH,    /* max_new tokens are there */
    KL_JOB_SATISFIED, /* its kl_job_fn said so */
    KL_JOB_FULL,      /* the cache has no page left, although it had all of it */
    KL_JOB_CANCELLED,
    KL_JOB_FAILED, /* kl_job_report.error says why */
} kl_job_end;
/** "runs", "stopped", "length", "satisfied", "full", "cancelled", "failed"; "?".  Static storage. */
KL_API const char *kl_job_end_name(kl_job_end end);

/** What became of a request so far. */
typedef struct kl_job_report {
    int64_t n_prompt, n_matched; /* tokens; of them in the cache's tree when reading began */
    int64_t n_reused, n_read;    /* prompt tokens that were taken from the cache, and that were read */
    int64_t n_loaded;            /* of those reused, tokens that came from the disk */
    int64_t n_new;               /* generated */
    int64_t n_again;             /* read again after its pages were taken away */
    int n_preempted;             /* how often they were */
    int64_t n_drafted, n_accepted; /* tokens that were guessed ahead, and of them those that were right */
    kl_reuse reuse;
    kl_job_end end;
    kl_error error; /* of KL_JOB_FAILED */
    double waited_seconds, read_seconds, write_seconds; /* until reading began, until the first token, from then on */
} kl_job_report;

typedef enum kl_job_event_kind {
    KL_JOB_READS = 0,    /* a piece of the prompt was read */
    KL_JOB_PROMPT_TOKEN, /* prompt token `at`, with its log-probability; that of token 0 has none and is not told */
    KL_JOB_TOKEN,        /* the next token, a stop token included */
    KL_JOB_ENDS,         /* the last event */
} kl_job_event_kind;

typedef struct kl_job_event {
    kl_job_event_kind kind;
    int64_t at;                  /* tokens of the prompt that have been read; which prompt token; which new token */
    const kl_sampled *sampled;   /* of a token */
    const float *embedding;      /* [n_embd] at the end of a request with `embed`, unless it failed */
    const kl_job_report *report; /* valid during the call */
} kl_job_event;

/** Told on the thread that steps, between two steps; it should take no time, and may submit and cancel.  False: that is
 *  enough, the request ends as satisfied. */
typedef bool kl_job_fn(void *user, const kl_job_event *event);

enum {
    KL_JOB_MARKS = 16,
    KL_JOB_STOPS = 16,
};

/** All that is pointed to is copied. */
typedef struct kl_request {
    const int32_t *token; /* [n_token] the prompt, at least one */
    int64_t n_token;
    const int64_t *mark; /* [n_mark] places in it where the next prompt may begin to differ; at most KL_JOB_MARKS */
    int n_mark;
    uint64_t client; /* who takes turns with whom */
    uint64_t space;  /* of the prefix cache */
    kl_sampling sampling;
    uint64_t seed;
    int64_t max_new;     /* most tokens to generate; 0: the prompt is only read */
    const int32_t *stop; /* [n_stop] tokens that end it; at most KL_JOB_STOPS */
    int n_stop;
    kl_guide *guide; /* what may be written; NULL: anything.  The scheduler's until the last event.  The request ends as
                        stopped when nothing can come any more, and fails alone when no token may come;
                        log-probabilities are those among what may come */
    bool prompt_logprobs; /* tell prompt tokens, with sampling.n_top alternatives; takes 64 rows of logits */
    bool embed;           /* the mean of the prompt's final hidden states is wanted */
    kl_trace *trace;      /* watches the request until its last event; borrowed.  NULL: nobody does */
    bool afresh;          /* the prefix cache is left alone, so that every token is read */
    kl_job_fn *tell;
    void *user; /* for `tell` */
} kl_request;

/** Takes a request in.  *job becomes its number, or 0 when too much is waiting: try again later.  May be called on any
 *  thread; events may begin before it returns.
 *  Errors: KL_ERR_ARGUMENT (settings; a token outside the vocabulary; a prompt that can never fit, with the limit),
 *  KL_ERR_MEMORY. */
KL_API kl_status kl_scheduler_submit(kl_scheduler *scheduler, uint64_t *job, const kl_request *request, kl_error *err);
/** Ends a request before its next step; its last event says so.  A number that is no request any more is allowed. */
KL_API void kl_scheduler_cancel(kl_scheduler *scheduler, uint64_t job);
/** Cancels all. */
KL_API void kl_scheduler_cancel_all(kl_scheduler *scheduler);

/** Takes one step; where there is nothing to do, waits for something, at most `wait_seconds`.  *busy (may be NULL): a
 *  step was taken.  A request that fails is told so; an error here means that the engine failed as a whole, and every
 *  request of the step with it.   Allocates only sessions and what the prefix cache keeps. */
KL_API kl_status kl_scheduler_step(kl_scheduler *scheduler, double wait_seconds, bool *busy, kl_error *err);
/** Ends the wait of kl_scheduler_step(). */
KL_API void kl_scheduler_wake(kl_scheduler *scheduler);

/** Counters since the scheduler was opened, and what is going on now. */
typedef struct kl_scheduler_state {
    int n_waiting, n_running, max_running, max_waiting;
    int64_t n_step, n_job, n_refused; /* refused: told to try later */
    int64_t n_ended[KL_JOB_FAILED + 1];
    int64_t prompt_tokens, reused_tokens, read_tokens, again_tokens, new_tokens;
    int64_t n_preempted, drafted_tokens, accepted_tokens;
    double step_seconds;
    kl_engine_memory memory;
    kl_prefix_state prefix; /* zeros without one */
} kl_scheduler_state;
/** As of the last step.  Any thread. */
KL_API kl_scheduler_state kl_scheduler_state_of(kl_scheduler *scheduler);

/** A request that has not ended. */
typedef struct kl_job_info {
    uint64_t job, client;
    bool running;
    int64_t n_prompt, at, n_new, max_new; /* `at`: tokens that its session has read */
} kl_job_info;
/** Writes the first `room` and returns how many there are.  Any thread. */
KL_API int kl_scheduler_jobs(kl_scheduler *scheduler, kl_job_info *info, int room);

#ifdef __cplusplus
}
#endif
#endif
