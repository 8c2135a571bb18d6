/** The server: one model, one scheduler, one thread that steps, and what HTTP brings. */
#ifndef KS_SERVER_H
#define KS_SERVER_H

#include "../cli/loaded.h"
#include "errands.h"
#include "keys.h"
#include "klinear/kl.h"
#include "sessions.h"

#include <pthread.h>
#include <stdatomic.h>

enum ks_log { KS_LOG_OFF, KS_LOG_REQUESTS, KS_LOG_PROMPTS };

/** What a user says about serving. */
struct ks_options {
    const char *host, *keys, *cors, *name, *template, *folder, *sessions, *tls_cert, *tls_key;
    int64_t port, context, log;
    int64_t draft;                                      /* tokens that are guessed ahead; 0: none */
    int64_t batch, sequences, piece, queue, queue_user; /* of the scheduler; 0: defaults */
    int64_t cache, disk;                                /* bytes of the prefix cache; -1: none */
    int64_t body_bytes, connections, rate;              /* rate: requests of a key in a minute; 0: no limit */
    int64_t header_seconds, body_seconds, idle_seconds, ping_seconds, drain_seconds;
    bool public, separate;
};

struct ks_exchange;
struct ks_peer;

struct ks_server {
    const struct ks_options *o;
    struct ka_loaded *l;
    kl_prefix *prefix;
    kl_lexicon *lexicon; /* for answers that follow grammars */
    kl_scheduler *scheduler;
    struct ks_keys keys;
    struct ks_sessions sessions;
    struct ks_errands errands;
    pthread_mutex_t keys_lock; /* of the rate limit */
    char name[96];             /* of the model */
    kl_template rendering;
    bool chats;       /* the model can */
    kl_error no_chat; /* why it cannot */
    int64_t context;  /* most tokens of prompt and answer */
    int32_t stop[3];  /* [n_stop] ids that end a turn */
    int n_stop;
    int64_t started; /* seconds since 1970 */
    int port;
    bool loopback;

    _Atomic bool draining, stopping;
    _Atomic int64_t n_request, n_error, n_busy, n_dropped; /* answers of 400 and more; clients that left */
    pthread_mutex_t lock;                                  /* of the two lists */
    struct ks_exchange *exchange;
    struct ks_peer *peer;
    pthread_t stepper;
    struct MHD_Daemon *daemon;
    int closing; /* the socket of the port once nobody can connect, until the daemon's threads have ended; -1: none */
};

/** Serves until a signal asks to stop, and then until answers are complete or time is up.
 *  Errors: KL_ERR_ARGUMENT, KL_ERR_IO (the address), KL_ERR_MEMORY, KL_ERR_UNSUPPORTED (built without HTTP). */
kl_status ks_serve(struct ka_loaded *l, const struct ks_options *options, kl_error *err);

/** Random letters and digits behind `prefix`, for ids. */
struct ks_id {
    char text[48];
};
struct ks_id ks_new_id(const char *prefix);
/** A seed that nobody chose. */
uint64_t ks_new_seed(void);

#endif
