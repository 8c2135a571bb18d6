/* POST /tokenize, POST /detokenize */
#include "generation.h"
#include "routes.h"

#include <stdlib.h>

static json_t *ids_json(const struct ks_server *s, const int32_t *token, int64_t n, bool pieces)
{
    json_t *ids = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(ids,
                              pieces ? json_pack("{s:i,s:o}", "id", (int)token[i], "piece", ks_token_text(s, token[i]))
                                     : json_integer(token[i]));
    return json_pack("{s:o,s:I}", "tokens", ids, "count", (json_int_t)n);
}

/* {"content": TEXT, "parse_special": false, "with_pieces": false} -> {"tokens": [...], "count": N} */
void ks_ep_tokenize(struct ks_exchange *x)
{
    struct ks_problem p;
    kl_text text = {0};
    bool special = false, pieces = false;
    int32_t *token = NULL;
    int64_t n = 0;
    json_t *body = ks_parse(&p, x->body.data, x->body.n);
    struct ks_fields f = {body, "", &p};
    bool fine = body && ks_string(&f, "content", &text) && ks_string(&f, "prompt", &text) &&
                ks_flag(&f, "parse_special", &special) && ks_flag(&f, "with_pieces", &pieces);
    if (fine && !text.data)
        fine = ks_refuse(&p, 400, "content", NULL, "content is absent, expected a string");
    fine = fine && ks_encode(x->server, &token, &n, text, special ? KL_MARKUP_SPECIAL : KL_MARKUP_PLAIN, &p);
    if (fine && pieces && n > x->server->context)
        fine = ks_refuse(&p, 400, "with_pieces", NULL,
                         "the text has %lld tokens, expected at most %lld with their pieces: the context has as many",
                         (long long)n, (long long)x->server->context);
    if (fine)
        ks_answer_json(x, 200, ids_json(x->server, token, n, pieces));
    else
        ks_answer_problem(x, &p);
    free(token);
    json_decref(body);
}

static bool read_ids(const struct ks_fields *f, int32_t **token, size_t *n)
{
    json_t *ids = ks_field(f, "tokens");
    *n = json_array_size(ids);
    if (!json_is_array(ids))
        return ks_refuse(f->p, 400, "tokens", NULL, "tokens is %s, expected an array", ks_kind(ids));
    *token = malloc((*n + 1) * sizeof **token);
    if (!*token)
        return ks_refuse(f->p, 503, NULL, NULL, "out of memory");
    for (size_t i = 0; i < *n; i++) {
        json_t *id = json_array_get(ids, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX)
            return ks_refuse(f->p, 400, "tokens", NULL, "tokens[%zu] is %s, expected the number of a token", i,
                             ks_kind(id));
        (*token)[i] = (int32_t)value;
    }
    return true;
}

/* {"tokens": [...], "show_special": false} -> {"content": TEXT} */
void ks_ep_detokenize(struct ks_exchange *x)
{
    struct ks_problem p;
    bool special = false;
    int32_t *token = NULL;
    size_t n = 0;
    char *text = NULL;
    json_t *body = ks_parse(&p, x->body.data, x->body.n);
    struct ks_fields f = {body, "", &p};
    bool fine = body && ks_flag(&f, "show_special", &special) && read_ids(&f, &token, &n);
    if (fine) {
        const kl_tokenizer *t = x->server->l->tokenizer;
        size_t bytes = kl_detokenize(NULL, 0, t, token, n, special);
        text = malloc(bytes + 1);
        fine = text || ks_refuse(&p, 503, NULL, NULL, "out of memory");
        if (fine) {
            kl_detokenize(text, bytes, t, token, n, special);
            ks_answer_json(x, 200, json_pack("{s:o}", "content", ks_text_json(text, bytes)));
        }
    }
    if (!fine)
        ks_answer_problem(x, &p);
    free(text);
    free(token);
    json_decref(body);
}
