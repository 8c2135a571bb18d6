/* A conversation out of bytes: ids are in the vocabulary, and what was read is what would be written. */
#include "talk/talk_file.h"

#include <stdlib.h>
#include <string.h>

enum { N_VOCAB = 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct ka_talk t = {0};
    kl_error err = {0};
    kl_status status = ka_talk_of_bytes(&t, data, bytes, N_VOCAB, &err);
    for (int64_t i = 0; i < t.speech.pending.n; i++)
        if (t.speech.pending.at[i] < 0 || t.speech.pending.at[i] >= N_VOCAB)
            abort();
    if (status == KL_OK) {
        size_t again_bytes;
        unsigned char *again = ka_talk_bytes(&again_bytes, &t);
        bool same = again && again_bytes == bytes && memcmp(again, data, bytes) == 0;
        if (!same && data[8] > 1 && data[28] <= 1) /* the version; any other byte but 0 says "cut" as well as 1 does */
            abort();
        free(again);
    } else if (!*err.text)
        abort();
    ka_talk_close(&t);
    return 0;
}
