/** Named conversations that the server keeps: their tokens, and on disk what the model remembers of them.
 *
 *  A session is a list of tokens.  What a request says goes behind them, and when the answer is there the session has
 *  grown by both; an answer is therefore the one that the same tokens get as a prompt, with or without a session.  On
 *  disk lie two files: OWNER.NAME.tokens, which is the session, and OWNER.NAME.state, a checkpoint that saves reading
 *  them again and may be missing.  Each is complete or absent, and has a checksum.  OWNER is of the API key, so nobody
 *  sees the sessions of others. */
#ifndef KS_SESSIONS_H
#define KS_SESSIONS_H

#include "problem.h"

#include <pthread.h>

enum {
    KS_MOST_SESSIONS = 4096, /* of all keys together */
    KS_SESSION_NAME = 64,    /* bytes of a name */
};

struct ks_server;

struct ks_session {
    struct ks_session *next;
    uint64_t owner; /* of the key; 0: there are no keys */
    char name[KS_SESSION_NAME + 1];
    int32_t *token; /* [n] of [room] */
    int64_t n, room;
    int64_t created, changed; /* seconds since 1970 */
    bool busy;                /* a request goes on with it: nobody else may touch it */
    bool saved;               /* the tokens on disk are these */
    int64_t shown_n, shown_changed; /* as of when it was last given back: what others may look at */
    bool shown_saved;
    bool cold;                /* its state was not taken into the prefix cache since the server began */
};

struct ks_sessions {
    pthread_mutex_t lock; /* of the list, of `busy` and what is shown */
    struct ks_session *first;
    int n;
};

/** Reads what the folder holds, where there is one.  Files that are no good are told to the log, and left alone.
 *  Errors: KL_ERR_IO (the folder), KL_ERR_MEMORY. */
kl_status ks_sessions_open(struct ks_server *s, kl_error *err);
/** Saves those that have changed; on the thread that may touch the engine.  Returns how many could not be saved. */
int ks_sessions_save_all(struct ks_server *s);
void ks_sessions_close(struct ks_server *s);

/** A name is 1 to 64 of A-Z a-z 0-9 - _ . and does not begin with a dot. */
bool ks_session_name(const char *name, struct ks_problem *p);
/** Takes the session for this request alone, or refuses: there is none (404), somebody has it (409). */
struct ks_session *ks_session_take(struct ks_server *s, uint64_t owner, const char *name, struct ks_problem *p);
/** The same with a new one, empty; one with this name must not be there (409). */
struct ks_session *ks_session_make(struct ks_server *s, uint64_t owner, const char *name, struct ks_problem *p);
/** Lets others have it.  NULL is allowed. */
void ks_session_give(struct ks_server *s, struct ks_session *session);
/** Removes it, files included.  It must have been taken. */
void ks_session_remove(struct ks_server *s, struct ks_session *session);

/** Tokens behind those that are there.  False: no memory. */
bool ks_session_add(struct ks_session *session, const int32_t *token, int64_t n);
/** Tokens go to disk, and the state if the cache has it.  It must have been taken; on the thread that steps. */
bool ks_session_save(struct ks_server *s, struct ks_session *session, struct ks_problem *p);
/** The state comes from disk into the cache, if there is one; *length becomes its tokens.  As above. */
void ks_session_warm(struct ks_server *s, struct ks_session *session, int64_t *length);
/** The copy, which was made and is empty, gets what `from` has; both must have been taken. */
bool ks_session_fork(struct ks_server *s, struct ks_session *copy, const struct ks_session *from, struct ks_problem *p);

#endif
