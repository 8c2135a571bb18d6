#include "speech.h"

#include "../cli/interrupt.h"
#include "../cli/machine.h"
#include "../cli/progress.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

const char *const ka_end_name[] = {
    [KA_END_LIMIT] = "limit",     [KA_END_TOKEN] = "end",           [KA_END_STRING] = "stop",
    [KA_END_GRAMMAR] = "grammar", [KA_END_CONTEXT] = "context",     [KA_END_INTERRUPT] = "interrupt",
    [KA_END_FAULT] = "error",
};

static kl_status open_stop(struct ka_speech *s, const struct ka_texts *strings, kl_error *err)
{
    kl_text text[KA_LIST];
    for (int i = 0; i < strings->n; i++)
        text[i] = kl_text_of(strings->at[i]);
    return strings->n ? kl_stop_open(&s->stop, text, (size_t)strings->n, NULL, err) : KL_OK;
}

kl_status ka_speech_open(struct ka_speech *s, struct ka_loaded *l, const struct ka_sampling_choice *choice,
                         int64_t context, kl_error *err)
{
    int32_t n_vocab = kl_model_config(l->model)->n_vocab;
    *s = (struct ka_speech){.l = l, .context = context};
    KL_TRY(ka_sampling_of(&s->sampling, choice, n_vocab, err));
    s->state = (kl_sampler_state){s->sampling.seed, 0};
    KL_TRY(open_stop(s, &choice->stop, err));
    KL_TRY(kl_sampler_open(&s->sampler, n_vocab, NULL, err));
    KL_TRY(kl_session_open(&s->session, l->engine, err));
    s->n_end_id = kl_tokenizer_stops(s->end_id, l->tokenizer);
    size_t room = kl_decoder_room(l->tokenizer);
    s->logits = malloc((size_t)n_vocab * sizeof *s->logits);
    s->text = malloc(room);
    s->shown = malloc(room + (s->stop ? kl_stop_held(s->stop) : 0));
    return s->logits && s->text && s->shown ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "out of memory");
}

