/* A text as config.json: what is accepted has every number within its limits, and sizes that can be computed with. */
#include "model/config_keys.h"
#include "model/params.h"

#include <stdlib.h>

static void use(const kl_config *c)
{
    int64_t dim[2], total = 0;
    for (int layer = -1; layer < c->n_layer; layer++)
        for (int p = 0; p < KL__N_PARAM; p++)
            if (kl__param_present(c, (enum kl__param)p, layer)) {
                int64_t n = kl__param_dims(c, (enum kl__param)p, layer, dim) == 2 ? dim[0] * dim[1] : dim[0];
                int64_t each = kl__param_info((enum kl__param)p)->form == KL__FORM_EXPERTS ? c->n_expert : 1;
                if (n < 1 || __builtin_mul_overflow(n, each * 8, &n) || __builtin_add_overflow(total, n, &total))
                    abort();
            }
    kl_state_cost cost = kl_config_state_cost(c, KL_CACHE_F32);
    if (cost.fixed_bytes < 0 || cost.token_bytes < 0 || cost.page_bytes < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    kl_config c;
    kl_error err = {0};
    kl_status status = kl__config_of_json(&c, (struct kl__str){(const char *)data, bytes}, "config.json", &err);
    if (status == KL_OK)
        status = kl__config_settle(&c, NULL, "config.json", &err);
    if (status == KL_OK)
        use(&c);
    else if (!err.text[0] || err.text[sizeof err.text - 1])
        abort(); /* no sentence */
    return 0;
}
