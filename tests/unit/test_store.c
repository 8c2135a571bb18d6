/* The store on paths: directories, indexes, parts, links, and files that change. */
#include "support/kt_file.h"

#include "format/store.h"
#include "format/writer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A file with n tensors of two floats, FIRST, FIRST + 1, .. in name and contents. */
static void write_model(const char *path, const char *format, int first, int n, int part, int n_part)
{
    struct kl__writer *w;
    char name[16];
    KT_OK(kl__writer_open(&w, path, format, NULL, KT_ERR));
    if (n_part) {
        struct kl__meta number = kl__meta_u32("split.no", (uint32_t)part);
        struct kl__meta count = kl__meta_u32("split.count", (uint32_t)n_part);
        KT_OK(kl__writer_meta(w, &number, KT_ERR));
        KT_OK(kl__writer_meta(w, &count, KT_ERR));
    }
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "t%d", first + i);
        KT_OK(kl__writer_tensor(w, name, KL__TYPE_F32, 1, (int64_t[]){2}, KT_ERR));
    }
    KT_OK(kl__writer_begin(w, KT_ERR));
    for (int i = 0; i < n; i++) {
        float x[2] = {(float)(first + i), -1};
        KT_OK(kl__writer_append(w, i, x, sizeof x, KT_ERR));
    }
    KT_OK(kl__writer_finish(w, KT_ERR));
}

static void assert_model(const char *path, const char *format, int n, int n_file)
{
    struct kl__store *s;
    char name[16];
    KT_OK(kl__store_open(&s, path, NULL, KT_ERR));
    assert_string_equal(s->format, format);
    assert_int_equal(s->n_tensor, n);
    assert_int_equal(s->n_file, n_file);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "t%d", i);
        const struct kl__stored *t = kl__store_find(s, name);
        float x[2];
        assert_non_null(t);
        memcpy(x, t->data, sizeof x);
        assert_true(x[0] == (float)i && x[1] == -1);
    }
    kl__store_close(s);
}

static void need_jansson(void)
{
    if (KT_WITH_JANSSON)
        return;
    print_message("skipped: klinear was built without jansson\n");
    skip();
}

static void files_are_known_by_their_contents(void **state)
{
    (void)state;
    kl_error err;
    struct kl__store *s;
    write_model(kt_path("anything"), "gguf", 0, 3, 0, 0);
    assert_model(kt_path("anything"), "gguf", 3, 1);
    KT_ASSERT_FAILED(kl__store_open(&s, kt_write_file("text", "hello, world", 12), NULL, &err), KL_ERR_FORMAT, &err,
                     "/text", "neither");
    KT_ASSERT_FAILED(kl__store_open(&s, kt_write_file("x.gguf", "hello, world", 12), NULL, &err), KL_ERR_FORMAT, &err,
                     "x.gguf", "'hell'");
    KT_ASSERT_FAILED(kl__store_open(&s, kt_write_file("x.safetensors", "hello, world", 12), NULL, &err), KL_ERR_FORMAT,
                     &err, "x.safetensors", "header");
    KT_ASSERT_FAILED(kl__store_open(&s, kt_write_file("e.gguf", "", 0), NULL, &err), KL_ERR_FORMAT, &err, "e.gguf",
                     "ends inside the magic");
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("none"), NULL, &err), KL_ERR_IO, &err, "/none", "No such file");
    kl__store_close(NULL);
    kt_remove_files();
}

/* ------------------------------------------------------------------------------------------ directories, indexes -- */

static void directories(void **state)
{
    (void)state;
    kl_error err;
    struct kl__store *s;
    need_jansson();
    KT_ASSERT_FAILED(kl__store_open(&s, kt_make_directory("d"), NULL, &err), KL_ERR_IO, &err, "/d",
                     "model.safetensors.index.json");
    write_model(kt_path("d/model.safetensors"), "safetensors", 0, 5, 0, 0);
    assert_model(kt_path("d"), "safetensors", 5, 1);
    assert_model(kt_path("d/"), "safetensors", 5, 1);
    assert_model(kt_path("d/model.safetensors"), "safetensors", 5, 1);
    kt_remove_files();
}

#define INDEX "d/model.safetensors.index.json"

/* Three files with two tensors each, and an index that says `map` of them. */
static void write_shards(const char *index)
{
    kt_remove_files();
    kt_make_directory("d");
    write_model(kt_path("d/a"), "safetensors", 0, 2, 0, 0);
    write_model(kt_path("d/b"), "safetensors", 2, 2, 0, 0);
    write_model(kt_path("d/c"), "safetensors", 4, 2, 0, 0);
    kt_write_file(INDEX, index, strlen(index));
}

