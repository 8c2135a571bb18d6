/* Tokenizers out of files: tiktoken.model alone, with its configuration, out of GGUF; and every fault of them. */
#include "support/kt_vocab.h"

#include "format/store.h"
#include "format/writer.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"ab", " the", "\xe4\xb8\xad"};
enum { N_WORD = 3, RANKS = 256 + N_WORD };

static void need_jansson(void)
{
    if (KT_WITH_JANSSON)
        return;
    print_message("skipped: klinear was built without jansson\n");
    skip();
}

static void assert_text(const kl_tokenizer *t, int32_t id, const char *wanted)
{
    kl_text text = kl_tokenizer_text(t, id);
    assert_int_equal(text.bytes, strlen(wanted));
    assert_memory_equal(text.data, wanted, text.bytes);
}

static void a_file_alone(void **state)
{
    (void)state;
    kl_tokenizer *t = kt_tokenizer(words, N_WORD);
    int32_t stops[3];
    assert_int_equal(kl_tokenizer_n_vocab(t), RANKS + 256);
    assert_text(t, 257, " the");
    assert_text(t, RANKS + 2, "<|im_end|>");
    assert_text(t, RANKS + 5, "<|reserved_token_264|>");
    assert_text(t, RANKS + 15, "<|tool_call_end|>");
    assert_text(t, RANKS + 255, "[PAD]");
    assert_null(kl_tokenizer_text(t, RANKS + 256).data);
    assert_null(kl_tokenizer_text(t, -1).data);
    assert_int_equal(kl_tokenizer_special(t, "<|im_middle|>"), RANKS + 17);
    assert_int_equal(kl_tokenizer_special(t, " the"), -1);
    assert_int_equal(kl_tokenizer_special(t, ""), -1);
    assert_true(kl_tokenizer_is_special(t, RANKS) && !kl_tokenizer_is_special(t, RANKS - 1));
    assert_true(!kl_tokenizer_is_special(t, -1) && !kl_tokenizer_is_special(t, RANKS + 256));
    assert_int_equal(kl_tokenizer_stops(stops, t), 3);
    assert_true(stops[0] == RANKS + 1 && stops[1] == RANKS + 2 && stops[2] == RANKS + 9);
    assert_null(kl_tokenizer_template(t).data);
    assert_false(kl_tokenizer_is_suspect(t));
    kl_tokenizer_close(t);
    kl_tokenizer_close(NULL);
    /* A directory, and lines that end as on other systems. */
    size_t bytes;
    unsigned char *file = kt_read_file(kt_path("tiktoken.model"), &bytes), *other = kt_bytes(2 * bytes), *to = other;
    for (size_t i = 0; i < bytes; i++) {
        if (file[i] == '\n')
            *to++ = '\r';
        *to++ = file[i];
    }
    kt_make_directory("d");
    kt_write_file("d/tiktoken.model", other, (size_t)(to - other) - 2);
    KT_OK(kl_tokenizer_open(&t, kt_path("d"), NULL, KT_ERR));
    assert_text(t, 258, words[2]);
    kl_tokenizer_close(t);
    kt_free_all();
    kt_remove_files();
}

/* The identity is that of the file, wherever the vocabulary came from. */
static void identity(void **state)
{
    (void)state;
    static const char *const none[1];
    char hex[65];
    kl_tokenizer *t = kt_tokenizer(none, 0);
    kl_tokenizer_sha256(hex, t);
    kl_tokenizer_close(t);
    assert_string_equal(hex, "e66088df4cdb28fbad3c55ac5a7ae741bc402e732ed948eb096a8ed6f852768f");
    kt_remove_files();
}

/* ------------------------------------------------------------------------------------------------ configurations -- */

static kl_status open_configured(kl_tokenizer **t, const char *config, kl_error *err)
{
    kt_write_tiktoken("tiktoken.model", words, N_WORD);
    kt_write_file("tokenizer_config.json", config, strlen(config));
    return kl_tokenizer_open(t, kt_path("tiktoken.model"), NULL, err);
}

#define TOKENS(entries) "{\"added_tokens_decoder\":{" entries "}}"

