/* The prefix cache's folder: what was read before a restart need not be read again, whatever became of the files. */
#include "engine/session_file.h"
#include "support/tiny.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 600 };

struct bench {
    struct kt_engine hot, cold;
    kl_prefix *prefix;
};

static struct bench open_bench(const char *folder, int64_t disk_bytes, kl_cache_type type)
{
    struct bench b;
    b.hot = kt_open_engine(kt_tiny("q8_0"), 1, &(kl_engine_options){.cache_type = type});
    b.cold = kt_open_engine(kt_tiny("q8_0"), 1, &(kl_engine_options){.cache_type = type});
    kl_prefix_options options = {.folder = folder, .disk_bytes = disk_bytes};
    KT_OK(kl_prefix_open(&b.prefix, b.hot.engine, &options, KT_ERR));
    return b;
}

static int spill(struct bench *b)
{
    bool wrote = true;
    int n = 0;
    for (; wrote; n += wrote)
        KT_OK(kl_prefix_spill(b->prefix, &wrote, KT_ERR));
    return n;
}

static void close_bench(struct bench *b)
{
    kl_prefix_close(b->prefix);
    assert_int_equal(kl_engine_memory_of(b->hot.engine).pages_used, 0);
    kt_close_engine(&b->hot);
    kt_close_engine(&b->cold);
}

/* A prompt and one token after it, through the cache: the bits of a cold engine. */
static kl_prefix_report read_prompt(struct bench *b, uint64_t space, const int32_t *token, int64_t n)
{
    int n_vocab = b->cold.n_vocab;
    float *got = kt_floats(2 * (int64_t)n_vocab), *want = kt_floats(2 * (int64_t)n_vocab);
    kl_session *s;
    kl_prefix_report report;
    KT_OK(kl_session_open(&s, b->hot.engine, KT_ERR));
    KT_OK(kl_prefix_prefill(b->prefix, s, space, token, n, NULL, 0, got, &report, NULL, NULL, KT_ERR));
    KT_OK(kl_decode(s, token[0], got + n_vocab, KT_ERR));
    kl_session_close(s);
    KT_OK(kl_session_open(&s, b->cold.engine, KT_ERR));
    KT_OK(kl_prefill(s, token, n, want, NULL, NULL, KT_ERR));
    KT_OK(kl_decode(s, token[0], want + n_vocab, KT_ERR));
    kl_session_close(s);
    kt_assert_same_bits("a prompt by way of the disk", got, want, 2 * (size_t)n_vocab * sizeof *got);
    return report;
}

/* Calls fn with the path of every file of the folder; returns how many there are. */
static int each_file(const char *folder, void (*fn)(const char *path, int i))
{
    char path[1024];
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (fn)
            fn(path, n);
        n++;
    }
    closedir(d);
    return n;
}

static void remove_it(const char *path, int i)
{
    (void)i;
    unlink(path);
}

/* Flips a bit somewhere, or cuts the file. */
static void damage(const char *path, int i)
{
    struct stat is;
    assert_int_equal(stat(path, &is), 0);
    if (i % 2) {
        assert_int_equal(truncate(path, is.st_size / 2), 0);
        return;
    }
    FILE *f = fopen(path, "r+b");
    fseek(f, is.st_size / 3, SEEK_SET);
    int c = fgetc(f);
    fseek(f, is.st_size / 3, SEEK_SET);
    fputc(c ^ 4, f);
    fclose(f);
}

static const char *new_folder(const char *name)
{
    static char folder[512]; /* kt_path() writes over its own */
    snprintf(folder, sizeof folder, "%s", kt_path(name));
    mkdir(folder, 0700);
    each_file(folder, remove_it);
    return folder;
}

