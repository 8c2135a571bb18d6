/* base: files written whole or not at all, names, texts in sentences. */
#define _GNU_SOURCE /* O_TMPFILE */

#include "support/kt_file.h"

#include "base/file.h"
#include "base/names.h"
#include "base/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef kl_status open_fn(struct kl__out **, const char *, const kl_allocator *, kl_error *);
static open_fn *const ways[] = {kl__out_open, kl__out_open_beside};

static void assert_contents(const char *path, const char *want)
{
    size_t bytes;
    unsigned char *got = kt_read_file(path, &bytes);
    assert_int_equal(bytes, strlen(want));
    assert_memory_equal(got, want, bytes);
    kt_free_all();
}

static void a_file_appears_when_it_is_complete(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        char path[600];
        snprintf(path, sizeof path, "%s/out", kt_make_directory(way ? "beside" : "nameless"));
        for (int again = 0; again < 2; again++) {
            struct kl__out *o;
            KT_OK(ways[way](&o, path, NULL, KT_ERR));
            KT_OK(kl__out_write(o, 6, again ? "again" : "world", 5, KT_ERR));
            KT_OK(kl__out_write(o, 0, "hello ", 6, KT_ERR));
            if (again)
                assert_contents(path, "hello world");
            else
                assert_int_not_equal(access(path, F_OK), 0);
            KT_OK(kl__out_commit(o, 11, KT_ERR));
            assert_contents(path, again ? "hello again" : "hello world");
        }
        struct stat s;
        mode_t mask = umask(0);
        umask(mask);
        assert_int_equal(stat(path, &s), 0);
        assert_int_equal(s.st_mode & 0777, 0666 & ~mask);
        /* What replaces a file is as private as that was. */
        assert_int_equal(chmod(path, 0600), 0);
        struct kl__out *o;
        KT_OK(ways[way](&o, path, NULL, KT_ERR));
        KT_OK(kl__out_commit(o, 0, KT_ERR));
        assert_int_equal(stat(path, &s), 0);
        assert_int_equal(s.st_mode & 0777, 0600);
        *strrchr(path, '/') = 0;
        assert_int_equal(kt_count_files(path), 1);
    }
    kt_remove_files();
}

static void an_abandoned_file_leaves_nothing(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        char path[600];
        const char *directory = kt_make_directory(way ? "beside" : "nameless");
        snprintf(path, sizeof path, "%s/out", directory);
        struct kl__out *o;
        KT_OK(ways[way](&o, path, NULL, KT_ERR));
        KT_OK(kl__out_write(o, 0, "half", 4, KT_ERR));
        kl__out_abandon(o);
        assert_int_equal(kt_count_files(directory), 0);
    }
    kl__out_abandon(NULL);
    kt_remove_files();
}

/* Killed in the middle, the process leaves the old file as it was; and nothing else, where files can be nameless. */
static void a_killed_writer_leaves_the_old_file(void **state)
{
    (void)state;
    const char *directory = kt_make_directory("killed"), *path = kt_write_file("killed/out", "old", 3);
    int nameless = open(directory, O_TMPFILE | O_WRONLY, 0666);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct kl__out *o;
        if (kl__out_open(&o, path, NULL, NULL) == KL_OK)
            kl__out_write(o, 0, "half", 4, NULL);
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_contents(path, "old");
    if (nameless < 0)
        print_message("skipped: this file system has no nameless files\n");
    else
        assert_int_equal(kt_count_files(directory), 1);
    close(nameless);
    kt_remove_files();
}

