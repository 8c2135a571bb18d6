#include "guided.h"

#include "../cli/input.h"

#include "base/error.h"

#define AT(x) .field = offsetof(struct ka_guided_choice, x)
const struct ka_option ka_guided_options[] = {
    {.name = "grammar",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(grammar),
     .help = "write only what this grammar allows, in the notation GBNF"},
    {.name = "json-schema",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(schema),
     .help = "write only JSON of this schema; {} in it: any JSON"},
    {.name = "regex",
     .value = "TEXT",
     .kind = KA_TEXT,
     AT(regex),
     .help = "write only what this regular expression matches as a whole"},
    {0},
};

static kl_status open_file(struct ka_guided *g, kl_grammar_kind kind, const char *path, kl_error *err)
{
    struct ka_input in = {0};
    kl_status status = ka_read_input(&in, path, KL_GRAMMAR_BYTES, err);
    if (status == KL_OK)
        status = kl_grammar_open(&g->grammar, kind, (kl_text){in.data, in.bytes}, NULL, err);
    ka_free_input(&in);
    return status;
}

kl_status ka_guided_open(struct ka_guided *g, const struct ka_guided_choice *c, const kl_tokenizer *tokenizer,
                         kl_error *err)
{
    kl_status status = KL_OK;
    *g = (struct ka_guided){0};
    if (c->grammar)
        status = open_file(g, KL_GRAMMAR_GBNF, c->grammar, err);
    else if (c->schema)
        status = open_file(g, KL_GRAMMAR_JSON_SCHEMA, c->schema, err);
    else if (c->regex)
        status = kl_grammar_open(&g->grammar, KL_GRAMMAR_REGEX, kl_text_of(c->regex), NULL, err);
    if (status != KL_OK || !g->grammar)
        return status;
    KL_TRY(kl_lexicon_open(&g->lexicon, tokenizer, NULL, err));
    return kl_guide_open(&g->guide, g->grammar, g->lexicon, NULL, NULL, err);
}

void ka_guided_close(struct ka_guided *g)
{
    kl_guide_close(g->guide);
    kl_lexicon_close(g->lexicon);
    kl_grammar_close(g->grammar);
    *g = (struct ka_guided){0};
}
