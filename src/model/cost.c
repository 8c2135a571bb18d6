/* What a token costs: bytes that have to be read, and operations of the definitions. */
#include "model/model.h"

struct sums {
    kl_token_cost cost;
    bool embed_is_head; /* the table is read as the head as well */
};

static int64_t bytes_of(const struct kl__weight *w)
{
    size_t row = 0;
    kl__type_bytes(w->type, w->n_in, &row);
    return w->n_out * (int64_t)row;
}

/* A parameter of a layer, or of the model itself. */
static void add(struct sums *s, enum kl__param p, const struct kl__weight *w)
{
    int64_t elements = w->n_out * w->n_in, bytes = bytes_of(w);
    bool looked_up = p == KL__EMBED && !s->embed_is_head;
    if (!w->data && !w->each)
        return;
    s->cost.parameters += w->n_matrix * elements;
    if (kl__param_info(p)->form == KL__FORM_EXPERTS) {
        s->cost.expert_parameters += elements;
        s->cost.expert_bytes += bytes;
    } else {
        s->cost.fixed_parameters += looked_up ? 0 : elements;
        s->cost.fixed_bytes += looked_up ? bytes / w->n_out : bytes;
    }
}

/* The second projection of MLA, which attention reads as two tensors. */
static void add_tensor(struct sums *s, kl_tensor x)
{
    int64_t elements = x.n_dim == 3 ? x.dim[0] * x.dim[1] * x.dim[2] : 0;
    s->cost.parameters += elements;
    s->cost.fixed_parameters += elements;
    s->cost.fixed_bytes += elements * (int64_t)kl_dtype_bytes(x.dtype);
}

kl_token_cost kl_model_token_cost(const kl_model *m, kl_cache_type type)
{
    const kl_config *c = &m->net.c;
    struct sums s = {.embed_is_head = c->tied};
    int n_mla = kl__n_mla(c);
    kl_state_cost state = kl_config_state_cost(c, type);
    for (int p = 0; p < KL__N_PARAM; p++)
        for (int i = -1; i < c->n_layer; i++)
            add(&s, (enum kl__param)p, &(i < 0 ? &m->net.top : &m->net.layer[i])->w[p]);
    for (int i = 0; i < c->n_layer; i++) {
        add_tensor(&s, m->net.layer[i].w_uk);
        add_tensor(&s, m->net.layer[i].w_uv);
    }
    s.cost.state_bytes = 2 * state.fixed_bytes;
    s.cost.state_flops = (int64_t)kl__n_recurrent(c) * c->n_kda_v_head * 7 * c->kda_k * c->kda_v;
    s.cost.row_bytes = state.token_bytes;
    s.cost.row_flops = (int64_t)n_mla * c->n_head * 2 * (c->qk_nope + c->qk_rope + c->v_dim);
    return s.cost;
}
