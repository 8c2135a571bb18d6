#include "sessions.h"

#include "base/error.h"
#include "log.h"
#include "server.h"
#include "session_tokens.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------------------------------------- list -- */

bool ks_session_name(const char *name, struct ks_problem *p)
{
    size_t n = strlen(name), good = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");
    if (n >= 1 && n <= KS_SESSION_NAME && good == n && *name != '.')
        return true;
    return ks_refuse(p, 400, "name", "invalid_session_name",
                     "the name of the session has %zu bytes, expected 1 to %d of A-Z a-z 0-9 - _ . that do not begin "
                     "with a dot",
                     n, KS_SESSION_NAME);
}

static struct ks_session *find(const struct ks_server *s, uint64_t owner, const char *name)
{
    struct ks_session *one = s->sessions.first;
    while (one && (one->owner != owner || strcmp(one->name, name) != 0))
        one = one->next;
    return one;
}

struct ks_session *ks_session_take(struct ks_server *s, uint64_t owner, const char *name, struct ks_problem *p)
{
    if (!ks_session_name(name, p))
        return NULL;
    pthread_mutex_lock(&s->sessions.lock);
    struct ks_session *one = find(s, owner, name);
    bool busy = one && one->busy;
    if (one)
        one->busy = true;
    pthread_mutex_unlock(&s->sessions.lock);
    if (one && !busy)
        return one;
    if (busy)
        ks_refuse(p, 409, "session", "session_busy",
                  "another request is going on with the session \"%s\"; try again when it has its answer", name);
    else
        ks_refuse(p, 404, "session", "session_not_found", "there is no session \"%s\"; POST /v1/sessions makes one",
                  name);
    return NULL;
}

static struct ks_session *add(struct ks_server *s, uint64_t owner, const char *name)
{
    struct ks_session *one = calloc(1, sizeof *one);
    if (!one)
        return NULL;
    one->owner = owner;
    snprintf(one->name, sizeof one->name, "%s", name);
    one->created = one->changed = (int64_t)time(NULL);
    one->next = s->sessions.first;
    s->sessions.first = one;
    s->sessions.n++;
    return one;
}

struct ks_session *ks_session_make(struct ks_server *s, uint64_t owner, const char *name, struct ks_problem *p)
{
    if (!ks_session_name(name, p))
        return NULL;
    pthread_mutex_lock(&s->sessions.lock);
    bool there = find(s, owner, name) != NULL, many = s->sessions.n >= KS_MOST_SESSIONS;
    struct ks_session *one = there || many ? NULL : add(s, owner, name);
    if (one)
        one->busy = true;
    pthread_mutex_unlock(&s->sessions.lock);
    if (there)
        ks_refuse(p, 409, "name", "session_exists", "there is a session \"%s\" already", name);
    else if (many)
        ks_refuse(p, 400, "name", "too_many_sessions", "there are %d sessions, which is the limit", KS_MOST_SESSIONS);
    else if (!one)
        ks_refuse(p, 503, NULL, NULL, "out of memory");
    return one;
}

static void show(struct ks_session *one)
{
    one->shown_n = one->n;
    one->shown_changed = one->changed;
    one->shown_saved = one->saved;
}

void ks_session_give(struct ks_server *s, struct ks_session *one)
{
    if (!one)
        return;
    pthread_mutex_lock(&s->sessions.lock);
    one->busy = false;
    show(one);
    pthread_mutex_unlock(&s->sessions.lock);
}

bool ks_session_add(struct ks_session *one, const int32_t *token, int64_t n)
{
    if (one->n + n > one->room) {
        int64_t room = 2 * one->room > one->n + n ? 2 * one->room : one->n + n;
        int32_t *more = realloc(one->token, (size_t)room * sizeof *more);
        if (!more)
            return false;
        one->token = more;
        one->room = room;
    }
    if (n)
        memcpy(one->token + one->n, token, (size_t)n * sizeof *token);
    one->n += n;
    one->changed = (int64_t)time(NULL);
    one->saved = false;
    return true;
}

/* ---------------------------------------------------------------------------------------------------------- disk -- */

enum what { TOKENS, STATE, N_WHAT };
static const char *const ending[N_WHAT] = {".tokens", ".state"};

/* NULL: no memory. */
static char *path_of(const struct ks_server *s, const struct ks_session *one, enum what what)
{
    size_t room = strlen(s->o->sessions) + strlen(one->name) + 48;
    char *path = malloc(room);
    if (path)
        snprintf(path, room, "%s/%016llx.%s%s", s->o->sessions, (unsigned long long)one->owner, one->name,
                 ending[what]);
    return path;
}

static uint64_t space_of(const struct ks_server *s, const struct ks_session *one)
{
    return s->o->separate ? one->owner : 0;
}

