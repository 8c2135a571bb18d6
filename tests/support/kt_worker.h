/** A process with an engine, a prefix cache and a scheduler, which does what it is told through a pipe: so it can be
 *  killed at any moment, and started again on what it left on the disk.
 *
 *  A test's main() begins with `if (argc > 1) return kt_worker_main();`.  Orders are carried out one after another;
 *  what requests are told comes back before the result of the order in which it was told. */
#ifndef KT_WORKER_H
#define KT_WORKER_H

#include "support/tiny.h"

#include <sys/types.h>

/** What a process starts with. */
struct kt_life {
    char model[512], folder[512];                 /* folder: of the prefix cache; empty: none */
    int64_t pages_bytes, cache_bytes, disk_bytes; /* of latent pages, of the prefix cache, of its folder */
    int running, draft, threads, batch;           /* as the options of scheduler and engine have them */
};

enum { KT_SLOTS = 32 };
enum kt_order_kind { KT_ASK, KT_CANCEL, KT_STEP, KT_SPILL, KT_CLEAR, KT_TWINS, KT_EXPORT, KT_IMPORT, KT_LEAVE };

struct kt_order {
    enum kt_order_kind kind;
    int slot;           /* which request: a number of whoever gives orders, below KT_SLOTS */
    kl_request r;       /* without pointers; r.n_token tokens follow the order */
    int64_t mark;       /* r.mark, if r.n_mark is 1 */
    kl_logit_bias bias; /* r.sampling.bias, if r.sampling.n_bias is 1 */
    int n_decode;       /* KT_TWINS: tokens that each of them reads */
    bool share_page;    /* KT_TWINS: plants a fault, forks that hold one half-filled page together */
    char path[512];     /* KT_EXPORT, KT_IMPORT */
};

/** A token or the end of a request. */
struct kt_news {
    int slot;
    bool ended;
    kl_sampled sampled;
    kl_job_report report;
};

struct kt_result {
    kl_status status;
    kl_error error;
    int64_t value;       /* KT_ASK: number of the job; KT_SPILL: files written; KT_EXPORT, KT_IMPORT: tokens */
    uint8_t hash[3][16]; /* KT_TWINS: of all logits of both forks, and of a checkpoint that goes on as the second */
    kl_prefix_report prefix;
    kl_scheduler_state state;
};

struct kt_worker {
    pid_t pid;
    int to, from;
};

void kt_worker_start(struct kt_worker *w, const struct kt_life *life);
/** Gives an order and waits for its result; each piece of news is handed to `told`.  Fails the test when the process
 *  dies or says nothing for a minute. */
struct kt_result kt_worker_do(struct kt_worker *w, const struct kt_order *order, const int32_t *token,
                              void (*told)(void *user, const struct kt_news *news), void *user);
/** Gives an order and kills the process `microseconds` later, wherever it is. */
void kt_worker_kill(struct kt_worker *w, const struct kt_order *order, unsigned microseconds);
/** Lets it end by itself, everything closed. */
void kt_worker_end(struct kt_worker *w);

/** A session that has read token [n] by way of the prefix cache, and a fork of it: turn by turn they read n_decode
 *  tokens, each its own.  Then the first returns to a checkpoint taken before, and goes on as the second did.
 *  result->hash: of all logits of each of the three.  `prefix` NULL: three sessions that read all by themselves. */
kl_status kt_twins(struct kt_result *result, kl_engine *engine, kl_prefix *prefix, uint64_t space, const int32_t *token,
                   int64_t n, int n_decode, bool share_page);

/** The process itself: reads orders from standard input until there are no more. */
int kt_worker_main(void);

#endif
