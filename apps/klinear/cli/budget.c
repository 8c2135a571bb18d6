#include "budget.h"

#include "amount.h"
#include "base/error.h"
#include "machine.h"

enum {
    SESSIONS = 4,                 /* fixed blocks: one that runs, and checkpoints */
    TOKEN_TEXT_BYTES = 320,       /* a tokenizer's memory for each entry of its vocabulary, at most */
    MARGIN_BYTES = 12 << 20,      /* stacks, lists of tokens, what allocators keep */
    CACHE_SHARE = 8,              /* the latent cache gets one part of so many */
};

static int64_t least64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Weights as a run has them that nobody limits. */
static int64_t whole_bytes(const kl_model *m)
{
    kl_model_split s = kl_model_split_of(m);
    int64_t packed = kl_model_packed_bytes(m), apart = s.fixed_bytes + s.n_expert * s.expert_bytes;
    return (packed > apart ? packed : apart) + apart / 16; /* what has no packed layout stays mapped beside it */
}

/* What --memory says; without it, what can be had, where the files take more than that and experts can wait on the
 * disk. */
static int64_t total_of(const kl_model *m, const struct ka_choice *choice)
{
    if (choice->memory)
        return choice->memory;
    int64_t can_have = (int64_t)ka_machine(0).memory_free_bytes;
    can_have -= can_have / 16;
    bool too_large = kl_model_file_bytes(m) > can_have - can_have / CACHE_SHARE;
    return too_large && choice->weights != KA_WEIGHTS_MAPPED && kl_model_split_of(m).n_expert ? can_have : 0;
}

/* As the sentence names it, rounded up. */
static kl_status too_little(const struct ka_budget *b, const kl_model *m, int64_t least, kl_error *err)
{
    int64_t need = b->program + b->workspace + b->sessions + least, mib = (need >> 20) + 1;
    return kl__fail(err, KL_ERR_MEMORY, "%s of memory is too little for %s: expected at least %lldM",
                    ka_bytes((double)b->total).text, kl_model_file(m, 0), (long long)mib);
}

kl_status ka_divide_memory(struct ka_budget *b, const kl_model *model, const struct ka_choice *choice,
                           const kl_engine_options *options, int64_t beside, kl_error *err)
{
    *b = (struct ka_budget){.total = total_of(model, choice), .cache = choice->cache_memory, .whole = true};
    if (b->total == 0)
        return KL_OK;
    kl_engine_memory engine;
    KL_TRY(kl_engine_predict(&engine, model, options, err));
    const kl_config *c = kl_model_config(model);
    kl_model_split s = kl_model_split_of(model);
    b->program = (int64_t)ka_resident_bytes() + (int64_t)c->n_vocab * TOKEN_TEXT_BYTES + MARGIN_BYTES + b->total / 64;
    b->workspace = engine.workspace_bytes;
    b->sessions = SESSIONS * (engine.fixed_bytes + (int64_t)c->n_vocab * (int64_t)sizeof(float)) + beside;
    int64_t left = b->total - b->program - b->workspace - b->sessions;
    int64_t most = c->n_context / KL_PAGE_TOKENS * engine.page_bytes, least = s.least_bytes + engine.page_bytes;
    if (left < least + (b->cache ? b->cache : 0))
        return too_little(b, model, least + b->cache, err);
    if (!b->cache && engine.page_bytes) {
        int64_t share = least64(left / CACHE_SHARE, left - s.least_bytes);
        share = most ? least64(share, most) : share;
        b->cache = share / engine.page_bytes * engine.page_bytes;
        b->cache = b->cache ? b->cache : engine.page_bytes;
    }
    b->weights = left - b->cache;
    b->whole = choice->weights != KA_WEIGHTS_MAPPED && b->weights >= whole_bytes(model);
    return KL_OK;
}
