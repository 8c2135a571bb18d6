/** One request and its answer.  Endpoints see this, and nothing of the library that speaks HTTP.
 *
 *  An endpoint answers at once (ks_answer_*), or starts a generation and returns: then the answer comes whole when it
 *  is ready, or as a stream.  Events of a generation come on the thread that steps, the rest on threads of HTTP; `lock`
 *  guards what both touch.  The exchange lives until HTTP has done with it and every job of it has ended. */
#ifndef KS_EXCHANGE_H
#define KS_EXCHANGE_H

#include "bytes.h"
#include "problem.h"
#include "server.h"

struct MHD_Connection;

enum ks_state {
    KS_READING = 0, /* the body comes in */
    KS_WAITING,     /* for a generation */
    KS_ANSWERED,    /* the whole answer is in `out` */
    KS_STREAMING,   /* `out` is what the client has not got yet */
    KS_STREAMED,    /* nothing more will come behind `out` */
};

struct ks_exchange {
    struct ks_server *server;
    const struct ks_route *route;
    struct ks_exchange *next, **link; /* in the server's list */
    struct MHD_Connection *connection;
    int references;
    const char *method;   /* "GET", "POST", ... */
    const char *argument; /* what follows the path of the route */
    int key;              /* index; -1: none was needed */
    double began;         /* seconds */
    struct ks_bytes body;

    pthread_mutex_t lock;
    enum ks_state state;
    bool suspended; /* HTTP waits to be woken */
    bool gone;      /* nobody reads any more */
    int status;
    const char *type; /* of the content */
    const char *tag;    /* of a file that may be kept, for as long as it has this tag; NULL: nothing is kept */
    bool packed;        /* that file was compressed by gzip */
    const char *policy; /* what a page may load; NULL: it is no page */
    int retry_seconds;
    struct ks_bytes out;
    double spoke;   /* when something was last put into a stream */
    bool anthropic; /* problems have Anthropic's shape */
    void *generation;
    void (*close_generation)(void *generation);
    void (*cancel)(struct ks_exchange *x); /* asks its jobs to end; any thread, without the lock */
    int64_t n_prompt, n_cached, n_new;     /* for the log; of the lock */
};

/** References: each job holds one. */
void ks_hold(struct ks_exchange *x);
void ks_let_go(struct ks_exchange *x);

/** The whole answer.  Takes the reference to `json`; NULL is an answer without memory. */
void ks_answer_json(struct ks_exchange *x, int status, json_t *json);
void ks_answer_text(struct ks_exchange *x, int status, const char *type, const char *text, size_t bytes);
void ks_answer_problem(struct ks_exchange *x, const struct ks_problem *p);

/** The answer will come whole, later. */
void ks_wait(struct ks_exchange *x);
/** From now on the answer is a stream of events. */
void ks_stream_open(struct ks_exchange *x);
/** An event; `name` may be NULL.  Takes the reference.  A client that does not read is dropped at a limit. */
void ks_stream_json(struct ks_exchange *x, const char *name, json_t *json);
void ks_stream_text(struct ks_exchange *x, const char *text);
void ks_stream_close(struct ks_exchange *x);

#endif
