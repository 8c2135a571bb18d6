/** Requests on their way through a scheduler.
 *
 *  A job is a list of tokens, prompt and generated, and a session that has read the first of them.  What a step does
 *  for it follows from how far the session is: inside the prompt it reads a piece; inside the generated tokens, which
 *  happens after its pages were taken away, it reads those again; at the end it has logits and chooses the next.
 *
 *  The lock guards the list of jobs, users, cancellations and counters.  Sessions, and what a running job has read and
 *  written, belong to the thread that steps; it looks at them without the lock, and writes what others may ask for
 *  (kl__job.shown) under it. */
#ifndef KL_ENGINE_SCHEDULE_H
#define KL_ENGINE_SCHEDULE_H

#include "engine/prefix.h"
#include "klinear/kl/schedule.h"

#include <pthread.h>

enum { KL__OWN_MARKS = 8 };

/** Guesses at a job's next tokens: draft.h. */
struct kl__drafting {
    int n;             /* tokens of the guess in the step that is being taken, behind the job's own */
    int length;        /* of the next one */
    int credit, pause; /* how well it goes; tokens of the last pause */
    int64_t pause_until; /* new tokens */
    char *before;      /* [fixed_bytes] the states before the step */
    bool off;          /* for good */
};

struct kl__job {
    struct kl__job *next; /* in the order in which jobs came */
    uint64_t number, client, space;
    int32_t *token; /* [n_prompt + max_new, grown as needed] */
    int64_t n_token, n_prompt, n_token_room;
    int64_t mark[KL_JOB_MARKS +
                 KL__OWN_MARKS]; /* those of the request, where the tree forks, where another prompt leaves this one */
    int n_mark, n_request_mark;
    int64_t max_new;
    int32_t stop[KL_JOB_STOPS];
    int n_stop;
    kl_sampling sampling; /* its bias is `bias` */
    kl_logit_bias *bias;
    kl_sampler_state state;
    bool prompt_logprobs, embed, afresh;
    kl_trace *trace;
    kl_guide *guide; /* the caller's; NULL: none */
    double *sum; /* [n_embd] of hidden states */
    kl_job_fn *tell;
    void *user;

    struct kl__drafting drafting;
    int64_t first; /* tokens that the session had read before the step */

    kl_session *session;       /* NULL: waiting */
    bool begun;                /* its session has asked the prefix cache */
    bool cancelled;            /* somebody asked for it */
    bool asked;                /* in the step that is being planned */
    bool ended;                /* to be taken out and told */
    int64_t furthest;          /* most tokens that its session ever had read */
    double came, began, wrote; /* seconds on the monotonic clock; 0: not yet */
    kl_job_report report;
    kl_job_info shown;
};

/** Who takes turns: present while it has jobs. */
struct kl__client {
    uint64_t client;
    int n_job, n_waiting;
    int64_t served; /* tokens; whoever comes starts level with the least served */
};

struct kl_scheduler {
    kl_engine *engine;
    const kl_allocator *alloc;
    kl_prefix *prefix;
    kl_sampler *sampler;
    int max_running, max_waiting, max_waiting_user, piece_tokens;
    int64_t most_tokens; /* of a sequence, as far as pages go */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool awake; /* kl_scheduler_wake() came */
    struct kl__job *first, **last;
    struct kl__client *client; /* [n_client] of n_client_room */
    int n_client, n_client_room;
    uint64_t next_number;
    kl_scheduler_state total;

    /* Of the thread that steps. */
    struct kl__job **running; /* [max_running], the first n_running, in the order in which they came */
    int n_running;
    kl_span *span;          /* [max_running] */
    struct kl__job **owner; /* [max_running] of the span */
    float *logits;          /* [max_running][n_vocab] */
    int draft_tokens;       /* most of a guess; 0: none */
    bool without_drafts;    /* in this step, because pages are short */
    float *draft_logits;    /* [KL__DRAFT_ROWS + max_running][n_vocab]; NULL: nobody guesses */
    float *prompt_logits;   /* [KL_PAGE_TOKENS][n_vocab]; NULL before anybody wanted them */
    float *hidden;          /* [max_token][n_embd]; NULL likewise */
    float *mean;            /* [n_embd], with `hidden` */
};

/** Seconds on a clock that is never set. */
double kl__now(void);
/** The entry of `client`, or NULL. */
struct kl__client *kl__client_of(const kl_scheduler *s, uint64_t client);
/** Frees a job that is in no list. */
void kl__job_free(kl_scheduler *s, struct kl__job *job);

/** Plans a step, with the lock held: sessions for jobs that may run now (with `admission`), and spans for those that
 *  run.  Returns how many spans. */
int kl__schedule_plan(kl_scheduler *s, bool admission);
/** The job's way through the prefix cache; false: it takes none. */
bool kl__schedule_visit(struct kl__visit *v, const kl_scheduler *s, const struct kl__job *job);

#endif