static void restarts(void **state)
{
    (void)state;
    const char *folder = new_folder("prefixes");
    kt_rng r = {1};
    struct bench b = open_bench(folder, 0, KL_CACHE_BF16);
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab), *other = kt_tokens(&r, MOST, b.cold.n_vocab);
    memcpy(other, token, 300 * sizeof *token);
    assert_int_equal(read_prompt(&b, 0, token, 500).loaded, 0);
    assert_int_equal(spill(&b), 1);
    assert_int_equal(spill(&b), 0);
    close_bench(&b);

    b = open_bench(folder, 0, KL_CACHE_BF16);
    assert_int_equal(kl_prefix_state_of(b.prefix).n_file, 1);
    assert_int_equal(read_prompt(&b, 1, token, 590).reused, 0); /* another space */
    kl_prefix_report report = read_prompt(&b, 0, token, 590);
    assert_int_equal(report.loaded, 448);
    assert_int_equal(report.reused, 448);
    assert_int_equal(read_prompt(&b, 0, token, 590).loaded, 0); /* memory has it again */
    assert_int_equal(read_prompt(&b, 0, other, 590).loaded, 0); /* parts from it before its end */
    assert_true(spill(&b) >= 2);
    close_bench(&b);

    b = open_bench(folder, 0, KL_CACHE_F32); /* other bits */
    assert_int_equal(read_prompt(&b, 0, token, 590).reused, 0);
    close_bench(&b);
    b = open_bench(folder, 0, KL_CACHE_BF16);
    assert_int_equal(read_prompt(&b, 0, other, 590).loaded, 576);
    close_bench(&b);
    kt_free_all();
}

static void damaged_files(void **state)
{
    (void)state;
    const char *folder = new_folder("damaged");
    kt_rng r = {2};
    struct bench b = open_bench(folder, 0, KL_CACHE_BF16);
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab);
    for (int64_t n = 150; n <= 600; n += 150) {
        read_prompt(&b, 0, token, n);
        spill(&b);
    }
    close_bench(&b);
    int n = each_file(folder, damage);
    assert_true(n >= 4);
    b = open_bench(folder, 0, KL_CACHE_BF16);
    kl_prefix_report report = read_prompt(&b, 0, token, 600);
    assert_int_equal(report.reused, 0);
    assert_int_equal(each_file(folder, NULL), 0); /* each was tried, and removed */
    close_bench(&b);
    kt_free_all();
}

static void budgets(void **state)
{
    (void)state;
    const char *folder = new_folder("budget");
    kt_rng r = {3};
    struct bench b = open_bench(folder, 1, KL_CACHE_BF16); /* the last file only */
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab);
    for (int i = 0; i < 3; i++) {
        read_prompt(&b, (uint64_t)i, token, 200);
        assert_int_equal(spill(&b), 1);
        assert_int_equal(each_file(folder, NULL), 1);
    }
    close_bench(&b);
    kl_error err;
    kl_prefix *prefix;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    kl_prefix_options nowhere = {.folder = "/nowhere/at/all"};
    KT_ASSERT_FAILED(kl_prefix_open(&prefix, e.engine, &nowhere, &err), KL_ERR_IO, &err, "/nowhere");
    kt_close_engine(&e);
    kt_free_all();
}

/* Files of a process before count as used before: the last one stays, and what is found is what goes. */
static void budget_after_a_restart(void **state)
{
    (void)state;
    const char *folder = new_folder("restarted");
    kt_rng r = {6};
    struct bench b = open_bench(folder, 0, KL_CACHE_BF16);
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab);
    read_prompt(&b, 0, token, 200);
    read_prompt(&b, 1, token, 200);
    assert_int_equal(spill(&b), 2);
    int64_t two = kl_prefix_state_of(b.prefix).disk_bytes;
    close_bench(&b);

    b = open_bench(folder, two, KL_CACHE_BF16);
    assert_int_equal(read_prompt(&b, 0, token, 200).loaded, 192); /* used again: the other one is the oldest */
    read_prompt(&b, 2, token, 200);
    spill(&b);
    close_bench(&b);

    b = open_bench(folder, 0, KL_CACHE_BF16);
    assert_int_equal(kl_prefix_state_of(b.prefix).n_file, 2);
    assert_int_equal(read_prompt(&b, 2, token, 200).loaded, 192);
    assert_int_equal(read_prompt(&b, 0, token, 200).loaded, 192);
    assert_int_equal(read_prompt(&b, 1, token, 200).loaded, 0);
    close_bench(&b);
    kt_free_all();
}

/* The pages that are left do not suffice for a file, and on the way to finding that out the tree has given up what the
 * prompt could have gone on from. */
