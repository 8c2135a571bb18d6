#include "base/hash.h"

#include <string.h>

#define XXH_INLINE_ALL /* the header is all there is: nothing to link */
#include <xxhash.h>

struct kl__hash {
    XXH3_state_t state;
};

struct kl__hash *kl__hash_open(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (state)
        XXH3_128bits_reset(state);
    return (struct kl__hash *)(void *)state;
}

void kl__hash_add(struct kl__hash *h, const void *data, size_t bytes)
{
    if (bytes)
        XXH3_128bits_update(&h->state, data, bytes);
}

void kl__hash_value(const struct kl__hash *h, uint8_t value[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&h->state));
    memcpy(value, canonical.digest, 16);
}

void kl__hash_close(struct kl__hash *h)
{
    XXH3_freeState(h ? &h->state : NULL);
}