static void configurations(void **state)
{
    (void)state;
    kl_tokenizer *t;
    need_jansson();
    KT_OK(
        open_configured(&t,
                        TOKENS("\"259\":{\"content\":\"<go>\"},\"264\":{\"content\":\"<|im_user|>\",\"special\":true},"
                               "\"272\":{\"content\":\"<|reserved_token_272|>\"}"),
                        KT_ERR));
    assert_int_equal(kl_tokenizer_n_vocab(t), 273);
    assert_text(t, 259, "<go>");
    assert_text(t, 260, "[EOS]");
    assert_text(t, 262, "<|reserved_token_262|>"); /* its name is taken */
    assert_text(t, 264, "<|im_user|>");
    assert_text(t, 272, "<|tool_call_begin|>"); /* a reserved name is no name */
    assert_int_equal(kl_tokenizer_special(t, "[BOS]"), -1);
    kl_tokenizer_close(t);
    /* The reference registers two more, which the model lacks. */
    KT_OK(open_configured(&t, TOKENS("\"515\":{\"content\":\"x\"},\"516\":{\"content\":\"y\"}"), KT_ERR));
    assert_int_equal(kl_tokenizer_n_vocab(t), RANKS + 256);
    kl_tokenizer_close(t);
    KT_OK(open_configured(&t, "{\"model_max_length\":5,\"chat_template\":\"a{{b}}\"}", KT_ERR));
    assert_int_equal(kl_tokenizer_n_vocab(t), RANKS + 256);
    assert_memory_equal(kl_tokenizer_template(t).data, "a{{b}}", 7);
    kl_tokenizer_close(t);
    KT_OK(open_configured(&t,
                          "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"1\"},"
                          "{\"name\":\"default\",\"template\":\"2\"}]}",
                          KT_ERR));
    assert_memory_equal(kl_tokenizer_template(t).data, "2", 2);
    kl_tokenizer_close(t);
    kt_write_file("chat_template.jinja", "3\n", 2);
    KT_OK(open_configured(&t, "{\"chat_template\":null}", KT_ERR));
    assert_memory_equal(kl_tokenizer_template(t).data, "3\n", 3);
    kl_tokenizer_close(t);
    kt_remove_files();
}

static void faults_of_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *config, *word[3];
    } fault[] = {
        {"", {"tokenizer_config.json", "configuration"}},
        {"{\"a\":1,\"a\":2}", {"tokenizer_config.json", "duplicate"}},
        {"{\"added_tokens_decoder\":[]}", {"tokenizer_config.json", "added_tokens_decoder", "no object"}},
        {TOKENS("\"258\":{\"content\":\"x\"}"), {"'258'", "outside", "259 to 514"}},
        {TOKENS("\"517\":{\"content\":\"x\"}"), {"'517'", "outside", "259 to 514"}},
        {TOKENS("\"-1\":{\"content\":\"x\"}"), {"'-1'", "outside"}},
        {TOKENS("\"99999999999999999999\":{\"content\":\"x\"}"), {"outside"}},
        {TOKENS("\"\":{\"content\":\"x\"}"), {"''", "outside"}},
        {TOKENS("\"300\":{\"content\":5}"), {"'300'", "content"}},
        {TOKENS("\"300\":{\"content\":\"\"}"), {"'300'", "content"}},
        {TOKENS("\"300\":7"), {"'300'", "content"}},
        {TOKENS("\"300\":{\"content\":\"x\"},\"301\":{\"content\":\"x\"}"),
         {"tiktoken.model", "'x'", "spells the same"}},
        {TOKENS("\"300\":{\"content\":\"<x>\"},\"301\":{\"content\":\"<x>\"}"),
         {"token 30", "'<x>'", "name of special"}},
        {TOKENS("\"300\":{\"content\":\"ab\"}"), {"token 300", "'ab'", "same bytes as token 256"}},
        {"{\"chat_template\":7}", {"tokenizer_config.json", "chat_template", "no text"}},
    };
    need_jansson();
    for (size_t i = 0; i < sizeof fault / sizeof *fault; i++) {
        kl_tokenizer *t;
        kl_error err = {0};
        int n_word = 0;
        while (n_word < 3 && fault[i].word[n_word])
            n_word++;
        kl_status status = open_configured(&t, fault[i].config, &err);
        if (status == KL_OK)
            fail_msg("opened: %s", fault[i].config);
        kt_assert_failed(status, KL_ERR_FORMAT, &err, fault[i].word, n_word);
    }
    kt_remove_files();
}

/* ------------------------------------------------------------------------------------------------ tiktoken.model -- */