static const char whole[] = "{\"metadata\":{\"total_size\":48,\"x\":[1,2]},\"weight_map\":{\"t0\":\"a\",\"t1\":\"a\","
                            "\"t2\":\"b\",\"t3\":\"b\",\"t4\":\"c\",\"t5\":\"c\"}}\n";

static void an_index(void **state)
{
    (void)state;
    need_jansson();
    write_shards(whole);
    assert_model(kt_path("d"), "safetensors", 6, 3);
    assert_model(kt_path(INDEX), "safetensors", 6, 3);
    /* Tensors that the index forgets are there all the same; files that it forgets are not. */
    write_shards("{\"weight_map\":{\"t0\":\"a\",\"t2\":\"b\"}}");
    assert_model(kt_path("d"), "safetensors", 4, 2);
    /* Links are followed: caches keep their files elsewhere. */
    assert_int_equal(rename(kt_path("d/a"), kt_path("blob")), 0);
    assert_int_equal(symlink("../blob", kt_path("d/a")), 0);
    assert_model(kt_path("d"), "safetensors", 4, 2);
    kt_remove_files();
}

#define MAP(entries) "{\"weight_map\":{" entries "}}"

static void faults_of_an_index(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        kl_status status;
        const char *word[3];
    } fault[] = {
        {"", KL_ERR_FORMAT, {"index.json", "found the end", "'{'"}},
        {"{}", KL_ERR_FORMAT, {"index.json", "'weight_map' is missing"}},
        {"{\"weight_map\":[]}", KL_ERR_FORMAT, {"weight_map", "found '['", "'{'"}},
        {"{\"weight_map\":{}}", KL_ERR_FORMAT, {"0 tensors"}},
        {"{\"weight_map\":{\"t0\":\"a\"},\"weight_map\":{\"t0\":\"a\"}}", KL_ERR_FORMAT, {"twice"}},
        {"{\"metadata\":nonsense,\"weight_map\":{\"t0\":\"a\"}}", KL_ERR_FORMAT, {"index", "invalid token"}},
        {"{\"metadata\":{},\"weight_map\":{\"t0\":\"a\"}} x", KL_ERR_FORMAT, {"found 'x'", "nothing more"}},
        {MAP("\"t0\":1"), KL_ERR_FORMAT, {"found 1", "a string"}},
        {MAP("\"t0\":\"a\",\"t0\":\"a\""), KL_ERR_FORMAT, {"'t0'", "once"}},
        {MAP("\"t0\":\"../d/a\""), KL_ERR_FORMAT, {"'../d/a'", "without directories"}},
        {MAP("\"t0\":\"/etc/passwd\""), KL_ERR_FORMAT, {"'/etc/passwd'", "without directories"}},
        {MAP("\"t0\":\"x/../a\""), KL_ERR_FORMAT, {"'x/../a'", "without directories"}},
        {MAP("\"t0\":\"..\""), KL_ERR_FORMAT, {"'..'", "without directories"}},
        {MAP("\"t0\":\"\\u002e\\u002e\\u002fa\""), KL_ERR_FORMAT, {"'../a'", "without directories"}},
        {MAP("\"t0\":\"..\\\\a\""), KL_ERR_FORMAT, {"'..\\a'", "without directories"}},
        {MAP("\"t0\":\".\""), KL_ERR_FORMAT, {"'.'", "without directories"}},
        {MAP("\"t0\":\"\""), KL_ERR_FORMAT, {"''", "without directories"}},
        {MAP("\"t0\":\"a\\u0000\""), KL_ERR_FORMAT, {"\\u0000"}},
        {MAP("\"t0\":\"missing\""), KL_ERR_IO, {"d/missing", "No such file"}},
        {MAP("\"t0\":\"a\",\"t9\":\"a\""), KL_ERR_FORMAT, {"'t9'", "not in the file", "a"}},
        {MAP("\"t0\":\"a\",\"t2\":\"a\",\"t3\":\"b\""), KL_ERR_FORMAT, {"'t2'", "not in the file", "a"}},
        {MAP("\"t0\":\"model.safetensors.index.json\""), KL_ERR_FORMAT, {"index.json", "header"}},
    };
    need_jansson();
    for (size_t i = 0; i < sizeof fault / sizeof *fault; i++) {
        struct kl__store *s;
        kl_error err = {0};
        int n_word = 0;
        write_shards(fault[i].index);
        while (n_word < 3 && fault[i].word[n_word])
            n_word++;
        kl_status status = kl__store_open(&s, kt_path("d"), NULL, &err);
        if (status == KL_OK)
            fail_msg("opened: %s", fault[i].index);
        kt_assert_failed(status, fault[i].status, &err, fault[i].word, n_word);
    }
    kt_remove_files();
}

