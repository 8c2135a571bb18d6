#include "model/made.h"

#include <math.h>

/* SplitMix64: every number is a hash of its place, so that any piece can be made by any thread. */
static inline uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline uint64_t at(uint64_t key, int64_t i)
{
    return mix(key + (uint64_t)i * 0x9e3779b97f4a7c15);
}

static double uniform(uint64_t key, int64_t i)
{
    return (double)(at(key, i) >> 11) * 0x1p-53;
}

/* The sum of four uniform numbers of 16 bits, brought to mean 0 and variance 1: bell-shaped, cheap, and never beyond
 * 3.47, so that no outlier spoils the scale of a block. */
static void fill_normal(float *x, const struct kl__made *m, int64_t first, int64_t n)
{
    const float deviation = 37837.227F; /* sqrt(4 (2^32 - 1) / 12) */
    float scale = m->scale / deviation;
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = at(m->key, first + i);
        uint64_t pairs = (z & 0x0000ffff0000ffff) + (z >> 16 & 0x0000ffff0000ffff);
        int32_t sum = (int32_t)((uint32_t)pairs + (uint32_t)(pairs >> 32)) - 2 * 65535;
        x[i] = m->mean + scale * (float)sum;
    }
}

/* What a gate has to be given so that it decays by `dt` at the rate 1. */
static double before_gate(double dt, double bound)
{
    if (bound < 0)
        return log(dt / (-bound - dt)); /* -bound sigmoid(x) = dt */
    return dt + log(-expm1(-dt));       /* softplus(x) = dt */
}

void kl__made_read(void *to, const void *made, int64_t first, int64_t n)
{
    const struct kl__made *m = made;
    float *x = to;
    if (m->kind == KL__MADE_NORMAL) {
        fill_normal(x, m, first, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        double u = uniform(m->key, first + i);
        x[i] = (float)(m->kind == KL__MADE_RATE ? -1 - 15 * u : before_gate(exp(log(1e-3) + u * log(1e2)), m->bound));
    }
}

static uint64_t key_of(const char *name, uint64_t seed)
{
    uint64_t key = 0xcbf29ce484222325; /* FNV-1a */
    for (; *name; name++)
        key = (key ^ (unsigned char)*name) * 0x100000001b3;
    return mix(key + mix(seed + 0x9e3779b97f4a7c15));
}

/* Bounded gates multiply exp(A_log) into the argument: there A_log is 0, as FLA begins. */
static struct kl__made rate(struct kl__made m, const kl_config *c)
{
    m.kind = c->gate_bounded ? KL__MADE_NORMAL : KL__MADE_RATE;
    m.mean = -1;
    return m;
}

/* Matrices keep the size of what passes through them. */
static float scale_of(const struct kl__gguf_tensor *t, const kl_config *c)
{
    if (t->param == KL__EMBED)
        return 1;
    return 1 / sqrtf((float)(t->part == KL__PART_ALL ? kl__gguf_row(t) : c->kv_rank));
}

struct kl__made kl__made(const struct kl__gguf_tensor *t, const kl_config *c, uint64_t seed)
{
    struct kl__made m = {.key = key_of(t->name.text, seed)};
    switch (t->param) {
    case KL__A_LOG:
        return rate(m, c);
    case KL__DT_BIAS:
        m.kind = KL__MADE_DT;
        m.bound = c->gate_bounded ? c->gate_lower_bound : 0;
        break;
    case KL__ROUTER_BIAS:
        m.scale = 0.01F;
        break;
    case KL__CONV_Q:
    case KL__CONV_K:
    case KL__CONV_V:
        m.scale = 0.5F;
        break;
    case KL__CONV_Q_BIAS:
    case KL__CONV_K_BIAS:
    case KL__CONV_V_BIAS:
        m.scale = 0.1F;
        break;
    default:
        if (t->n_dim == 1) { /* of a norm */
            m.mean = 1;
            m.scale = 0.1F;
        } else
            m.scale = scale_of(t, c);
    }
    return m;
}
