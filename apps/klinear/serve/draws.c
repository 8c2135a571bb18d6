/* Numbers that nobody chose. */
#include "server.h"

#include "../cli/machine.h"

#include <stdio.h>
#include <sys/random.h>

static void random_bytes(void *to, size_t n)
{
    static _Atomic uint64_t other = 1;
    if (getrandom(to, n, 0) == (ssize_t)n)
        return;
    uint64_t x = other++ * 0x9e3779b97f4a7c15 ^ (uint64_t)(1e9 * ka_seconds()); /* never seen to be needed */
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)to)[i] = (unsigned char)(x = x * 6364136223846793005 + 1442695040888963407, x >> 56);
}

struct ks_id ks_new_id(const char *prefix)
{
    static const char letter[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    struct ks_id id;
    unsigned char drawn[24];
    random_bytes(drawn, sizeof drawn);
    size_t n = (size_t)snprintf(id.text, sizeof id.text - sizeof drawn, "%s", prefix);
    for (size_t i = 0; i < sizeof drawn; i++)
        id.text[n++] = letter[drawn[i] % 62];
    id.text[n] = 0;
    return id;
}

uint64_t ks_new_seed(void)
{
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    return seed >> 11;
}