static void a_file_that_does_not_fit(void **state)
{
    (void)state;
    const char *folder = new_folder("tight");
    kt_rng r = {5};
    kl_error err = {0};
    struct bench b = open_bench(folder, 0, KL_CACHE_BF16);
    int64_t page_bytes = kl_engine_memory_of(b.hot.engine).page_bytes;
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab), *other = kt_tokens(&r, MOST, b.cold.n_vocab);
    read_prompt(&b, 0, token, 250);
    assert_int_equal(spill(&b), 1);
    close_bench(&b);

    b.hot = kt_open_engine(kt_tiny("q8_0"), 1, &(kl_engine_options){.cache_bytes = 4 * page_bytes});
    b.cold = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    KT_OK(kl_prefix_open(&b.prefix, b.hot.engine, &(kl_prefix_options){.folder = folder}, KT_ERR));
    kl_session *holder, *s;
    KT_OK(kl_session_open(&holder, b.hot.engine, KT_ERR));
    KT_OK(kl_session_open(&s, b.hot.engine, KT_ERR));
    KT_OK(kl_prefill(holder, other, 100, NULL, NULL, NULL, KT_ERR));
    assert_int_equal(read_prompt(&b, 0, token, 100).reused, 0); /* leaves one page of its own, and a checkpoint */
    assert_int_equal(kl_prefix_state_of(b.prefix).n_checkpoint, 1);
    KT_ASSERT_FAILED(kl_prefix_prefill(b.prefix, s, 0, token, 250, NULL, 0, NULL, NULL, NULL, NULL, &err),
                     KL_ERR_MEMORY, &err, "4 pages");
    kl_session_close(s);
    kl_session_close(holder);
    assert_int_equal(read_prompt(&b, 0, token, 250).loaded, 192); /* the file was not to blame */
    close_bench(&b);
    kt_free_all();
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

/* The checksum becomes that of what the file holds now. */
static void reseal(const char *path)
{
    FILE *f = fopen(path, "r+b");
    fseek(f, 0, SEEK_END);
    size_t bytes = (size_t)ftell(f);
    void *data = kt_bytes(bytes);
    rewind(f);
    assert_int_equal(fread(data, 1, bytes, f), bytes);
    kl__session_seal(data, bytes);
    rewind(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

static void files_of_the_callers(void **state)
{
    (void)state;
    kt_rng r = {4};
    kl_error err = {0};
    int64_t length = -1;
    char path[512];
    snprintf(path, sizeof path, "%s", kt_path("own.state"));
    struct bench b = open_bench(NULL, 0, KL_CACHE_BF16);
    int32_t *token = kt_tokens(&r, MOST, b.cold.n_vocab);
    KT_OK(kl_prefix_export(b.prefix, &length, 0, token, 500, path, KT_ERR));
    assert_int_equal(length, 0); /* nothing was read */
    assert_int_equal(access(path, F_OK), -1);
    read_prompt(&b, 0, token, 500);
    KT_OK(kl_prefix_export(b.prefix, &length, 0, token, 448, path, KT_ERR));
    assert_int_equal(length, 448); /* the whole of what is asked for, too */
    close_bench(&b);

    b = open_bench(NULL, 0, KL_CACHE_BF16);
    KT_OK(kl_prefix_import(b.prefix, &length, 7, path, KT_ERR));
    assert_int_equal(length, 448);
    assert_int_equal(read_prompt(&b, 0, token, 590).reused, 0); /* another space */
    assert_int_equal(read_prompt(&b, 7, token, 590).reused, 448);
    kl_prefix_clear(b.prefix);
    flip(path, -1); /* of the build, with the checksum that belongs to it */
    KT_ASSERT_FAILED(kl_prefix_import(b.prefix, NULL, 7, path, &err), KL_ERR_FORMAT, &err, "checksum");
    reseal(path);
    KT_ASSERT_FAILED(kl_prefix_import(b.prefix, NULL, 7, path, &err), KL_ERR_FORMAT, &err, "build");
    assert_int_equal(read_prompt(&b, 7, token, 590).reused, 0);
    close_bench(&b);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restarts),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(budgets),
        cmocka_unit_test(budget_after_a_restart),
        cmocka_unit_test(a_file_that_does_not_fit),
        cmocka_unit_test(files_of_the_callers),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const name[] = {"prefixes", "damaged", "budget", "tight", "restarted"};
    for (int i = 0; i < 5; i++)
        rmdir(new_folder(name[i]));
    kt_free_backends();
    kt_remove_files();
    return failed;
}