/* The good file with one line of it replaced. */
static kl_status open_replaced(kl_tokenizer **t, int number, const char *line, kl_error *err)
{
    size_t bytes;
    unsigned char *file = kt_read_file(kt_write_tiktoken("good", words, N_WORD), &bytes);
    static struct kt_image image;
    image.n = 0;
    const unsigned char *at = file, *end = file + bytes;
    for (int i = 1; at < end; i++) {
        const unsigned char *next = (const unsigned char *)memchr(at, '\n', (size_t)(end - at)) + 1;
        if (i == number)
            kt_put_text(&image, line);
        else
            kt_put(&image, at, (size_t)(next - at));
        at = next;
    }
    kt_free_all();
    return kl_tokenizer_open(t, kt_write_file("bad", image.data, image.n), NULL, err);
}

static void faults_of_tiktoken_files(void **state)
{
    (void)state;
    static const struct {
        int number;
        const char *line, *word[4];
    } fault[] = {
        {257, "YWI=256\n", {"/bad, line 257", "'YWI=256'", "base64"}},
        {257, "YWI 256\n", {"line 257", "base64"}},
        {257, "YW*= 256\n", {"line 257", "base64"}},
        {257, "YWJ= 256\n", {"line 257", "base64"}}, /* bits that no byte has */
        {257, "Y=I= 256\n", {"line 257", "base64"}},
        {257, "==== 256\n", {"line 257", "base64"}},
        {257, " 256\n", {"line 257", "base64"}},
        {257, "YWI=\n", {"line 257", "base64"}},
        {257, "YWI= 257\n", {"line 257", "found '257'", "rank 256"}},
        {257, "YWI= 255\n", {"line 257", "found '255'", "rank 256"}},
        {257, "YWI= 0256\n", {"line 257", "found '0256'", "rank 256"}},
        {257, "YWI= 256 \n", {"line 257", "rank 256"}},
        {257, "YWI= -1\n", {"line 257", "rank 256"}},
        {257, "YWI= 99999999999\n", {"line 257", "rank 256"}},
        {257, "YWI= \n", {"line 257", "found ''", "rank 256"}},
        {257, "", {"line 257", "found '257'", "rank 256"}},
        {257, "IHRoZQ== 256\n", {"/bad", "token 257", "' the'", "same bytes as token 256"}},
        {1, "YWJj 0\n", {"/bad", "single byte 0x00"}},
        {3, "YWJj 2\n", {"/bad", "single byte 0x02"}},
    };
    for (size_t i = 0; i < sizeof fault / sizeof *fault; i++) {
        kl_tokenizer *t;
        kl_error err = {0};
        int n_word = 0;
        while (n_word < 4 && fault[i].word[n_word])
            n_word++;
        kl_status status = open_replaced(&t, fault[i].number, fault[i].line, &err);
        if (status == KL_OK)
            fail_msg("opened: %s", fault[i].line);
        kt_assert_failed(status, KL_ERR_FORMAT, &err, fault[i].word, n_word);
    }
    kt_remove_files();
}

static void faults_of_paths(void **state)
{
    (void)state;
    kl_tokenizer *t;
    kl_error err;
    KT_ASSERT_FAILED(kl_tokenizer_open(&t, kt_path("none"), NULL, &err), KL_ERR_IO, &err, "/none", "No such file");
    KT_ASSERT_FAILED(kl_tokenizer_open(&t, kt_make_directory("d"), NULL, &err), KL_ERR_IO, &err, "/d",
                     "no tiktoken.model");
    KT_ASSERT_FAILED(kl_tokenizer_open(&t, kt_write_file("empty", "", 0), NULL, &err), KL_ERR_FORMAT, &err, "/empty",
                     "0 lines");
    KT_ASSERT_FAILED(kl_tokenizer_open(&t, kt_write_file("short", "IQ== 0\n", 7), NULL, &err), KL_ERR_FORMAT, &err,
                     "/short", "1 lines");
    KT_ASSERT_FAILED(kl_tokenizer_open(&t, kt_write_file("model.safetensors", "", 0), NULL, &err), KL_ERR_IO, &err,
                     "model.safetensors", "no tiktoken.model");
    kl_tokenizer_close(kt_tokenizer(words, N_WORD)); /* which leaves its file beside them */
    static const char *const tensors[] = {"model.safetensors", "model.safetensors.index.json"};
    for (int i = 0; i < 2; i++) {
        KT_OK(kl_tokenizer_open(&t, kt_write_file(tensors[i], "x", 1), NULL, KT_ERR));
        assert_text(t, 257, " the");
        kl_tokenizer_close(t);
    }
    char *line = memset(kt_bytes(2000), 'A', 2000);
    char *file = kt_bytes(4000);
    size_t n = (size_t)snprintf(file, 4000, "%.1600s 0\n", line);
    for (int i = 1; i < 256; i++)
        file[n++] = 'x', file[n++] = '\n';
    KT_ASSERT_FAILED(kl_tokenizer_open(&t, kt_write_file("long", file, n), NULL, &err), KL_ERR_FORMAT, &err, "line 1",
                     "AAAA", "base64");
    kt_free_all();
    kt_remove_files();
}

