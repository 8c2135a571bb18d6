/* Session files: a whole one with bytes changed and its end cut off gives a session that runs, or a refusal.  Its
 * checksum is made right most of the time, or nothing behind that would ever be reached.
 *
 * Input: how much to cut off (two bytes), whether to seal (one), then changes of three bytes: place (two) and value. */
#include "engine/session_file.h"

#include "fuzz_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 1 << 16 };

static kl_engine *engine;
static uint8_t whole[ROOM];
static size_t n_whole;

static void need(bool holds)
{
    if (!holds)
        abort();
}

static void open_engine(const char *path)
{
    kl_config c = fuzz_config();
    kl_backend *be = NULL;
    kl_model *model = NULL;
    need(kl_model_init(path, &c, 1, NULL, NULL) == KL_OK);
    need(kl_backend_open(&be, NULL, NULL) == KL_OK);
    need(kl_model_open(&model, path, &(kl_model_options){.backend = be}, NULL) == KL_OK);
    kl_engine_options options = {.cache_bytes = 1 << 20, .max_batch_tokens = 64};
    need(kl_engine_open(&engine, model, &options, NULL) == KL_OK);
}

/* A file with 70 tokens, two pages and three bytes of the caller. */
static void make_whole(void)
{
    char path[] = "/tmp/klinear-fuzz-XXXXXX";
    int fd = mkstemp(path);
    need(fd >= 0 && close(fd) == 0);
    open_engine(path);
    kl_session *s;
    int32_t token[70] = {1, 2, 3};
    need(kl_session_open(&s, engine, NULL) == KL_OK && kl_prefill(s, token, 70, NULL, NULL, NULL, NULL) == KL_OK);
    need(kl_session_save(s, path, "abc", 3, NULL) == KL_OK);
    kl_session_close(s);
    FILE *f = fopen(path, "rb");
    need(f != NULL);
    n_whole = fread(whole, 1, ROOM, f);
    need(n_whole > 128 && n_whole < ROOM && fclose(f) == 0 && unlink(path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t file[ROOM];
    if (!engine)
        make_whole();
    if (bytes < 3)
        return 0;
    size_t cut = (size_t)(data[0] | data[1] << 8), n = n_whole - (cut < n_whole ? cut : n_whole);
    memcpy(file, whole, n_whole);
    for (size_t i = 3; i + 3 <= bytes; i += 3)
        file[(size_t)(data[i] | data[i + 1] << 8) % n_whole] = data[i + 2];
    if (data[2] % 8)
        kl__session_seal(file, n);
    kl_session *s = NULL;
    kl_error err = {0};
    if (kl__session_load_bytes(&s, engine, file, n, &err) == KL_OK)
        kl_decode(s, 1, NULL, NULL);
    else
        need(!s && err.text[0]);
    kl_session_close(s);
    return 0;
}
