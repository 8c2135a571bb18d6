#include "ahead.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

kl_status ka_ahead_open(struct ka_ahead *a, int most, int64_t n_vocab, kl_error *err)
{
    *a = (struct ka_ahead){.most = most, .n_vocab = n_vocab};
    a->logits = most ? malloc(((size_t)most + 1) * (size_t)n_vocab * sizeof *a->logits) : NULL;
    return !most || a->logits ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "out of memory");
}

void ka_ahead_close(struct ka_ahead *a)
{
    kl_checkpoint_drop(a->before);
    free(a->logits);
    *a = (struct ka_ahead){0};
}

int64_t ka_ahead_length(const struct ka_ahead *a, const kl_session *session)
{
    return kl_session_length(session) - (a->n_guess - a->at);
}

/* Reads generated tokens; logits [n][n_vocab] behind each, or NULL. */
static kl_status read_tokens(kl_session *session, const int32_t *token, int n, float *logits, kl_error *err)
{
    kl_span span = {.session = session,
                    .token = token,
                    .n_token = n,
                    .decode = true,
                    .want = logits ? KL_WANT_ALL : KL_WANT_NONE,
                    .logits = logits};
    KL_TRY(kl_step(kl_session_engine(session), &span, 1, err));
    return span.status == KL_OK ? KL_OK
                                : kl__fail(err, span.status, "the model's numbers are not finite at token %lld",
                                           (long long)kl_session_length(session));
}

kl_status ka_ahead_settle(struct ka_ahead *a, kl_session *session, kl_error *err)
{
    bool wrong = a->at < a->n_guess;
    int32_t right[KA_AHEAD_MOST + 1] = {a->own};
    int n = 1 + a->at;
    memcpy(right + 1, a->guess, (size_t)a->at * sizeof *right);
    a->n_guess = a->at = 0;
    if (!wrong)
        return KL_OK;
    KL_TRY(kl_session_resume(session, a->before, err));
    return read_tokens(session, right, n, NULL, err);
}

/* A guess at what follows `token`; the tokens in front of it are the session's. */
static kl_status make_guess(struct ka_ahead *a, kl_session *session, int32_t token, kl_error *err)
{
    int64_t n = kl_session_length(session);
    int32_t *all = malloc(((size_t)n + 1) * sizeof *all);
    if (!all)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    if (n)
        memcpy(all, kl_session_tokens(session), (size_t)n * sizeof *all);
    all[n] = token;
    a->n_guess = kl_guess_tokens(a->guess, a->most, all, n + 1);
    free(all);
    kl_checkpoint_drop(a->before);
    a->before = NULL;
    if (a->n_guess && kl_checkpoint_take(&a->before, session, NULL) != KL_OK)
        a->n_guess = 0; /* no room for a place to go back to */
    return KL_OK;
}

kl_status ka_ahead_read(struct ka_ahead *a, kl_session *session, int32_t token, float **logits, kl_error *err)
{
    int32_t all[KA_AHEAD_MOST + 1] = {token};
    if (a->at < a->n_guess && a->guess[a->at] == token) {
        a->n_right++;
        *logits = a->logits + (size_t)++a->at * (size_t)a->n_vocab;
        return KL_OK;
    }
    KL_TRY(ka_ahead_settle(a, session, err));
    KL_TRY(make_guess(a, session, token, err));
    memcpy(all + 1, a->guess, (size_t)a->n_guess * sizeof *all);
    a->own = token;
    a->n_guessed += a->n_guess;
    *logits = a->logits;
    if (a->n_guess == 0)
        return read_tokens(session, all, 1, a->logits, err);
    if (read_tokens(session, all, 1 + a->n_guess, a->logits, NULL) == KL_OK)
        return KL_OK;
    /* Perhaps because of the guess, which takes pages and may be a token that the model cannot bear: once more without.
     * The page that the place to go back to has may be the one that is missing. */
    a->n_guessed -= a->n_guess;
    a->n_guess = 0;
    KL_TRY(kl_session_resume(session, a->before, err));
    kl_checkpoint_drop(a->before);
    a->before = NULL;
    return read_tokens(session, all, 1, a->logits, err);
}
