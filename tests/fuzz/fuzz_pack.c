/* Packs: a whole one with bytes changed and its end cut off is accepted or refused with a sentence, and nothing outside
 * of it is read.  Its checksum is made right most of the time, or nothing behind that would ever be reached.
 *
 * Input: how much to cut off (two bytes), whether to seal (one), then changes of three bytes: place (two) and value. */
#include "model/pack_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATA = 5000, WHOLE = KL__PACK_DATA_AT + DATA };

static const struct kl__pack_id id = {.identity = {1, 2, 3}, .stamp = {4, 5}, .data_bytes = DATA};
static uint8_t whole[WHOLE];

static void need(bool holds)
{
    if (!holds)
        abort();
}

static void make_whole(void)
{
    uint8_t data[DATA];
    char path[] = "/tmp/klinear-fuzz-XXXXXX";
    int fd = mkstemp(path);
    need(fd >= 0 && close(fd) == 0);
    for (int i = 0; i < DATA; i++)
        data[i] = (uint8_t)(i * 31);
    need(kl__pack_write(path, data, &id, NULL, NULL) == KL_OK);
    FILE *f = fopen(path, "rb");
    need(f && fread(whole, 1, WHOLE, f) == WHOLE && fclose(f) == 0 && unlink(path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t bytes)
{
    if (!whole[0])
        make_whole();
    if (bytes < 3)
        return 0;
    size_t cut = (size_t)(in[0] | in[1] << 8), n = WHOLE - (cut < WHOLE ? cut : WHOLE);
    uint8_t *file = malloc(WHOLE), *short_one = malloc(n ? n : 1);
    need(file && short_one);
    memcpy(file, whole, WHOLE);
    for (size_t i = 3; i + 3 <= bytes; i += 3)
        file[(size_t)(in[i] | in[i + 1] << 8) % WHOLE] = in[i + 2];
    if (in[2] % 8)
        kl__pack_seal(file);
    memcpy(short_one, file, n);
    kl_error err = {0};
    const void *data = NULL;
    kl_status status = kl__pack_check(&data, "fuzz.pack", short_one, n, &id, &err);
    need(status == KL_OK ? data == short_one + KL__PACK_DATA_AT && n == WHOLE : err.text[0] != 0);
    free(file);
    free(short_one);
    return 0;
}
