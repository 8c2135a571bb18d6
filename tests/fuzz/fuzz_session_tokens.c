/* Bytes as the file of a session's tokens, as they are and with the checksum that they would need. */
#include "base/hash.h"
#include "fuzz_serve.h"
#include "serve/session_tokens.h"

#include <stdlib.h>
#include <string.h>

static void parse(const uint8_t *data, size_t bytes)
{
    struct ks_session one = {0};
    if (ks_tokens_parse(&one, "fuzz", data, bytes, 1000, NULL) == KL_OK)
        for (int64_t i = 0; i < one.n; i++)
            if (one.token[i] < 0 || one.token[i] >= 1000)
                abort();
    free(one.token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    enum { HEADER = 48, SUM = 16 };
    parse(data, bytes);
    uint8_t *sealed = bytes >= HEADER ? malloc(bytes) : NULL;
    struct kl__hash *hash = sealed ? kl__hash_open() : NULL;
    if (hash) {
        memcpy(sealed, data, bytes);
        memset(sealed + HEADER - SUM, 0, SUM);
        kl__hash_add(hash, sealed, bytes);
        kl__hash_value(hash, sealed + HEADER - SUM);
        kl__hash_close(hash);
        parse(sealed, bytes);
    }
    free(sealed);
    return 0;
}