static void faults_of_files_in_an_index(void **state)
{
    (void)state;
    struct kl__store *s;
    kl_error err;
    need_jansson();
    write_shards(whole);
    assert_int_equal(unlink(kt_path("d/b")), 0);
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("d"), NULL, &err), KL_ERR_IO, &err, "d/b", "No such file");
    assert_int_equal(symlink("b", kt_path("d/b")), 0);
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("d"), NULL, &err), KL_ERR_IO, &err, "d/b", "symbolic links");
    assert_int_equal(unlink(kt_path("d/b")), 0);
    kt_make_directory("d/b");
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("d"), NULL, &err), KL_ERR_IO, &err, "d/b", "no regular file");
    assert_int_equal(rmdir(kt_path("d/b")), 0);
    write_model(kt_path("d/b"), "safetensors", 1, 3, 0, 0);
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("d"), NULL, &err), KL_ERR_FORMAT, &err, "d/b", "'t1'", "twice");
    assert_int_equal(unlink(kt_path("d/b")), 0);
    write_model(kt_path("d/b"), "gguf", 2, 2, 0, 0);
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("d"), NULL, &err), KL_ERR_FORMAT, &err, "d/b", "header");
    size_t bytes;
    unsigned char *data = kt_read_file(kt_path("d/c"), &bytes);
    assert_int_equal(unlink(kt_path("d/b")), 0);
    write_model(kt_path("d/b"), "safetensors", 2, 2, 0, 0);
    kt_write_file("d/c", data, bytes - 1);
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("d"), NULL, &err), KL_ERR_FORMAT, &err, "d/c", "buffer of 15");
    kt_free_all();
    kt_remove_files();
}

static void memory_for_an_index(void **state)
{
    (void)state;
    need_jansson();
    write_shards(whole);
    for (int64_t fail_at = 1;; fail_at++) {
        struct kt_heap heap;
        struct kl__store *s;
        kl_error err = {0};
        kt_heap_init(&heap, fail_at);
        kl_status status = kl__store_open(&s, kt_path("d"), &heap.alloc, &err);
        if (status == KL_OK)
            kl__store_close(s);
        else
            KT_ASSERT_FAILED(status, KL_ERR_MEMORY, &err, "/d");
        assert_int_equal(heap.n_out, 0);
        if (status == KL_OK)
            break;
    }
    kt_remove_files();
}

/* As many tensors as the released model has, 20,493 in 20 files, and each is found. */
static void a_large_index(void **state)
{
    (void)state;
    enum { N = 20493, N_FILE = 20 };
    need_jansson();
    char *index = kt_bytes(N * 64), name[32];
    size_t at = (size_t)snprintf(index, 64, "{\"weight_map\":{");
    kt_make_directory("d");
    for (int f = 0, first = 0; f < N_FILE; f++) {
        int n = N / N_FILE + (f < N % N_FILE);
        snprintf(name, sizeof name, "d/model-%05d-of-%05d", f + 1, N_FILE);
        write_model(kt_path(name), "safetensors", first, n, 0, 0);
        for (int i = first; i < first + n; i++)
            at += (size_t)snprintf(index + at, 64, "%s\"t%d\":\"%s\"", i ? "," : "", i, name + 2);
        first += n;
    }
    at += (size_t)snprintf(index + at, 64, "}}");
    kt_write_file(INDEX, index, at);
    assert_model(kt_path("d"), "safetensors", N, N_FILE);
    kt_free_all();
    kt_remove_files();
}

/* --------------------------------------------------------------------------------------------------- split files -- */