void ka_speech_close(struct ka_speech *s)
{
    ka_ahead_close(&s->ahead);
    kl_session_close(s->session);
    kl_sampler_close(s->sampler);
    kl_stop_close(s->stop);
    ka_free_ids(&s->pending);
    free(s->logits);
    free(s->text);
    free(s->shown);
    *s = (struct ka_speech){0};
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

static bool show_progress(void *user, int64_t done, int64_t total)
{
    ka_progress_set(user, done, total);
    return !ka_interrupted();
}

/* What has been read of the pending tokens is pending no longer. */
static void take_off(struct ka_speech *s, int64_t n)
{
    s->pending.n -= n;
    memmove(s->pending.at, s->pending.at + n, (size_t)s->pending.n * sizeof *s->pending.at);
}

kl_status ka_speech_read(struct ka_speech *s, kl_error *err)
{
    struct ka_progress p;
    int64_t before = kl_session_length(s->session);
    s->stats = (struct ka_speech_stats){.n_read = s->pending.n, .end = KA_END_FAULT};
    if (s->context && before + s->pending.n > s->context)
        return kl__fail(err, KL_ERR_MEMORY, "%lld tokens have been read and %lld are to be, expected at most %lld",
                        (long long)before, (long long)s->pending.n, (long long)s->context);
    double start = ka_seconds();
    ka_progress_begin(&p, "Reading", "tokens");
    ka_stop_when_interrupted(s->l); /* not while something is written: that goes on to be of use */
    kl_status status = kl_prefill(s->session, s->pending.at, s->pending.n, s->logits, show_progress, &p, err);
    kl_engine_stop_when(s->l->engine, NULL, NULL);
    ka_progress_end(&p);
    s->stats.read_seconds = ka_seconds() - start;
    s->n_prompt = kl_session_length(s->session);
    take_off(s, s->n_prompt - before);
    return ka_step_status(status, err);
}

/* ------------------------------------------------------------------------------------------------------- writing -- */

/* Text on its way out, past the stop strings. */
static kl_status show(struct ka_speech *s, size_t bytes, ka_text_fn *put, void *user, kl_error *err)
{
    if (!s->stop)
        return bytes ? put(user, s->text, bytes, err) : KL_OK;
    size_t n = kl_stop_put(s->stop, s->shown, (kl_text){s->text, bytes});
    return n ? put(user, s->shown, n, err) : KL_OK;
}

/* What was held back when no more text comes. */
static kl_status show_rest(struct ka_speech *s, kl_decoder *d, ka_text_fn *put, void *user, kl_error *err)
{
    KL_TRY(show(s, kl_decoder_end(d, s->text), put, user, err));
    size_t n = s->stop ? kl_stop_end(s->stop, s->shown) : 0;
    return n ? put(user, s->shown, n, err) : KL_OK;
}

static bool ends_turn(const struct ka_speech *s, int32_t id)
{
    for (int i = 0; i < s->n_end_id; i++)
        if (s->end_id[i] == id)
            return true;
    return false;
}

static bool is_full(const struct ka_speech *s)
{
    return s->context && ka_ahead_length(&s->ahead, s->session) + s->pending.n >= s->context;
}

/* Chooses a token, which becomes pending. */
static kl_status choose(struct ka_speech *s, float *logits, size_t n_prompt, int32_t *id, kl_error *err)
{
    kl_sampled sampled;
    size_t n = (size_t)ka_ahead_length(&s->ahead, s->session);
    kl_history history = {kl_session_tokens(s->session), n, n_prompt};
    if (s->guide)
        KL_TRY(kl_guide_mask(s->guide, logits, kl_model_config(s->l->model)->n_vocab, s->end_id, s->n_end_id, err));
    KL_TRY(kl_sampler_next(s->sampler, &sampled, &s->state, logits, &s->sampling.s, &history, err));
    if (s->guide)
        KL_TRY(kl_guide_take(s->guide, sampled.id, err));
    *id = sampled.id;
    return ka_add_ids(&s->pending, id, 1, err);
}

/* Reads the token that was chosen last.  Weights are packed in a third of the time, as long as some are left. */
static kl_status read_one(struct ka_speech *s, float **logits, kl_error *err)
{
    double start = ka_seconds();
    if (s->ahead.most)
        KL_TRY(ka_ahead_read(&s->ahead, s->session, s->pending.at[0], logits, err));
    else
        KL_TRY(kl_decode(s->session, s->pending.at[0], *logits, err));
    take_off(s, 1);
    ka_pack_more(s->l, (ka_seconds() - start) / 2);
    return KL_OK;
}

/* One token after the other until something ends it, which `*end` says. */
static kl_status write_tokens(struct ka_speech *s, int64_t n, kl_decoder *d, ka_text_fn *put, void *user,
                              struct ka_ids *ids, enum ka_end *end, kl_error *err)
{
    size_t n_prompt = (size_t)s->n_prompt;
    double start = ka_seconds();
    float *logits = s->logits;
    for (int64_t i = 0;; i++) {
        int32_t id;
        *end = i == n ? KA_END_LIMIT : is_full(s) ? KA_END_CONTEXT : ka_interrupted() ? KA_END_INTERRUPT : KA_END_FAULT;
        if (*end != KA_END_FAULT)
            return KL_OK;
        if (s->pending.n)
            KL_TRY(read_one(s, &logits, err));
        KL_TRY(choose(s, logits, n_prompt, &id, err));
        s->stats.n_written++;
        if (i == 0)
            s->stats.first_seconds = s->stats.read_seconds + (ka_seconds() - start);
        if (ids)
            KL_TRY(ka_add_ids(ids, &id, 1, err));
        if (ends_turn(s, id)) {
            *end = KA_END_TOKEN;
            return KL_OK;
        }
        KL_TRY(show(s, kl_decoder_put(d, s->text, s->l->tokenizer, id), put, user, err));
        if (s->stop && kl_stop_found(s->stop) >= 0) {
            *end = KA_END_STRING;
            return KL_OK;
        }
        if (s->guide && kl_guide_ended(s->guide)) {
            *end = KA_END_GRAMMAR;
            return KL_OK;
        }
    }
}

kl_status ka_speech_write(struct ka_speech *s, int64_t n, ka_text_fn *put, void *user, struct ka_ids *ids,
                          kl_error *err)
{
    kl_decoder d = {0};
    enum ka_end end = KA_END_FAULT;
    if (s->stop)
        kl_stop_reset(s->stop);
    double start = ka_seconds();
    kl_status status = write_tokens(s, n, &d, put, user, ids, &end, err);
    if (status == KL_OK)
        status = ka_ahead_settle(&s->ahead, s->session, err);
    s->stats.write_seconds = ka_seconds() - start;
    if (status == KL_OK && end != KA_END_STRING)
        status = show_rest(s, &d, put, user, err);
    s->stats.end = status == KL_OK ? end : KA_END_FAULT;
    return status;
}
