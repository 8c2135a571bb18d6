#include "support/blocks.h"

#include "base/half.h"

#include <string.h>

enum kl__type kt_weight_type(int i)
{
    for (int t = 0; t < KL__N_TYPE; t++)
        if (kl__type_info((enum kl__type)t)->decode && i-- == 0)
            return (enum kl__type)t;
    return KL__N_TYPE;
}

static void put_f16(uint8_t *at, double x)
{
    uint16_t h = kl__f16_of_f32((float)x);
    memcpy(at, &h, sizeof h);
}

/* Types that are only read: any bytes are a block once its scale is set, so that the levels spread over `scale`. */
static void fill_block(kt_rng *r, enum kl__type type, uint8_t *block, double scale)
{
    const struct kl__type_info *info = kl__type_info(type);
    for (int i = 0; i < info->bytes; i++)
        block[i] = (uint8_t)kt_below(r, 256);
    double d = scale * (0.5 + kt_uniform(r));
    switch (type) {
    case KL__TYPE_Q2_K:
        put_f16(block + 80, d / 15);
        put_f16(block + 82, d / 10);
        return;
    case KL__TYPE_Q3_K: put_f16(block + 108, d / 48); return;
    case KL__TYPE_IQ4_NL: put_f16(block, d / 64); return;
    case KL__TYPE_IQ4_XS: put_f16(block, d / 64 / 16); return;
    case KL__TYPE_MXFP4: block[0] = (uint8_t)(127 - 2 - kt_below(r, 3)); return;
    default: fail_msg("%s has no encoder and no rule here", info->name);
    }
}

static void encode(kt_rng *r, enum kl__type type, uint8_t *blocks, const float *x, int64_t n, float scale)
{
    const struct kl__type_info *info = kl__type_info(type);
    if (info->encode)
        KT_OK(kl__encode(type, blocks, x, n, KT_ERR));
    else
        for (int64_t b = 0; b < n / info->elements; b++)
            fill_block(r, type, blocks + b * info->bytes, scale);
}

struct kl__weight kt_weight(kt_rng *r, enum kl__type type, int64_t n_matrix, int64_t n_out, int64_t n_in, float scale,
                            int shift)
{
    size_t bytes;
    int64_t n = n_matrix * n_out * n_in;
    assert_true(kl__type_bytes(type, n, &bytes));
    uint8_t *data = (uint8_t *)kt_bytes(bytes + (size_t)shift) + shift;
    encode(r, type, data, kt_normals(r, n, scale), n, scale);
    return (struct kl__weight){.type = type, .n_matrix = n_matrix, .n_out = n_out, .n_in = n_in, .data = data};
}

struct kl__weight kt_packed(const kl_backend *be, const struct kl__weight *w)
{
    struct kl__weight packed = *w;
    size_t bytes = kl__weight_packed_bytes(be, w);
    if (bytes == 0)
        return packed;
    char *to = kt_bytes(bytes + 64);
    to += (64 - (uintptr_t)to % 64) % 64;
    kl__weight_pack(be, to, w);
    packed.packed = to;
    return packed;
}

float *kt_decoded(const struct kl__weight *w)
{
    float *x = kt_floats(w->n_matrix * w->n_out * w->n_in);
    kl__decode(w->type, x, w->data, w->n_matrix * w->n_out * w->n_in);
    return x;
}
