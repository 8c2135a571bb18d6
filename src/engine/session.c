/* Sessions and checkpoints: two owners of timelines. */
#include "base/error.h"
#include "engine/engine.h"

#include <string.h>

struct kl_checkpoint {
    kl_engine *engine;
    struct kl__timeline line;
};

static kl_session *session_of(kl_engine *e, kl_error *err)
{
    kl_session *s = kl__alloc(e->alloc, sizeof *s);
    if (s)
        s->engine = e;
    else
        kl__fail(err, KL_ERR_MEMORY, "no memory for a session");
    return s;
}

kl_status kl_session_open(kl_session **session, kl_engine *e, kl_error *err)
{
    kl_session *s = session_of(e, err);
    if (!s)
        return KL_ERR_MEMORY;
    kl_status status = kl__timeline_open(&s->line, &e->pages, e->fixed_bytes, e->alloc, err);
    if (status == KL_OK)
        *session = s;
    else
        kl_session_close(s);
    return status;
}

void kl_session_close(kl_session *s)
{
    if (!s)
        return;
    kl__timeline_close(&s->line);
    kl__release(s->engine->alloc, s);
}

kl_status kl_session_fork(kl_session **copy, const kl_session *from, kl_error *err)
{
    kl_session *s = session_of(from->engine, err);
    if (!s)
        return KL_ERR_MEMORY;
    kl_status status = kl__timeline_copy(&s->line, &from->line, err);
    s->broken = from->broken;
    if (status == KL_OK)
        *copy = s;
    else
        kl_session_close(s);
    return status;
}

void kl_session_reset(kl_session *s)
{
    kl__timeline_reset(&s->line);
    s->broken = false;
}

void kl_session_trace(kl_session *s, kl_trace *trace)
{
    s->trace = trace;
}

void kl__session_rewind(kl_session *s, const char *fixed, int64_t length)
{
    memcpy(s->line.fixed, fixed, s->line.fixed_bytes);
    s->line.length = length;
    kl__timeline_trim(&s->line);
    s->broken = false;
}

kl_engine *kl_session_engine(const kl_session *s)
{
    return s->engine;
}

int64_t kl_session_length(const kl_session *s)
{
    return s->line.length;
}

const int32_t *kl_session_tokens(const kl_session *s)
{
    return s->line.token;
}

kl_status kl_checkpoint_take(kl_checkpoint **checkpoint, const kl_session *s, kl_error *err)
{
    if (s->broken)
        return kl__fail(err, KL_ERR_NUMERIC, "kl_checkpoint_take: the session's numbers are not finite any more");
    kl_checkpoint *c = kl__alloc(s->engine->alloc, sizeof *c);
    if (!c)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a checkpoint");
    c->engine = s->engine;
    kl_status status = kl__timeline_copy(&c->line, &s->line, err);
    if (status == KL_OK)
        *checkpoint = c;
    else
        kl_checkpoint_drop(c);
    return status;
}

void kl_checkpoint_drop(kl_checkpoint *c)
{
    if (!c)
        return;
    kl__timeline_close(&c->line);
    kl__release(c->engine->alloc, c);
}

int64_t kl_checkpoint_length(const kl_checkpoint *c)
{
    return c->line.length;
}

kl_status kl_session_resume(kl_session *s, const kl_checkpoint *c, kl_error *err)
{
    if (s->engine != c->engine)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_session_resume: the checkpoint is of another engine");
    if (!kl__timeline_return(&s->line, &c->line)) {
        struct kl__timeline copy;
        KL_TRY(kl__timeline_copy(&copy, &c->line, err));
        kl__timeline_close(&s->line);
        s->line = copy;
    }
    s->broken = false;
    return KL_OK;
}