static void what_cannot_be_written_or_read(void **state)
{
    (void)state;
    kl_error err;
    struct kl__out *o;
    struct kl__map m;
    KT_ASSERT_FAILED(kl__out_open(&o, "/no/such/directory/f", NULL, &err), KL_ERR_IO, &err, "/no/such/directory/f");
    KT_ASSERT_FAILED(kl__out_open(&o, "/dev/null", NULL, &err), KL_ERR_IO, &err, "/dev/null", "no regular file");
    KT_ASSERT_FAILED(kl__out_open(&o, kt_make_directory("d"), NULL, &err), KL_ERR_IO, &err, "no regular file");
    KT_ASSERT_FAILED(kl__map_open(&m, kt_path("none"), &err), KL_ERR_IO, &err, "none", "No such file");
    KT_ASSERT_FAILED(kl__map_open(&m, kt_path("d"), &err), KL_ERR_IO, &err, "no regular file");
    assert_int_equal(mkfifo(kt_path("pipe"), 0666), 0);
    KT_ASSERT_FAILED(kl__map_open(&m, kt_path("pipe"), &err), KL_ERR_IO, &err, "no regular file");
    assert_int_equal(symlink("loop", kt_path("loop")), 0);
    KT_ASSERT_FAILED(kl__map_open(&m, kt_path("loop"), &err), KL_ERR_IO, &err, "loop", "symbolic links");
    KT_OK(kl__map_open(&m, kt_write_file("empty", "", 0), KT_ERR));
    assert_int_equal(m.bytes, 0);
    kl__map_close(&m);
    kt_remove_files();
}

struct record {
    struct kl__str name;
    int other;
};

static void names_are_found(void **state)
{
    (void)state;
    enum { N = 5000 };
    static struct record r[N];
    static char text[N][16];
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "n%.*d", i % 9 + 1, i);
        r[i].name = kl__str(text[i]);
    }
    struct kl__names n;
    assert_true(kl__names_open(&n, r, sizeof *r, N, NULL));
    for (size_t i = 0; i < N; i++) {
        size_t first = kl__names_add(&n, i);
        assert_true(first <= i && strcmp(text[first], text[i]) == 0);
    }
    for (int i = 0; i < N; i++)
        assert_string_equal(text[kl__names_find(&n, r[i].name)], text[i]);
    assert_int_equal(kl__names_find(&n, kl__str("m1")), -1);
    assert_int_equal(kl__names_find(&n, kl__str("")), -1);
    kl__names_close(&n, NULL);
    assert_int_equal(kl__names_find(&n, kl__str("n1")), -1);
}

static void utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"", "abc", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x8c\x8d", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",  "\xc0\x80", "\xc1\xbf",     "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "a\xc3", "\xe4\xb8", "\xf0\x9f\x8c", "\xff",         "\xc3(",        "\xf0\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(kl__utf8_valid(kl__str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(kl__utf8_valid(kl__str(bad[i])));
}

static void texts_in_sentences(void **state)
{
    (void)state;
    assert_string_equal(kl__shown(kl__str("a\nb\x7f\xff\xc3\xa9")).text, "a?b??\xc3\xa9");
    char longer[400];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    struct kl__shown s = kl__shown(kl__str(longer));
    assert_int_equal(strlen(s.text), 80);
    assert_string_equal(s.text + 77, "...");
    memcpy(longer + sizeof longer - 7, "/model", 6);
    s = kl__shown_path(longer);
    assert_true(strlen(s.text) < sizeof s.text);
    assert_memory_equal(s.text, "...xxx", 6);
    assert_string_equal(s.text + strlen(s.text) - 6, "/model");
    /* However the end falls, no character is cut in two. */
    for (int n = 0; n < 4; n++) {
        char wide[200] = "";
        size_t at = 0;
        for (int i = 0; i < n; i++)
            wide[at++] = 'a';
        for (int i = 0; i < 40; i++, at += 4)
            memcpy(wide + at, "\xf0\x9f\x8c\x8d", 4);
        wide[at] = 0;
        assert_true(kl__utf8_valid(kl__str(kl__shown(kl__str(wide)).text)));
        assert_true(kl__utf8_valid(kl__str(kl__shown_path(wide).text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_appears_when_it_is_complete),
        cmocka_unit_test(an_abandoned_file_leaves_nothing),
        cmocka_unit_test(a_killed_writer_leaves_the_old_file),
        cmocka_unit_test(what_cannot_be_written_or_read),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(utf8),
        cmocka_unit_test(texts_in_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
