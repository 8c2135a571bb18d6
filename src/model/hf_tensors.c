#include "model/hf_tensors.h"

#include <string.h>

int64_t kl__hf_elements(const struct kl__hf_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dim; i++)
        n *= t->dim[i];
    return n;
}

static void set_shape(struct kl__hf_tensor *t, int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    int64_t dim[4] = {d0, d1, d2, d3};
    t->n_dim = n_dim;
    memcpy(t->dim, dim, sizeof dim);
}

static struct kl__hf_tensor make(const kl_config *c, enum kl__param p, int layer, int expert, enum kl__type type)
{
    struct kl__hf_tensor t = {.param = p, .layer = layer, .expert = expert, .type = type};
    int64_t d[2] = {0, 0};
    int n_dim = kl__param_dims(c, p, layer, d);
    t.name = kl__param_name(KL__NAMES_HF, p, layer, expert);
    set_shape(&t, n_dim, d[0], d[1], 1, 1);
    if (kl__param_info(p)->form == KL__FORM_CONV)
        set_shape(&t, 3, d[0], 1, d[1], 1);
    if (kl__param_info(p)->form == KL__FORM_A_LOG)
        set_shape(&t, 4, 1, 1, d[0], 1);
    if (p == KL__A_LOG || p == KL__DT_BIAS)
        t.type = KL__TYPE_F32;
    return t;
}

int64_t kl__hf_tensors(struct kl__hf_tensor *tensor, const kl_config *c, enum kl__type type)
{
    int64_t n = 0;
    for (int layer = -1; layer < c->n_layer; layer++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            if (!kl__param_present(c, (enum kl__param)p, layer))
                continue;
            int n_expert = kl__param_info((enum kl__param)p)->form == KL__FORM_EXPERTS ? c->n_expert : 1;
            for (int e = 0; e < n_expert; e++, n++)
                if (tensor)
                    tensor[n] = make(c, (enum kl__param)p, layer, e, type);
        }
    return n;
}

/* Takes the digits at the beginning; -1: there are none, or too many. */
static int take_number(struct kl__str *text)
{
    int n = 0;
    size_t i = 0;
    for (; i < text->bytes && text->at[i] >= '0' && text->at[i] <= '9' && i < 6; i++)
        n = n * 10 + (text->at[i] - '0');
    *text = (struct kl__str){text->at + i, text->bytes - i};
    return i ? n : -1;
}

static bool take_text(struct kl__str *text, struct kl__str expected)
{
    if (text->bytes < expected.bytes || memcmp(text->at, expected.at, expected.bytes) != 0)
        return false;
    *text = (struct kl__str){text->at + expected.bytes, text->bytes - expected.bytes};
    return true;
}

/* `name` is `pattern`, with a number in place of %d. */
static bool matches(struct kl__str name, const char *pattern, int *number)
{
    const char *mark = strstr(pattern, "%d");
    *number = 0;
    if (!mark)
        return kl__str_same(name, kl__str(pattern));
    return take_text(&name, (struct kl__str){pattern, (size_t)(mark - pattern)}) &&
           (*number = take_number(&name)) >= 0 && kl__str_same(name, kl__str(mark + 2));
}

bool kl__hf_find(struct kl__hf_tensor *t, const kl_config *c, struct kl__str name)
{
    *t = (struct kl__hf_tensor){.layer = -1};
    if (take_text(&name, kl__str("model.layers."))) {
        t->layer = take_number(&name);
        if (t->layer < 0 || t->layer >= c->n_layer || !take_text(&name, kl__str(".")))
            return false;
    } else if (name.bytes == 0)
        return false;
    for (int p = 0; p < KL__N_PARAM; p++) {
        t->param = (enum kl__param)p;
        if (kl__param_present(c, t->param, t->layer) && matches(name, kl__param_info(t->param)->hf, &t->expert))
            return t->expert == 0 || t->expert < c->n_expert;
    }
    return false;
}