bool ks_session_save(struct ks_server *s, struct ks_session *one, struct ks_problem *p)
{
    int64_t length;
    kl_error err = {0};
    if (!s->o->sessions)
        return ks_refuse(p, 400, NULL, "no_sessions_folder",
                         "sessions cannot be saved: the server was started without --sessions DIR");
    if (one->saved)
        return true;
    char *tokens = path_of(s, one, TOKENS), *state = path_of(s, one, STATE);
    kl_status status = tokens && state ? KL_OK : kl__fail(&err, KL_ERR_MEMORY, "out of memory");
    if (status == KL_OK && s->prefix) /* without it the tokens are read again, that is all */
        kl_prefix_export(s->prefix, &length, space_of(s, one), one->token, one->n, state, NULL);
    if (status == KL_OK)
        status = ks_tokens_write(tokens, one, &err);
    one->saved = status == KL_OK;
    free(tokens);
    free(state);
    return one->saved || ks_refuse(p, status == KL_ERR_MEMORY ? 503 : 500, NULL, "not_saved", "%s", err.text);
}

void ks_session_warm(struct ks_server *s, struct ks_session *one, int64_t *length)
{
    *length = 0;
    char *path = s->o->sessions && s->prefix ? path_of(s, one, STATE) : NULL;
    if (path && access(path, F_OK) == 0)
        kl_prefix_import(s->prefix, length, space_of(s, one), path, NULL);
    free(path);
    one->cold = false;
}

bool ks_session_fork(struct ks_server *s, struct ks_session *copy, const struct ks_session *from, struct ks_problem *p)
{
    if (!ks_session_add(copy, from->token, from->n))
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    copy->cold = from->cold;
    char *old = s->o->sessions ? path_of(s, from, STATE) : NULL, *new = old ? path_of(s, copy, STATE) : NULL;
    if (new) {
        unlink(new);
        if (link(old, new) != 0) /* there is none, or links cannot be made: then it is read again */
            copy->cold = false;
    }
    free(old);
    free(new);
    return true;
}

void ks_session_remove(struct ks_server *s, struct ks_session *one)
{
    for (int what = 0; what < N_WHAT && s->o->sessions; what++) {
        char *path = path_of(s, one, (enum what)what);
        if (path)
            unlink(path);
        free(path);
    }
    pthread_mutex_lock(&s->sessions.lock);
    struct ks_session **link = &s->sessions.first;
    while (*link != one)
        link = &(*link)->next;
    *link = one->next;
    s->sessions.n--;
    pthread_mutex_unlock(&s->sessions.lock);
    free(one->token);
    free(one);
}

/* --------------------------------------------------------------------------------------------- opening and close -- */

/* "0123456789abcdef.NAME.tokens"; false: the file is none of ours. */
static bool read_name(const char *file, uint64_t *owner, char name[KS_SESSION_NAME + 1])
{
    struct ks_problem p;
    size_t n = strlen(file), tail = strlen(ending[TOKENS]);
    char digits[17] = {0}, *end;
    if (n < 18 + tail || n - 17 - tail > KS_SESSION_NAME || file[16] != '.' ||
        strcmp(file + n - tail, ending[TOKENS]) != 0 || strspn(file, "0123456789abcdef") != 16)
        return false;
    memcpy(digits, file, 16);
    *owner = strtoull(digits, &end, 16);
    memcpy(name, file + 17, n - 17 - tail);
    name[n - 17 - tail] = 0;
    return ks_session_name(name, &p);
}

static kl_status read_session(struct ks_server *s, const char *file, kl_error *err)
{
    uint64_t owner;
    char name[KS_SESSION_NAME + 1];
    if (!read_name(file, &owner, name) || s->sessions.n >= KS_MOST_SESSIONS)
        return KL_OK;
    struct ks_session *one = add(s, owner, name);
    char *path = one ? path_of(s, one, TOKENS) : NULL;
    if (!path)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for the sessions in %.160s", s->o->sessions);
    kl_error why = {0};
    kl_status status = ks_tokens_read(one, path, (int32_t)kl_model_config(s->l->model)->n_vocab, &why);
    free(path);
    if (status == KL_OK) {
        one->cold = one->saved = true;
        show(one);
        return KL_OK;
    }
    s->sessions.first = one->next;
    s->sessions.n--;
    free(one->token);
    free(one);
    ks_log_event(s, why.text, NULL, 0);
    return KL_OK;
}

kl_status ks_sessions_open(struct ks_server *s, kl_error *err)
{
    const char *path = s->o->sessions;
    pthread_mutex_init(&s->sessions.lock, NULL);
    if (!path)
        return KL_OK;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return kl__fail(err, KL_ERR_IO, "--sessions %.160s: %s", path, strerror(errno));
    DIR *folder = opendir(path);
    if (!folder)
        return kl__fail(err, KL_ERR_IO, "--sessions %.160s: %s", path, strerror(errno));
    kl_status status = KL_OK;
    for (struct dirent *e; status == KL_OK && (e = readdir(folder));)
        status = read_session(s, e->d_name, err);
    closedir(folder);
    return status;
}

int ks_sessions_save_all(struct ks_server *s)
{
    int failed = 0;
    struct ks_problem p;
    for (struct ks_session *one = s->sessions.first; one && s->o->sessions; one = one->next)
        if (!ks_session_save(s, one, &p)) {
            ks_log_event(s, p.text, NULL, 0);
            failed++;
        }
    return failed;
}

void ks_sessions_close(struct ks_server *s)
{
    while (s->sessions.first) {
        struct ks_session *one = s->sessions.first;
        s->sessions.first = one->next;
        free(one->token);
        free(one);
    }
    pthread_mutex_destroy(&s->sessions.lock);
}
