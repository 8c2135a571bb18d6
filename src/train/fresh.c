/* Parameters of a model that has not learnt yet. */
#include "base/random.h"
#include "train/trainer.h"

#include <math.h>
#include <string.h>

/* Numbers depend on the seed and the name, not on what else a model has. */
static uint64_t key_of(const char *name, uint64_t seed)
{
    uint64_t key = 0xcbf29ce484222325; /* FNV-1a */
    for (; *name; name++)
        key = (key ^ (unsigned char)*name) * 0x100000001b3;
    return kl__random(seed, key).key;
}

static double normal(uint64_t key, uint64_t i)
{
    double u = kl__uniform_at(key, 2 * i), v = kl__uniform_at(key, 2 * i + 1);
    return sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);
}

/* What a gate has to be given so that it decays by `dt` at the rate 1. */
static double before_gate(double dt, const kl_config *c)
{
    if (c->gate_bounded)
        return log(dt / (-(double)c->gate_lower_bound - dt)); /* -lower_bound sigmoid(x) = dt */
    return dt + log(-expm1(-dt));                             /* softplus(x) = dt */
}

/* Matrices whose product is added to the stream of hidden states. */
static bool adds(enum kl__param p)
{
    return p == KL__KDA_O || p == KL__MLA_O || p == KL__FFN_DOWN || p == KL__SHARED_DOWN || p == KL__EXPERT_DOWN;
}

static double deviation(const struct kl__place *p, const kl_config *c)
{
    if (p->param == KL__EMBED)
        return 0.02;
    double d = 0.5 / sqrt((double)p->columns);
    return adds(p->param) ? d / sqrt(2.0 * c->n_layer) : d;
}

static double vector(const struct kl__place *p, const kl_config *c, double u)
{
    switch (p->param) {
    case KL__A_LOG:
        return c->gate_bounded ? 0 : log(1 + 15 * u);
    case KL__DT_BIAS:
        return before_gate(exp(log(1e-3) + u * log(1e2)), c);
    case KL__ROUTER_BIAS:
    case KL__CONV_Q_BIAS:
    case KL__CONV_K_BIAS:
    case KL__CONV_V_BIAS:
        return 0;
    default:
        return 1; /* of a norm */
    }
}

static void fill(float *x, const struct kl__place *p, const kl_config *c, uint64_t key)
{
    bool conv = kl__param_info(p->param)->form == KL__FORM_CONV;
    double d = deviation(p, c);
    for (int64_t i = 0; i < kl__place_floats(p); i++) {
        uint64_t at = (uint64_t)i;
        if (conv)
            x[i] = (float)((2 * kl__uniform_at(key, at) - 1) / sqrt((double)p->columns));
        else
            x[i] = (float)(p->n_dim == 1 ? vector(p, c, kl__uniform_at(key, at)) : d * normal(key, at));
    }
}

void kl_trainer_init(kl_trainer *t, uint64_t seed)
{
    for (int a = KL__GRADIENT; a < KL__N_ARENA; a++)
        memset(t->arena[a], 0, (size_t)t->layout.n * sizeof(float));
    kl_trainer_forget_gradients(t);
    t->n_step = 0;
    t->loss = t->norm = (struct kl__usual){0};
    for (int64_t i = 0; i < t->layout.n_place; i++) {
        const struct kl__place *p = &t->layout.place[i];
        struct kl__param_name name = kl__param_name(KL__NAMES_HF, p->param, p->layer, 0);
        fill(t->arena[KL__VALUE] + p->at, p, &t->layout.c, key_of(name.text, seed));
    }
}
