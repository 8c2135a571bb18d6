/* "klineart", u32 version, u64 seed, u64 drawn, u8 cut, u64 tokens in front of what was written (not in version 1), u32
 * pending, i32 ids, u32 turns, and of each u8 role, u64 bytes, text; little-endian. */
#include "talk_file.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'k', 'l', 'i', 'n', 'e', 'a', 'r', 't'};
enum { VERSION = 2 };

/* -------------------------------------------------------------------------------------------------------- saving -- */

/* Counts, and writes where `data` is not NULL: the same walk measures and fills. */
struct writer {
    unsigned char *data;
    size_t bytes;
};

static void put_bytes(struct writer *w, const void *from, size_t bytes)
{
    if (w->data && bytes)
        memcpy(w->data + w->bytes, from, bytes);
    w->bytes += bytes;
}

static void put_number(struct writer *w, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++)
        put_bytes(w, &(unsigned char){(unsigned char)(n >> (8 * i))}, 1);
}

static void put_talk(struct writer *w, const struct ka_talk *t)
{
    const struct ka_speech *s = &t->speech;
    put_bytes(w, magic, sizeof magic);
    put_number(w, VERSION, 4);
    put_number(w, s->state.seed, 8);
    put_number(w, s->state.n_drawn, 8);
    put_number(w, t->cut, 1);
    put_number(w, (uint64_t)s->n_prompt, 8);
    put_number(w, (uint64_t)s->pending.n, 4);
    for (int64_t i = 0; i < s->pending.n; i++)
        put_number(w, (uint32_t)s->pending.at[i], 4);
    put_number(w, (uint64_t)t->n_message, 4);
    for (int i = 0; i < t->n_message; i++) {
        put_number(w, t->message[i].role, 1);
        put_number(w, t->message[i].bytes, 8);
        put_bytes(w, t->message[i].text, t->message[i].bytes);
    }
}

unsigned char *ka_talk_bytes(size_t *bytes, const struct ka_talk *t)
{
    struct writer w = {0};
    put_talk(&w, t);
    *bytes = w.bytes;
    w = (struct writer){.data = malloc(w.bytes)};
    if (w.data)
        put_talk(&w, t);
    return w.data;
}

/* ------------------------------------------------------------------------------------------------------- loading -- */

struct reader {
    const unsigned char *data;
    size_t bytes, at;
    bool failed; /* something did not fit */
};

static uint64_t take_number(struct reader *r, int bytes)
{
    uint64_t n = 0;
    if (r->bytes - r->at < (size_t)bytes) {
        r->failed = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        n |= (uint64_t)r->data[r->at++] << (8 * i);
    return n;
}

static kl_status take_pending(struct reader *r, struct ka_talk *t, int64_t n_vocab, kl_error *err)
{
    uint64_t n = take_number(r, 4);
    for (uint64_t i = 0; i < n && !r->failed; i++) {
        uint64_t id = take_number(r, 4);
        if (id >= (uint64_t)n_vocab)
            r->failed = true;
        else
            KL_TRY(ka_add_ids(&t->speech.pending, &(int32_t){(int32_t)id}, 1, err));
    }
    return KL_OK;
}

static kl_status take_turns(struct reader *r, struct ka_talk *t, kl_error *err)
{
    uint64_t n = take_number(r, 4);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t role = take_number(r, 1), bytes = take_number(r, 8);
        if (r->failed || role >= KA_N_ROLE || bytes > r->bytes - r->at) {
            r->failed = true;
            return KL_OK;
        }
        KL_TRY(ka_talk_keep(t, (enum ka_role)role, (kl_text){(const char *)r->data + r->at, bytes}, err));
        r->at += bytes;
    }
    return KL_OK;
}

