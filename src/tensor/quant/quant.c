#include "tensor/quant/quant.h"
#include "base/error.h"
#include "tensor/quant/block.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <strings.h>

static const struct kl__type_info types[] = {
#define ROW(name, gguf, st, elements, bytes, fallback, decode, encode)                                                 \
    [KL__TYPE_##name] = {#name, gguf, st, elements, bytes, KL__TYPE_##fallback, decode, encode},
#include "tensor/quant/rows.def"
#undef ROW
};

const struct kl__type_info *kl__type_info(enum kl__type type)
{
    assert((unsigned)type < KL__N_TYPE);
    return &types[type];
}

enum kl__type kl__type_of_gguf(uint32_t id)
{
    for (int t = 0; t < KL__N_TYPE; t++)
        if (types[t].gguf_id >= 0 && (uint32_t)types[t].gguf_id == id)
            return (enum kl__type)t;
    return KL__N_TYPE;
}

enum kl__type kl__type_of_safetensors(const char *name, size_t bytes)
{
    for (int t = 0; t < KL__N_TYPE; t++)
        if (types[t].in_safetensors && strlen(types[t].name) == bytes && memcmp(types[t].name, name, bytes) == 0)
            return (enum kl__type)t;
    return KL__N_TYPE;
}

enum kl__type kl__type_of_name(const char *name)
{
    for (int t = 0; t < KL__N_TYPE; t++)
        if (strcasecmp(types[t].name, name) == 0)
            return (enum kl__type)t;
    return KL__N_TYPE;
}

bool kl__type_bytes(enum kl__type type, int64_t n_element, size_t *bytes)
{
    const struct kl__type_info *t = kl__type_info(type);
    int64_t n;
    if (n_element < 0 || n_element % t->elements || __builtin_mul_overflow(n_element / t->elements, t->bytes, &n))
        return false;
    *bytes = (size_t)n;
    return true;
}

enum kl__type kl__type_for_row(enum kl__type wanted, int64_t row_elements)
{
    while (row_elements % types[wanted].elements)
        wanted = types[wanted].fallback;
    return wanted;
}

void kl__decode(enum kl__type type, float *x, const void *blocks, int64_t n_element)
{
    const struct kl__type_info *t = kl__type_info(type);
    assert(t->decode && n_element >= 0 && n_element % t->elements == 0);
    t->decode(x, blocks, n_element / t->elements);
}

/* What kl__encode promises to refuse.  From 65520 on, f16 rounds to infinity. */
static kl_status check_numbers(enum kl__type type, const float *x, int64_t n_element, kl_error *err)
{
    if (type == KL__TYPE_F32 || type == KL__TYPE_BF16)
        return KL_OK;
    float limit = type == KL__TYPE_F16 ? 65520 : INFINITY;
    for (int64_t i = 0; i < n_element; i++)
        if (!(fabsf(x[i]) < limit))
            return kl__fail(err, KL_ERR_NUMERIC, "number %lld is %g, which %s cannot hold", (long long)i, (double)x[i],
                            types[type].name);
    return KL_OK;
}

kl_status kl__encode(enum kl__type type, void *blocks, const float *x, int64_t n_element, kl_error *err)
{
    const struct kl__type_info *t = kl__type_info(type);
    if (!t->encode)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s can be read but not written", t->name);
    if (n_element < 0 || n_element % t->elements)
        return kl__fail(err, KL_ERR_SHAPE, "a row of %lld numbers is no multiple of the %d of a block of %s",
                        (long long)n_element, t->elements, t->name);
    KL_TRY(check_numbers(type, x, n_element, err));
    t->encode(blocks, x, n_element / t->elements);
    return KL_OK;
}
