/* Prompts that are texts or tokens. */
#include "generation.h"

#include <stdlib.h>

static bool read_ids(struct ks_generation *g, json_t *ids, const char *name, struct ks_problem *p)
{
    size_t n = json_array_size(ids);
    int32_t n_vocab = (int32_t)kl_model_config(g->x->server->l->model)->n_vocab;
    int32_t *token = malloc((n + 1) * sizeof *token);
    if (!token)
        return ks_refuse(p, 503, NULL, NULL, "out of memory");
    for (size_t i = 0; i < n; i++) {
        json_t *id = json_array_get(ids, i);
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= n_vocab) {
            free(token);
            return ks_refuse(p, 400, name, NULL, "%s has %s at %zu, expected a token, 0 to %d", name,
                             json_is_integer(id) ? "a number out of range" : ks_kind(id), i, (int)n_vocab - 1);
        }
        token[i] = (int32_t)value;
    }
    return ks_add_prompt(g, token, (int64_t)n, p);
}

static bool read_prompt(struct ks_generation *g, json_t *prompt, const char *name, struct ks_problem *p)
{
    int32_t *token;
    int64_t n;
    if (json_is_array(prompt))
        return read_ids(g, prompt, name, p);
    if (!json_is_string(prompt))
        return ks_refuse(p, 400, name, NULL, "%s is %s, expected a string or tokens", name, ks_kind(prompt));
    kl_text text = {json_string_value(prompt), json_string_length(prompt)};
    return ks_encode(g->x->server, &token, &n, text, KL_MARKUP_PLAIN, p) && ks_add_prompt(g, token, n, p);
}

/* A text, tokens, or an array of either. */
bool ks_read_prompts(struct ks_generation *g, const struct ks_fields *f, const char *name)
{
    json_t *prompt = ks_field(f, name), *first = json_array_get(prompt, 0);
    if (!json_is_array(prompt) || json_is_number(first))
        return read_prompt(g, prompt, name, f->p);
    if (json_array_size(prompt) > KS_MOST_CHOICES)
        return ks_refuse(f->p, 400, name, NULL, "there are %zu prompts, expected at most %d", json_array_size(prompt),
                         KS_MOST_CHOICES);
    for (size_t i = 0; i < json_array_size(prompt); i++)
        if (!read_prompt(g, json_array_get(prompt, i), name, f->p))
            return false;
    return g->n_prompt > 0 || ks_refuse(f->p, 400, name, NULL, "there is no prompt, expected at least one");
}