kl_status ka_talk_of_bytes(struct ka_talk *t, const unsigned char *data, size_t bytes, int64_t n_vocab, kl_error *err)
{
    struct reader r = {data, bytes, sizeof magic, false};
    if (bytes < sizeof magic || memcmp(data, magic, sizeof magic) != 0)
        return kl__fail(err, KL_ERR_FORMAT, "the session holds no conversation of klinear");
    uint64_t version = take_number(&r, 4);
    if (version < 1 || version > VERSION)
        return kl__fail(err, KL_ERR_FORMAT, "the conversation has version %llu, expected 1 .. %d",
                        (unsigned long long)version, VERSION);
    t->speech.state.seed = take_number(&r, 8);
    t->speech.state.n_drawn = take_number(&r, 8);
    t->cut = take_number(&r, 1) != 0;
    t->speech.n_prompt = version > 1 ? (int64_t)take_number(&r, 8) : INT64_MAX;
    KL_TRY(take_pending(&r, t, n_vocab, err));
    if (!r.failed)
        KL_TRY(take_turns(&r, t, err));
    if (r.failed || r.at != bytes)
        return kl__fail(err, KL_ERR_FORMAT, "the conversation is damaged at byte %zu of %zu", r.at, bytes);
    return KL_OK;
}

kl_status ka_talk_save(const struct ka_talk *t, const char *path, kl_error *err)
{
    size_t bytes;
    unsigned char *extra = ka_talk_bytes(&bytes, t);
    if (!extra)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    kl_status status = kl_session_save(t->speech.session, path, extra, bytes, err);
    free(extra);
    return status;
}

/* The session, and the caller's bytes, of which their size is known after the first look. */
static kl_status load(kl_session **session, struct ka_loaded *l, const char *path, unsigned char **extra, size_t *bytes,
                      kl_error *err)
{
    kl_error small = {0};
    unsigned char nothing;
    kl_status status = kl_session_load(session, l->engine, path, &nothing, 0, bytes, &small);
    if (status != KL_ERR_WORKSPACE) {
        *err = small;
        return status == KL_OK ? kl__fail(err, KL_ERR_FORMAT, "%s: the session holds no conversation of klinear", path)
                               : status;
    }
    *extra = malloc(*bytes);
    if (!*extra)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    return kl_session_load(session, l->engine, path, *extra, *bytes, bytes, err);
}

/* Puts what was loaded in the place of what there was. */
static void replace(struct ka_talk *t, struct ka_talk *new, kl_session *session)
{
    ka_talk_reset(t);
    kl_session_close(t->speech.session);
    ka_free_ids(&t->speech.pending);
    free(t->message);
    t->speech.session = session;
    t->speech.pending = new->speech.pending;
    t->speech.state = new->speech.state;
    if (t->speech.sampling.chosen)
        t->speech.state.seed = t->speech.sampling.seed;
    else
        t->speech.sampling.seed = t->speech.state.seed;
    int64_t n = kl_session_length(session), n_prompt = new->speech.n_prompt;
    t->speech.n_prompt = n_prompt >= 0 && n_prompt < n ? n_prompt : n;
    t->message = new->message;
    t->n_message = new->n_message;
    t->room = new->room;
    t->cut = new->cut;
}

kl_status ka_talk_load(struct ka_talk *t, const char *path, kl_error *err)
{
    kl_session *session = NULL;
    unsigned char *extra = NULL;
    size_t bytes = 0;
    struct ka_talk new = {0};
    kl_status status = load(&session, t->speech.l, path, &extra, &bytes, err);
    if (status == KL_OK) {
        status = ka_talk_of_bytes(&new, extra, bytes, kl_model_config(t->speech.l->model)->n_vocab, err);
        if (status != KL_OK) {
            char why[sizeof err->text];
            memcpy(why, err->text, sizeof why);
            kl__fail(err, status, "%s: %s", path, why);
        }
    }
    if (status == KL_OK)
        replace(t, &new, session);
    else {
        kl_session_close(session);
        ka_talk_close(&new);
    }
    free(extra);
    return status;
}