/* Every allocation refused in turn: a status, and nothing is lost. */
static void no_memory(void **state)
{
    (void)state;
    const char *path = kt_write_tiktoken("tiktoken.model", words, N_WORD);
    struct kt_heap heap;
    kl_status status;
    int64_t at = 0;
    do {
        kl_tokenizer *t = NULL;
        kt_heap_init(&heap, ++at);
        status = kl_tokenizer_open(&t, path, &heap.alloc, NULL);
        assert_true(status == KL_OK || status == KL_ERR_MEMORY);
        kl_tokenizer_close(t);
        assert_int_equal(heap.n_out, 0);
    } while (status != KL_OK);
    assert_true(at > 5);
    kt_remove_files();
}

/* ---------------------------------------------------------------------------------------------------------- GGUF -- */

struct gguf {
    const char *model, *pre, *chat_template;
    struct kl__str token[600];
    int32_t type[600], n_token, n_type;
};

/* The 256 bytes in the spelling of GPT-2, the words, and the special tokens of the released model. */
static void fill_gguf(struct gguf *g)
{
    static char spelled[256][3];
    static struct kl__reserved reserved[256];
    int other = 0;
    *g = (struct gguf){.model = "gpt2", .pre = "kimi-k2"};
    for (int b = 0; b < 256; b++) {
        bool prints = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        int c = prints ? b : 256 + other++;
        snprintf(spelled[b], 3, c < 128 ? "%c" : "%c%c", c < 128 ? c : 0xc0 | c >> 6, 0x80 | (c & 0x3f));
        g->token[g->n_token++] = kl__str(spelled[b]);
    }
    g->token[g->n_token++] = kl__str("ab");
    g->token[g->n_token++] = kl__str("\xc4\xa0the");
    g->token[g->n_token++] = kl__str("\xc3\xa4\xc2\xb8\xc5\x83"); /* E4 B8 AD */
    for (int i = 0; i < 256; i++) {
        reserved[i] = kl__reserved_name(RANKS + i);
        g->token[g->n_token++] = kl__str(kl__released_name(i) ? kl__released_name(i) : reserved[i].text);
    }
    g->n_type = g->n_token;
    for (int i = 0; i < g->n_token; i++)
        g->type[i] = i < RANKS ? 1 : 3;
}

static kl_status open_written(kl_tokenizer **t, const struct gguf *g, kl_error *err)
{
    struct kl__writer *w;
    const char *path = kt_path("vocab.gguf");
    struct kl__meta meta[] = {
        kl__meta_string("tokenizer.ggml.model", kl__str(g->model)),
        kl__meta_string("tokenizer.ggml.pre", kl__str(g->pre)),
        kl__meta_strings("tokenizer.ggml.tokens", g->token, (uint64_t)g->n_token),
        kl__meta_numbers("tokenizer.ggml.token_type", KL__META_I32, g->type, (uint64_t)g->n_type),
        kl__meta_string("tokenizer.chat_template", kl__str(g->chat_template ? g->chat_template : "")),
    };
    KT_OK(kl__writer_open(&w, path, "gguf", NULL, KT_ERR));
    for (size_t i = 0; i < sizeof meta / sizeof *meta - (g->chat_template == NULL); i++)
        KT_OK(kl__writer_meta(w, &meta[i], KT_ERR));
    KT_OK(kl__writer_begin(w, KT_ERR));
    KT_OK(kl__writer_finish(w, KT_ERR));
    return kl_tokenizer_open(t, path, NULL, err);
}

