/* Packs on the disk: the same bits mapped as packed; what is stale, foreign, cut or changed is refused by name and made
 * again; a folder that cannot be written to costs nothing but the file. */
#include "model/pack_file.h"

#include "support/tiny.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Logits of a few tokens with a model that is packed in `folder`, [n_vocab]. */
static float *logits_of(const char *path, const char *folder, bool expect_found)
{
    kl_model *m;
    kl_engine *e;
    kl_session *s;
    bool found;
    KT_OK(kl_model_open(&m, path, &(kl_model_options){.backend = kt_backend(kt_best_level(), 2)}, KT_ERR));
    KT_OK(kl_model_pack_in(m, folder, &found, KT_ERR));
    assert_int_equal(found, expect_found);
    KT_OK(kl_model_pack_in(m, folder, &found, KT_ERR)); /* packed already */
    KT_OK(kl_engine_open(&e, m, NULL, KT_ERR));
    KT_OK(kl_session_open(&s, e, KT_ERR));
    float *logits = kt_floats(kl_model_config(m)->n_vocab);
    const int32_t token[] = {5, 9, 700, 3, 3, 8};
    KT_OK(kl_prefill(s, token, 6, logits, NULL, NULL, KT_ERR));
    KT_OK(kl_decode(s, 17, logits, KT_ERR));
    kl_session_close(s);
    kl_engine_close(e);
    kl_model_close(m);
    return logits;
}

static char *only_file(const char *folder)
{
    static char path[4096];
    DIR *d = opendir(folder);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            n++;
        }
    closedir(d);
    assert_int_equal(n, 1);
    return path;
}

static void same_bits_and_mended(void **state)
{
    (void)state;
    size_t bytes, model_bytes, row = 1024 * sizeof(float);
    unsigned char *model = kt_read_file(kt_tiny("q8_0"), &model_bytes);
    char *path = strdup(kt_write_file("m.gguf", model, model_bytes)), *folder = strdup(kt_make_directory("packs"));
    float *want = logits_of(path, folder, false);
    kt_assert_same_bits("mapped", logits_of(path, folder, true), want, row);
    const char *pack = only_file(folder);
    unsigned char *file = kt_read_file(pack, &bytes);
    /* Cut short, a changed number at the end, another version: made again. */
    assert_int_equal(truncate(pack, (off_t)bytes - 1), 0);
    kt_assert_same_bits("after a cut", logits_of(path, folder, false), want, row);
    file[bytes - 3] ^= 4;
    kt_write_file(only_file(folder), file, bytes);
    kt_assert_same_bits("after a change", logits_of(path, folder, false), want, row);
    kt_assert_same_bits("found again", logits_of(path, folder, true), want, row);
    /* The model's file is written again: stale, though it has the same bytes. */
    usleep(20000);
    kt_write_file(path, model, model_bytes);
    kt_assert_same_bits("stale", logits_of(path, folder, false), want, row);
    only_file(folder);
    free(path);
    free(folder);
    kt_free_all();
}

static void no_room(void **state)
{
    (void)state;
    kl_model *m;
    bool found;
    kl_error err = {0};
    KT_OK(kl_model_open(&m, kt_tiny("q8_0"), &(kl_model_options){.backend = kt_backend(kt_best_level(), 1)}, KT_ERR));
    KT_ASSERT_FAILED(kl_model_pack_in(m, "/nowhere/packs", &found, &err), KL_ERR_IO, &err, "/nowhere/packs");
    assert_false(found);
    assert_true(kl_model_memory_bytes(m) > kl_model_packed_bytes(m)); /* packed all the same */
    kl_model_close(m);
}

static void refusals(void **state)
{
    (void)state;
    enum { DATA = 200000 };
    unsigned char *x = calloc(1, DATA);
    struct kl__pack_id id = {.identity = {1, 2}, .stamp = {3}, .data_bytes = DATA}, other = id;
    kl_error err = {0};
    const void *data;
    size_t bytes;
    const char *path = kt_path("p.pack");
    for (int i = 0; i < DATA; i++)
        x[i] = (unsigned char)(i * 7919u >> 5);
    KT_OK(kl__pack_write(path, x, &id, NULL, KT_ERR));
    unsigned char *file = kt_read_file(path, &bytes);
    assert_int_equal(bytes, KL__PACK_DATA_AT + DATA);
    KT_OK(kl__pack_check(&data, path, file, bytes, &id, KT_ERR));
    assert_memory_equal(data, x, DATA);
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, bytes - 1, &id, &err), KL_ERR_FORMAT, &err, "truncated");
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, 100, &id, &err), KL_ERR_FORMAT, &err, "no", "pack");
    other.identity[0] = 9;
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, bytes, &other, &err), KL_ERR_FORMAT, &err, "another model");
    other = id;
    other.stamp[0] = 9;
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, bytes, &other, &err), KL_ERR_FORMAT, &err, "stale");
    file[40]++; /* in the identity */
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, bytes, &id, &err), KL_ERR_FORMAT, &err, "checksum");
    kl__pack_seal(file);
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, bytes, &id, &err), KL_ERR_FORMAT, &err, "another model");
    file[40]--;
    file[8]++; /* the version */
    kl__pack_seal(file);
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, bytes, &id, &err), KL_ERR_FORMAT, &err, "version 2");
    file[8]--;
    kl__pack_seal(file);
    KT_OK(kl__pack_check(&data, path, file, bytes, &id, KT_ERR));
    file[KL__PACK_DATA_AT]++;
    KT_ASSERT_FAILED(kl__pack_check(&data, path, file, bytes, &id, &err), KL_ERR_FORMAT, &err, "have been changed");
    free(x);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(same_bits_and_mended),
        cmocka_unit_test(no_room),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
