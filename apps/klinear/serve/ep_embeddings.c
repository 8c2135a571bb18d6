/* POST /v1/embeddings: the mean of a text's final hidden states, of length one. */
#include "generation.h"
#include "routes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void normalise(float *x, int n)
{
    double square = 0;
    for (int i = 0; i < n; i++)
        square += (double)x[i] * (double)x[i];
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (int i = 0; i < n; i++)
        x[i] = (float)(scale * (double)x[i]);
}

/* Little-endian floats in base 64, which is what OpenAI's clients ask for. */
static json_t *base64_json(const float *x, int n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *byte = (const unsigned char *)x;
    size_t n_byte = (size_t)n * sizeof *x, n_char = 0;
    char *text = malloc(4 * (n_byte / 3 + 1) + 1);
    if (!text)
        return json_null();
    for (size_t i = 0; i < n_byte; i += 3) {
        size_t left = n_byte - i;
        uint32_t three = (uint32_t)byte[i] << 16 | (left > 1 ? (uint32_t)byte[i + 1] << 8 : 0) |
                         (left > 2 ? (uint32_t)byte[i + 2] : 0);
        text[n_char++] = digit[three >> 18];
        text[n_char++] = digit[three >> 12 & 63];
        text[n_char++] = left > 1 ? digit[three >> 6 & 63] : '=';
        text[n_char++] = left > 2 ? digit[three & 63] : '=';
    }
    json_t *json = json_stringn(text, n_char);
    free(text);
    return json;
}

static json_t *floats_json(const float *x, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)x[i]));
    return list;
}

static json_t *whole(struct ks_generation *g)
{
    json_t *data = json_array();
    const bool *base64 = g->own;
    int n_embd = kl_model_config(g->x->server->l->model)->n_embd;
    int64_t n_token = 0;
    for (int i = 0; i < g->n_prompt; i++) {
        float *x = g->choice[i].embedding;
        if (x)
            normalise(x, n_embd);
        n_token += g->prompt[i].n;
        json_array_append_new(data, json_pack("{s:s,s:i,s:o}", "object", "embedding", "index", i, "embedding",
                                              !x        ? json_null()
                                              : *base64 ? base64_json(x, n_embd)
                                                        : floats_json(x, n_embd)));
    }
    return json_pack("{s:s,s:o,s:s,s:{s:I,s:I}}", "object", "list", "data", data, "model", g->x->server->name, "usage",
                     "prompt_tokens", (json_int_t)n_token, "total_tokens", (json_int_t)n_token);
}

static const struct ks_dialect dialect = {.whole = whole};

static bool read_request(struct ks_generation *g, const struct ks_fields *f)
{
    static const char *const known[] = {"input", "model", "encoding_format", "dimensions", "user", NULL};
    kl_text format = kl_text_of("float");
    int n_embd = kl_model_config(g->x->server->l->model)->n_embd;
    int64_t dimensions = n_embd;
    bool *base64 = g->own = calloc(1, sizeof *base64);
    g->embed = g->raw = true;
    g->max_new = 0;
    if (!base64)
        return ks_refuse(f->p, 503, NULL, NULL, "out of memory");
    if (!ks_only(f, known) || !ks_string(f, "encoding_format", &format) ||
        !ks_integer(f, "dimensions", &dimensions, n_embd, n_embd))
        return false;
    *base64 = strcmp(format.data, "base64") == 0;
    if (!*base64 && strcmp(format.data, "float") != 0)
        return ks_refuse(f->p, 400, "encoding_format", NULL, "encoding_format is \"%.40s\", expected float or base64",
                         format.data);
    return ks_read_prompts(g, f, "input");
}

void ks_ep_embeddings(struct ks_exchange *x)
{
    struct ks_problem p;
    struct ks_generation *g = ks_generation_open(x, &dialect, "emb-");
    if (!g)
        return;
    struct ks_fields f = {g->body, "", &p};
    if (read_request(g, &f))
        ks_generate(g);
    else
        ks_answer_problem(x, &p);
}
