/* Documents out of plain text and JSONL. */
#include "support/kt_file.h"

#include "klinear/kl_train.h"

#include <stdio.h>
#include <string.h>

static char all[4096];

static kl_status collect(void *user, kl_text document, kl_error *err)
{
    (void)user, (void)err;
    size_t n = strlen(all);
    snprintf(all + n, sizeof all - n, "%.*s|", (int)document.bytes, document.data);
    return KL_OK;
}

static void reads(const char *text, const char *field, const char *separator, int n, const char *want)
{
    int64_t n_document;
    const kl_documents d = {kt_write_file("text", text, strlen(text)), field, separator};
    all[0] = 0;
    KT_OK(kl_documents_each(&d, collect, NULL, &n_document, KT_ERR));
    assert_string_equal(all, want);
    assert_int_equal(n_document, n);
}

static void refuses(const char *text, const char *field, const char *why)
{
    kl_error err;
    const kl_documents d = {kt_write_file("text", text, strlen(text)), field, NULL};
    KT_ASSERT_FAILED(kl_documents_each(&d, collect, NULL, NULL, &err), KL_ERR_FORMAT, &err, "text", why);
}

static void plain(void **state)
{
    (void)state;
    reads("one\ntwo\n", NULL, NULL, 1, "one\ntwo|");
    reads("one", NULL, "---", 1, "one|");
    reads("\n one\n---\n\ntwo\nthree\r\n---\r\n---\n  \n---\nfour\n---\n", NULL, "---", 3, "one|two\nthree|four|");
    reads("---\na---\n---", NULL, "---", 1, "a---|");
    refuses("", NULL, "has no documents");
    refuses(" \n\t\r\n", NULL, "has no documents");
}

static void jsonl(void **state)
{
    (void)state;
    reads("{\"text\": \"a\\nb\", \"id\": 1}\n\n{\"id\": [2], \"text\": \" c\"}", "text", NULL, 2, "a\nb| c|");
    refuses("{\"text\": \"a\"}\n{\"body\": \"b\"}\n", "text", "line 2 has no text 'text'");
    refuses("{\"text\": \"a\"}\n\n{\"text\": \"  \"}\n", "text", "line 3: the text 'text' is empty");
    refuses("{\"text\": 5}\n", "text", "line 1 has no text");
    refuses("[]\n", "text", "line 1");
    refuses("{\"text\": \"a\"\n", "text", "line 1");
    refuses("", "text", "has no documents");
}

static kl_status stop(void *user, kl_text document, kl_error *err)
{
    (void)document, (void)err;
    return ++*(int *)user == 2 ? KL_ERR_CANCELLED : KL_OK;
}

static void stopping(void **state)
{
    (void)state;
    int n = 0;
    const kl_documents d = {kt_write_file("text", "a\n-\nb\n-\nc", 9), NULL, "-"};
    assert_int_equal(kl_documents_each(&d, stop, &n, NULL, NULL), KL_ERR_CANCELLED);
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain), cmocka_unit_test(jsonl), cmocka_unit_test(stopping)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_remove_files();
    return failed;
}