static void parts(void **state)
{
    (void)state;
    struct kl__store *s;
    kl_error err;
    const char *first = kt_path("m-00001-of-00003.gguf"), *second = kt_path("m-00002-of-00003.gguf"),
               *third = kt_path("m-00003-of-00003.gguf");
    write_model(first, "gguf", 0, 2, 0, 3);
    KT_ASSERT_FAILED(kl__store_open(&s, first, NULL, &err), KL_ERR_IO, &err, "m-00002-of-00003.gguf", "No such file");
    write_model(second, "gguf", 2, 1, 1, 3);
    write_model(third, "gguf", 3, 4, 2, 3);
    assert_model(first, "gguf", 7, 3);
    KT_ASSERT_FAILED(kl__store_open(&s, second, NULL, &err), KL_ERR_FORMAT, &err, "00002", "part 2 of 3",
                     "expected part 1");
    write_model(third, "gguf", 3, 4, 1, 3);
    KT_ASSERT_FAILED(kl__store_open(&s, first, NULL, &err), KL_ERR_FORMAT, &err, "00003-of", "part 2 of 3",
                     "expected part 3 of 3");
    write_model(third, "gguf", 1, 4, 2, 3);
    KT_ASSERT_FAILED(kl__store_open(&s, first, NULL, &err), KL_ERR_FORMAT, &err, "'t1'", "twice");
    assert_int_equal(rename(first, kt_path("m.gguf")), 0);
    KT_ASSERT_FAILED(kl__store_open(&s, kt_path("m.gguf"), NULL, &err), KL_ERR_FORMAT, &err, "first of 3 parts",
                     "'-00001-of-00003.gguf'");
    write_model(first, "gguf", 0, 2, 0, 40000);
    KT_ASSERT_FAILED(kl__store_open(&s, first, NULL, &err), KL_ERR_FORMAT, &err, "split.count", "40000", "1 to 4096");
    kt_remove_files();
}

static void memory_for_parts(void **state)
{
    (void)state;
    write_model(kt_path("m-00001-of-00002.gguf"), "gguf", 0, 2, 0, 2);
    write_model(kt_path("m-00002-of-00002.gguf"), "gguf", 2, 1, 1, 2);
    for (int64_t fail_at = 1;; fail_at++) {
        struct kt_heap heap;
        struct kl__store *s;
        kl_error err = {0};
        kt_heap_init(&heap, fail_at);
        kl_status status = kl__store_open(&s, kt_path("m-00001-of-00002.gguf"), &heap.alloc, &err);
        if (status == KL_OK)
            kl__store_close(s);
        else
            KT_ASSERT_FAILED(status, KL_ERR_MEMORY, &err, ".gguf");
        assert_int_equal(heap.n_out, 0);
        if (status == KL_OK)
            break;
    }
    kt_remove_files();
}

/* --------------------------------------------------------------------------------------------- files that change -- */

/* Cutting a mapped file short ends the process that touches what is gone: no zeros pass for weights.  Replacing the
 * file under its name changes nothing for whoever has it open. */
static void a_file_that_changes(void **state)
{
    (void)state;
    struct kl__store *s;
    const char *path = kt_path("m.gguf");
    struct kl__writer *w;
    int64_t n = 1 << 16;
    KT_OK(kl__writer_open(&w, path, "gguf", NULL, KT_ERR));
    KT_OK(kl__writer_tensor(w, "t", KL__TYPE_F32, 1, &n, KT_ERR));
    KT_OK(kl__writer_begin(w, KT_ERR));
    for (float x = 0; x < (float)n; x++)
        KT_OK(kl__writer_append(w, 0, &x, sizeof x, KT_ERR));
    KT_OK(kl__writer_finish(w, KT_ERR));

    KT_OK(kl__store_open(&s, path, NULL, KT_ERR));
    write_model(path, "gguf", 0, 3, 0, 0);
    float last;
    memcpy(&last, (const char *)s->tensor[0].data + 4 * (n - 1), sizeof last);
    assert_true(last == (float)(n - 1));
    kl__store_close(s);
    assert_model(path, "gguf", 3, 1);

    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        if (kl__store_open(&s, path, NULL, NULL) != KL_OK || truncate(path, 0) != 0)
            _exit(1);
        volatile unsigned char byte = *(const volatile unsigned char *)s->tensor[2].data;
        (void)byte;
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    kt_remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_known_by_their_contents),
        cmocka_unit_test(directories),
        cmocka_unit_test(an_index),
        cmocka_unit_test(faults_of_an_index),
        cmocka_unit_test(faults_of_files_in_an_index),
        cmocka_unit_test(memory_for_an_index),
        cmocka_unit_test(a_large_index),
        cmocka_unit_test(parts),
        cmocka_unit_test(memory_for_parts),
        cmocka_unit_test(a_file_that_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