/* The same vocabulary out of both files: all tokens, ids, identity. */
static void a_gguf_file(void **state)
{
    (void)state;
    static struct gguf g;
    kl_tokenizer *a = kt_tokenizer(words, N_WORD), *b;
    char sha[2][65];
    fill_gguf(&g);
    g.chat_template = "{{x}}";
    g.token[RANKS + 13] = kl__str("<|reserved_token_272|>"); /* a lost name, which comes back */
    KT_OK(open_written(&b, &g, KT_ERR));
    assert_int_equal(kl_tokenizer_n_vocab(a), kl_tokenizer_n_vocab(b));
    for (int32_t id = 0; id < kl_tokenizer_n_vocab(a); id++) {
        kl_text x = kl_tokenizer_text(a, id), y = kl_tokenizer_text(b, id);
        assert_true(x.bytes == y.bytes && memcmp(x.data, y.data, x.bytes) == 0);
        assert_int_equal(kl_tokenizer_is_special(a, id), kl_tokenizer_is_special(b, id));
    }
    kl_tokenizer_sha256(sha[0], a);
    kl_tokenizer_sha256(sha[1], b);
    assert_string_equal(sha[0], sha[1]);
    assert_memory_equal(kl_tokenizer_template(b).data, "{{x}}", 6);
    kl_tokenizer_close(a);
    kl_tokenizer_close(b);
    kt_remove_files();
}

/* As tests of other engines make them: no markup but three tokens at the end. */
static void few_special_tokens(void **state)
{
    (void)state;
    static struct gguf g;
    kl_tokenizer *t;
    int32_t stops[3];
    fill_gguf(&g);
    g.n_token = g.n_type = RANKS + 3;
    g.type[RANKS - 1] = 5;
    KT_OK(open_written(&t, &g, KT_ERR));
    assert_int_equal(kl_tokenizer_n_vocab(t), RANKS + 3);
    assert_int_equal(kl_tokenizer_stops(stops, t), 2);
    assert_true(stops[0] == RANKS + 1 && stops[1] == RANKS + 2);
    assert_false(kl_tokenizer_is_special(t, RANKS - 1));
    kl_tokenizer_close(t);
    kt_remove_files();
}

static void assert_refused(const struct gguf *g, kl_status status, const char *a, const char *b)
{
    kl_tokenizer *t;
    kl_error err = {0};
    KT_ASSERT_FAILED(open_written(&t, g, &err), status, &err, "vocab.gguf", a, b);
}

static void faults_of_gguf_files(void **state)
{
    (void)state;
    static struct gguf g;
    fill_gguf(&g);
    g.model = "llama";
    assert_refused(&g, KL_ERR_UNSUPPORTED, "tokenizer.ggml.model", "'llama', expected 'gpt2'");
    fill_gguf(&g);
    g.pre = "llama-bpe";
    assert_refused(&g, KL_ERR_UNSUPPORTED, "tokenizer.ggml.pre", "'llama-bpe', expected 'kimi-k2'");
    fill_gguf(&g);
    g.n_type--;
    assert_refused(&g, KL_ERR_FORMAT, "token_type", "514 items");
    fill_gguf(&g);
    g.type[300] = 6;
    assert_refused(&g, KL_ERR_FORMAT, "token 300", "none of 1 to 5");
    fill_gguf(&g);
    g.token[256] = kl__str("a b");
    assert_refused(&g, KL_ERR_FORMAT, "token 256", "'a b'");
    g.token[256] = kl__str("\xff");
    assert_refused(&g, KL_ERR_FORMAT, "token 256", "spelling");
    g.token[256] = kl__str("\xc5\x84"); /* U+0144 */
    assert_refused(&g, KL_ERR_FORMAT, "token 256", "spelling");
    g.token[256] = kl__str("");
    assert_refused(&g, KL_ERR_FORMAT, "token 256", "0 bytes");
    g.token[256] = g.token[257];
    assert_refused(&g, KL_ERR_FORMAT, "token 257", "same bytes as token 256");
    g.token[256] = (struct kl__str){memset(kt_bytes(1025), 'a', 1025), 1025};
    assert_refused(&g, KL_ERR_FORMAT, "token 256", "1024");
    fill_gguf(&g);
    g.type[0] = 5;
    assert_refused(&g, KL_ERR_FORMAT, "single byte", "0x00");
    fill_gguf(&g);
    g.token[RANKS] = g.token[RANKS + 1];
    assert_refused(&g, KL_ERR_FORMAT, "[EOS]", "name of special token");
    fill_gguf(&g);
    g.n_token = g.n_type = 0;
    assert_refused(&g, KL_ERR_FORMAT, "single byte", "0x00");
    kt_free_all();
    kt_remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_alone),
        cmocka_unit_test(identity),
        cmocka_unit_test(configurations),
        cmocka_unit_test(faults_of_configurations),
        cmocka_unit_test(faults_of_tiktoken_files),
        cmocka_unit_test(faults_of_paths),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(a_gguf_file),
        cmocka_unit_test(few_special_tokens),
        cmocka_unit_test(faults_of_gguf_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
