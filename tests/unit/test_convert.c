/* Conversions between both layouts: there and back is the identity, whatever types and shapes the model came in. */
#include "klinear/kl.h"
#include "support/kt_file.h"

#include "base/folder.h"
#include "format/store.h"
#include "model/config_keys.h"
#include "model/config_write.h"
#include "model/hf_tensors.h"
#include "model/origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void need_jansson(void)
{
    if (KT_WITH_JANSSON)
        return;
    print_message("skipped: klinear was built without jansson\n");
    skip();
}

static kl_config smaller(const char *preset)
{
    kl_config c;
    KT_OK(kl_config_preset(&c, preset, KT_ERR));
    c.n_vocab = 600;
    c.n_expert = 3;
    c.n_embd = 96;
    c.n_ff = 128;
    c.n_ff_expert = 64;
    c.n_head = c.n_kda_head = c.n_kda_v_head = 2;
    c.kda_k = c.kda_v = c.decay_rank = c.gate_rank = c.qk_nope = c.v_dim = 32;
    c.bos = 600 - 256;
    c.eos = c.bos + 1;
    c.pad = 599;
    return c;
}

static struct kl__store *open_store(const char *path)
{
    struct kl__store *s;
    KT_OK(kl__store_open(&s, path, NULL, KT_ERR));
    return s;
}

static void to_gguf(const char *path, const char *from, const char *type, kl_pool *pool)
{
    kl_file_options options = {.type = type, .pool = pool};
    KT_OK(kl_model_to_gguf(path, from, &options, KT_ERR));
}

static void to_hf(const char *folder, const char *from, const char *type, int64_t shard_bytes, kl_pool *pool)
{
    kl_file_options options = {.type = type, .pool = pool, .shard_bytes = shard_bytes};
    KT_OK(kl_model_to_hf(folder, from, &options, KT_ERR));
}

/* Names, types, shapes and bytes. */
static void assert_same_tensors(const char *a, const char *b)
{
    struct kl__store *x = open_store(a), *y = open_store(b);
    assert_int_equal(x->n_tensor, y->n_tensor);
    for (int64_t i = 0; i < x->n_tensor; i++) {
        const struct kl__stored *t = &x->tensor[i], *u = kl__store_find(y, kl__shown(t->name).text);
        if (!u || t->type != u->type || t->n_dim != u->n_dim || memcmp(t->dim, u->dim, sizeof t->dim) != 0 ||
            t->bytes != u->bytes || memcmp(t->data, u->data, t->bytes) != 0)
            fail_msg("%s differs", kl__shown(t->name).text);
    }
    kl__store_close(x);
    kl__store_close(y);
}

static void assert_same_file(const char *a, const char *b)
{
    size_t n, m;
    unsigned char *x = kt_read_file(a, &n), *y = kt_read_file(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    kt_free_all();
}

/* ------------------------------------------------------------------------------------------------ there and back -- */

/* A model in Hugging Face layout with everything that a file can have other than the released one: see `odd`. */
enum { PLAIN, F32_EMBEDDING, MIXED, SHAPES, N_ODD };

static enum kl__type type_of(const struct kl__hf_tensor *t, int odd)
{
    static const enum kl__type types[3] = {KL__TYPE_BF16, KL__TYPE_F32, KL__TYPE_F16};
    if (odd == F32_EMBEDDING)
        return t->param == KL__EMBED ? KL__TYPE_F32 : t->type;
    if (odd == MIXED)
        return types[(t->param + (unsigned)t->expert) % 3];
    return t->type;
}

static void shape_of(struct kl__hf_tensor *t, int odd)
{
    if (odd != SHAPES || (t->param != KL__A_LOG && t->param != KL__CONV_Q))
        return;
    int64_t n = t->param == KL__A_LOG ? t->dim[2] : t->dim[0], across = t->param == KL__A_LOG ? 1 : t->dim[2];
    t->n_dim = t->param == KL__A_LOG ? 1 : 2;
    t->dim[0] = n;
    t->dim[1] = across;
}

static void put_numbers(struct kl__writer *w, int64_t i, const struct kl__hf_tensor *t, kt_rng *r)
{
    int64_t n = kl__hf_elements(t);
    float *x = kt_floats(n);
    size_t bytes;
    kt_fill_normal(r, x, n, 1);
    void *block = kt_bytes(4 * (size_t)n);
    assert_true(kl__type_bytes(t->type, n, &bytes));
    KT_OK(kl__encode(t->type, block, x, n, KT_ERR));
    KT_OK(kl__writer_append(w, i, block, bytes, KT_ERR));
    kt_free_all();
}

static void write_hf(const char *folder, const kl_config *c, int odd)
{
    struct kl__folder *f;
    struct kl__writer *w;
    struct kl__buffer b = {0};
    kt_rng r = {(uint64_t)odd + 1};
    int64_t n = kl__hf_tensors(NULL, c, KL__TYPE_BF16);
    struct kl__hf_tensor *t = calloc((size_t)n, sizeof *t);
    kl__hf_tensors(t, c, KL__TYPE_BF16);
    KT_OK(kl__folder_open(&f, folder, NULL, KT_ERR));
    kl__config_put_json(&b, c, KL__TYPE_BF16);
    kl__buffer_put_text(&b, "   "); /* so that it is no text that the library would write */
    KT_OK(kl__folder_write(f, "config.json", b.data, b.bytes, KT_ERR));
    KT_OK(kl__folder_write(f, "generation_config.json", "{\"eos_token_id\": 7}", 19, KT_ERR));
    kl__buffer_free(&b);
    KT_OK(kl__writer_open(&w, kl__folder_file(f, "model.safetensors"), "safetensors", NULL, KT_ERR));
    for (int64_t i = 0; i < n; i++) {
        t[i].type = type_of(&t[i], odd);
        shape_of(&t[i], odd);
        KT_OK(kl__writer_tensor(w, t[i].name.text, t[i].type, t[i].n_dim, t[i].dim, KT_ERR));
    }
    KT_OK(kl__writer_begin(w, KT_ERR));
    for (int64_t i = 0; i < n; i++)
        put_numbers(w, i, &t[i], &r);
    KT_OK(kl__writer_finish(w, KT_ERR));
    KT_OK(kl__folder_commit(f, KT_ERR));
    free(t);
}

static void there_and_back(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = smaller("tiny");
    kl_pool *pool;
    KT_OK(kl_pool_open(&pool, 3, NULL, KT_ERR));
    for (int odd = 0; odd < N_ODD; odd++) {
        write_hf(kt_path("a"), &c, odd);
        to_gguf(kt_path("a.gguf"), kt_path("a"), NULL, NULL);
        to_hf(kt_path("b"), kt_path("a.gguf"), NULL, 0, NULL);
        assert_same_tensors(kt_path("a"), kt_path("b"));
        assert_same_file(kt_path("a/config.json"), kt_path("b/config.json"));
        assert_same_file(kt_path("a/generation_config.json"), kt_path("b/generation_config.json"));
        assert_int_equal(kt_count_files(kt_path("b")), 3);
        /* With threads, in many files, and once more around: the same bytes. */
        to_hf(kt_path("c"), kt_path("a.gguf"), NULL, 50000, pool);
        assert_same_tensors(kt_path("a"), kt_path("c"));
        assert_true(kt_count_files(kt_path("c")) > 10);
        to_gguf(kt_path("c.gguf"), kt_path("b"), NULL, pool);
        if (odd == PLAIN) { /* else the folder's name is in the file */
            struct kl__store *x = open_store(kt_path("a.gguf")), *y = open_store(kt_path("c.gguf"));
            assert_int_equal(x->n_tensor, y->n_tensor);
            kl__store_close(x);
            kl__store_close(y);
        }
        assert_same_tensors(kt_path("a.gguf"), kt_path("c.gguf"));
        kt_remove_files();
    }
    kl_pool_close(pool);
}

/* What a GGUF file holds, from the numbers of the other layout, element by element. */
static void every_transform(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = smaller("tiny");
    write_hf(kt_path("a"), &c, MIXED);
    to_gguf(kt_path("a.gguf"), kt_path("a"), "f32", NULL);
    struct kl__store *h = open_store(kt_path("a")), *g = open_store(kt_path("a.gguf"));
    const struct kl__stored *kv = kl__store_find(h, "model.layers.3.self_attn.kv_b_proj.weight");
    const struct kl__stored *k = kl__store_find(g, "blk.3.attn_k_b.weight");
    const struct kl__stored *v = kl__store_find(g, "blk.3.attn_v_b.weight");
    int64_t n = kl__stored_elements(kv), R = c.kv_rank, DN = c.qk_nope, DV = c.v_dim;
    float *x = kt_floats(n), *a = kt_floats(kl__stored_elements(k)), *b = kt_floats(kl__stored_elements(v));
    kl__decode(kv->type, x, kv->data, n);
    kl__decode(k->type, a, k->data, kl__stored_elements(k));
    kl__decode(v->type, b, v->data, kl__stored_elements(v));
    assert_true(k->dim[0] == c.n_head && k->dim[1] == R && k->dim[2] == DN && v->dim[1] == DV && v->dim[2] == R);
    for (int64_t head = 0; head < c.n_head; head++)
        for (int64_t r = 0; r < R; r++) {
            for (int64_t i = 0; i < DN; i++)
                assert_true(a[(head * R + r) * DN + i] == x[(head * (DN + DV) + i) * R + r]);
            for (int64_t j = 0; j < DV; j++)
                assert_true(b[(head * DV + j) * R + r] == x[(head * (DN + DV) + DN + j) * R + r]);
        }
    const struct kl__stored *e2 = kl__store_find(h, "model.layers.2.block_sparse_moe.experts.2.w2.weight");
    const struct kl__stored *down = kl__store_find(g, "blk.2.ffn_down_exps.weight");
    n = kl__stored_elements(e2);
    assert_true(down->n_dim == 3 && down->dim[0] == 3 && kl__stored_elements(down) == 3 * n);
    float *y = kt_floats(n), *z = kt_floats(3 * n);
    kl__decode(e2->type, y, e2->data, n);
    kl__decode(down->type, z, down->data, 3 * n);
    assert_memory_equal(y, z + 2 * n, (size_t)n * sizeof *y);
    const struct kl__stored *a_log = kl__store_find(h, "model.layers.0.self_attn.A_log");
    const struct kl__stored *rate = kl__store_find(g, "blk.0.ssm_a"),
                            *conv = kl__store_find(g, "blk.0.ssm_conv1d_k.weight");
    float p[2], q[2];
    kl__decode(a_log->type, p, a_log->data, 2);
    kl__decode(rate->type, q, rate->data, 2);
    for (int i = 0; i < 2; i++)
        assert_true(q[i] == kl__rate_of(p[i]) && q[i] < 0);
    assert_true(conv->n_dim == 4 && conv->dim[0] == 1 && conv->dim[1] == 64 && conv->dim[2] == 1 && conv->dim[3] == 4);
    kl__store_close(h);
    kl__store_close(g);
    kt_free_all();
    kt_remove_files();
}

/* Each word of a made vocabulary is what its pair joins. */
static void assert_merges_make_tokens(const struct kl__store *s)
{
    const struct kl__meta *merges, *tokens;
    KT_OK(kl__store_array(&merges, s, "tokenizer.ggml.merges", KL__META_STRING, KT_ERR));
    KT_OK(kl__store_array(&tokens, s, "tokenizer.ggml.tokens", KL__META_STRING, KT_ERR));
    for (uint64_t i = 0; i < merges->n_item; i++) {
        struct kl__str pair = merges->text[i], whole = tokens->text[256 + i];
        const char *gap = memchr(pair.at, ' ', pair.bytes);
        assert_non_null(gap);
        size_t left = (size_t)(gap - pair.at);
        assert_int_equal(pair.bytes, whole.bytes + 1);
        assert_memory_equal(whole.at, pair.at, left);
        assert_memory_equal(whole.at + left, gap + 1, whole.bytes - left);
    }
}

/* A file that does not say where it comes from: bf16, and f32 or f16 where that would lose something. */
static void from_another_tool(void **state)
{
    (void)state;
    need_jansson();
    static const char *const presets[] = {"tiny", "tiny-mla", "tiny-gdn"};
    for (int i = 0; i < 3; i++) {
        kl_config c = smaller(presets[i]), back;
        kl_file_options f32 = {.type = "f32"};
        KT_OK(kl_model_init(kt_path("m.gguf"), &c, 3, &f32, KT_ERR));
        to_hf(kt_path("a"), kt_path("m.gguf"), NULL, 0, NULL);
        struct kl__store *s = open_store(kt_path("a"));
        const struct kl__stored *embed = kl__store_find(s, "model.embed_tokens.weight");
        struct kl__store *source = open_store(kt_path("m.gguf"));
        assert_int_equal(embed->type, KL__TYPE_F32); /* bf16 could not hold it */
        assert_memory_equal(embed->data, kl__store_find(source, "token_embd.weight")->data, embed->bytes);
        kl__store_close(source);
        assert_int_equal(kl__store_find(s, "model.norm.weight")->type, KL__TYPE_F32);
        KT_OK(kl__config_read(&back, s, "a", KT_ERR));
        if (i == 1) { /* without recurrent layers there is no linear_attn_config */
            back.n_kda_head = back.n_kda_v_head = c.n_kda_head;
            back.kda_k = back.kda_v = back.decay_rank = back.gate_rank = c.kda_k;
        }
        assert_memory_equal(&back, &c, sizeof c);
        kl__store_close(s);
        to_hf(kt_path("b"), kt_path("m.gguf"), "f32", 0, NULL);
        to_gguf(kt_path("n.gguf"), kt_path("b"), NULL, NULL);
        struct kl__store *x = open_store(kt_path("m.gguf")), *y = open_store(kt_path("n.gguf"));
        const struct kl__meta *merges; /* "te" is the first word of a made vocabulary */
        KT_OK(kl__store_array(&merges, y, "tokenizer.ggml.merges", KL__META_STRING, KT_ERR));
        assert_int_equal(merges->n_item, 600 - 256 - 256);
        assert_true(kl__str_same(merges->text[0], kl__str("t e")));
        assert_merges_make_tokens(y);
        const struct kl__stored *t = kl__store_find(x, "blk.3.attn_k_b.weight"),
                                *u = kl__store_find(y, "blk.3.attn_k_b.weight");
        assert_memory_equal(t->data, u->data, t->bytes);
        kl__store_close(x);
        kl__store_close(y);
        kl_tokenizer *p, *q; /* the tokenizer goes around as well */
        char before[65], after[65];
        KT_OK(kl_tokenizer_open(&p, kt_path("m.gguf"), NULL, KT_ERR));
        KT_OK(kl_tokenizer_open(&q, kt_path("n.gguf"), NULL, KT_ERR));
        kl_tokenizer_sha256(before, p);
        kl_tokenizer_sha256(after, q);
        assert_string_equal(before, after);
        assert_int_equal(kl_tokenizer_n_vocab(q), 600);
        assert_int_equal(kl_tokenizer_special(q, "<|tool_call_end|>"), 600 - 256 + 15);
        kl_tokenizer_close(p);
        kl_tokenizer_close(q);
        kl_file_options bf16 = {.type = "bf16"}, f16 = {.type = "f16"};
        KT_OK(kl_model_init(kt_path("m.gguf"), &c, 3, &bf16, KT_ERR));
        to_hf(kt_path("c"), kt_path("m.gguf"), NULL, 0, NULL);
        KT_OK(kl_model_init(kt_path("m.gguf"), &c, 3, &f32, KT_ERR));
        to_hf(kt_path("d"), kt_path("m.gguf"), f16.type, 0, NULL);
        x = open_store(kt_path("c")), y = open_store(kt_path("d"));
        assert_int_equal(kl__store_find(x, "model.embed_tokens.weight")->type, KL__TYPE_BF16);
        assert_int_equal(kl__store_find(y, "model.embed_tokens.weight")->type, KL__TYPE_F16);
        kl__store_close(x);
        kl__store_close(y);
        KT_OK(kl_model_init(kt_path("m.gguf"), &c, 3, &f16, KT_ERR)); /* f16 stays what it is */
        to_hf(kt_path("e"), kt_path("m.gguf"), NULL, 0, NULL);
        x = open_store(kt_path("e")), y = open_store(kt_path("m.gguf"));
        embed = kl__store_find(x, "model.embed_tokens.weight");
        assert_int_equal(embed->type, KL__TYPE_F16);
        assert_memory_equal(embed->data, kl__store_find(y, "token_embd.weight")->data, embed->bytes);
        kl__store_close(x);
        kl__store_close(y);
        kt_remove_files();
    }
}

static void assert_named(const char *path, const char *name)
{
    struct kl__store *s = open_store(path);
    struct kl__str found;
    KT_OK(kl__store_string(&found, s, "general.name", KT_ERR));
    assert_true(kl__str_same(found, kl__str(name)));
    kl__store_close(s);
}

/* A folder's name is the model's, however the folder was named; what is read is not written over; a folder that cannot
 * be replaced is refused before the work, and a link leads to where it leads. */
static void places(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = smaller("tiny");
    kl_error err;
    write_hf(kt_path("a"), &c, PLAIN);
    to_gguf(kt_path("a.gguf"), kt_path("a/"), NULL, NULL);
    assert_named(kt_path("a.gguf"), "a");
    KT_ASSERT_FAILED(kl_model_to_gguf(kt_path("a/model.safetensors"), kt_path("a"), NULL, &err), KL_ERR_ARGUMENT, &err,
                     "is a file of the model to read");
    kl_file_options q8 = {.type = "q8_0"};
    KT_ASSERT_FAILED(kl_model_quantize(kt_path("a.gguf"), kt_path("a.gguf"), &q8, NULL, &err), KL_ERR_ARGUMENT, &err,
                     "is a file of the model to read");
    KT_ASSERT_FAILED(kl_model_to_gguf(kt_path("a/config.json"), kt_path("a"), NULL, &err), KL_ERR_ARGUMENT, &err,
                     "is there already and no gguf file");
    KT_ASSERT_FAILED(kl_model_quantize(kt_path("a/config.json"), kt_path("a.gguf"), &q8, NULL, &err), KL_ERR_ARGUMENT,
                     &err, "is there already and no gguf file");
    to_gguf(kt_path("a.gguf"), kt_path("a"), NULL, NULL);
    assert_int_equal(symlink("nowhere", kt_path("lost")), 0);
    KT_ASSERT_FAILED(kl_model_to_hf(kt_path("lost"), kt_path("a.gguf"), NULL, &err), KL_ERR_IO, &err, "is a link to");
    kt_make_directory("real");
    assert_int_equal(symlink("real", kt_path("link")), 0);
    to_hf(kt_path("link"), kt_path("a.gguf"), NULL, 0, NULL);
    assert_same_tensors(kt_path("a"), kt_path("real"));
    char back[4096], gguf[4096], here[4096];
    snprintf(gguf, sizeof gguf, "%s", kt_path("a.gguf"));
    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir(kt_path("a")), 0);
    to_gguf(gguf, ".", NULL, NULL);
    assert_named(gguf, "a");
    snprintf(here, sizeof here, "%s", kt_make_directory("here"));
    assert_int_equal(chdir(here), 0);
    KT_ASSERT_FAILED(kl_model_to_hf(".", gguf, NULL, &err), KL_ERR_IO, &err, "cannot be replaced");
    assert_int_equal(chdir(back), 0);
    assert_int_equal(kt_count_files(here), 0);
    kt_remove_files();
}

/* Every number and every list of a configuration goes through its own text. */
static void configurations_as_text(void **state)
{
    (void)state;
    need_jansson();
    for (int i = 0; i < 6; i++) {
        kl_config c, back;
        kl_config_preset(&c, i == 5 ? "48b-gdn" : "tiny", NULL);
        c.router_scale = 2.4460001F;
        c.rms_eps = 1e-5F;
        if (i == 1) {
            c.n_kda_v_head = 8, c.kda_v = 48, c.gate_rank = 0, c.decay_rank = 20, c.gate_act = KL_ACT_SILU;
            c.gate_bounded = true, c.gate_lower_bound = -4.7F, c.neg_eigval = true, c.conv_bias = true;
        }
        if (i == 2) {
            c.q_rank = 24, c.rope = true, c.rope_base = 50000, c.kv_norm_eps = 1e-6F, c.tied = true, c.n_conv = 0;
            c.n_group = 4, c.topk_group = 2, c.router_softmax = true, c.router_renormalise = false;
            c.router_weight_biased = true, c.gate_act = KL_ACT_NONE, c.bos = -1;
        }
        if (i == 3) {
            c.mixer[0] = KL_MIXER_MAMBA2, c.mixer[1] = KL_MIXER_MLA, c.mixer[3] = KL_MIXER_LINEAR;
            c.ffn[0] = KL_FFN_MOE, c.ffn[2] = KL_FFN_DENSE;
        }
        if (i == 4) {
            memset(c.ffn, KL_FFN_DENSE, sizeof c.ffn);
            c.n_expert = c.n_expert_used = c.n_expert_shared = c.n_ff_expert = 0;
        }
        struct kl__buffer b = {0};
        kl__config_put_json(&b, &c, KL__TYPE_F32);
        KT_OK(kl__config_of_json(&back, (struct kl__str){b.data, b.bytes}, "text", KT_ERR));
        KT_OK(kl__config_settle(&back, NULL, "text", KT_ERR));
        assert_memory_equal(&back, &c, sizeof c);
        kl__buffer_free(&b);
    }
}

/* ------------------------------------------------------------------------------------------------------ refusals -- */

static void add_tensor(const char *folder, const char *name)
{
    char path[512];
    struct kl__writer *w;
    float x[2] = {1, 2};
    snprintf(path, sizeof path, "%s/extra.safetensors", folder);
    KT_OK(kl__writer_open(&w, path, "safetensors", NULL, KT_ERR));
    KT_OK(kl__writer_tensor(w, name, KL__TYPE_F32, 1, (int64_t[]){2}, KT_ERR));
    KT_OK(kl__writer_begin(w, KT_ERR));
    KT_OK(kl__writer_append(w, 0, x, sizeof x, KT_ERR));
    KT_OK(kl__writer_finish(w, KT_ERR));
}

static void refusals(void **state)
{
    (void)state;
    need_jansson();
    kl_error err;
    kl_config c = smaller("tiny");
    kl_file_options f16 = {.type = "f16"}, q8 = {.type = "q8_0"};
    write_hf(kt_path("a"), &c, PLAIN);
    kt_make_directory("out");
    KT_ASSERT_FAILED(kl_model_to_gguf(kt_path("out/x"), kt_path("none"), NULL, &err), KL_ERR_IO, &err, "/none");
    KT_ASSERT_FAILED(kl_model_to_hf(kt_path("out/x"), kt_path("a"), NULL, &err), KL_ERR_ARGUMENT, &err, "no GGUF file");
    to_gguf(kt_path("a.gguf"), kt_path("a"), NULL, NULL);
    KT_ASSERT_FAILED(kl_model_to_gguf(kt_path("out/x"), kt_path("a.gguf"), NULL, &err), KL_ERR_ARGUMENT, &err,
                     "GGUF file already");
    KT_ASSERT_FAILED(kl_model_to_hf(kt_path("out/x"), kt_path("a.gguf"), &q8, &err), KL_ERR_ARGUMENT, &err, "'q8_0'",
                     "f32, f16 or bf16");
    KT_ASSERT_FAILED(kl_model_to_hf(kt_path("a"), kt_path("a.gguf"), NULL, &err), KL_ERR_IO, &err, "holds files");
    KT_ASSERT_FAILED(kl_model_to_hf(kt_path("a.gguf"), kt_path("a.gguf"), NULL, &err), KL_ERR_IO, &err, "no folder");
    KT_ASSERT_FAILED(kl_model_to_hf(kt_path("none/x"), kt_path("a.gguf"), NULL, &err), KL_ERR_IO, &err,
                     "cannot be created");
    /* A tensor that no parameter is would be lost; one of another shape is refused with both shapes. */
    add_tensor(kt_path("a"), "model.layers.0.extra.weight");
    rename(kt_path("a/model.safetensors"), kt_path("a/main.safetensors"));
    struct kl__store *s = open_store(kt_path("a/main.safetensors"));
    FILE *index = fopen(kt_path("a/model.safetensors.index.json"), "w");
    fputs("{\"weight_map\": {\"model.layers.0.extra.weight\": \"extra.safetensors\"", index);
    for (int64_t i = 0; i < s->n_tensor; i++)
        fprintf(index, ", \"%s\": \"main.safetensors\"", kl__shown(s->tensor[i].name).text);
    fputs("}}", index);
    fclose(index);
    kl__store_close(s);
    KT_ASSERT_FAILED(kl_model_to_gguf(kt_path("out/x"), kt_path("a"), NULL, &err), KL_ERR_UNSUPPORTED, &err,
                     "extra.safetensors", "model.layers.0.extra.weight", "no part of");
    kt_remove_files();
    kl_config wide = c;
    wide.n_ff = 160;
    write_hf(kt_path("a"), &c, PLAIN);
    write_hf(kt_path("w"), &wide, PLAIN);
    rename(kt_path("w/config.json"), kt_path("a/config.json"));
    kt_make_directory("out");
    KT_ASSERT_FAILED(kl_model_to_gguf(kt_path("out/x"), kt_path("a"), &f16, &err), KL_ERR_SHAPE, &err,
                     "mlp.gate_proj.weight", "[128][96]", "[160][96]");
    assert_int_equal(kt_count_files(kt_path("out")), 0);
    kt_remove_files();
}

/* Planned to the end, nothing written. */
static void dry_runs(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = smaller("tiny");
    kl_file_options dry = {.dry_run = true};
    write_hf(kt_path("a"), &c, PLAIN);
    to_gguf(kt_path("a.gguf"), kt_path("a"), "q8_0", NULL);
    kt_make_directory("out");
    KT_OK(kl_model_to_gguf(kt_path("out/x"), kt_path("a"), &dry, KT_ERR));
    KT_OK(kl_model_to_hf(kt_path("out/y"), kt_path("a.gguf"), &dry, KT_ERR));
    KT_OK(kl_model_init(kt_path("out/z"), &c, 1, &dry, KT_ERR));
    assert_int_equal(kt_count_files(kt_path("out")), 0);
    kt_remove_files();
}

/* Every allocation fails once: a clean refusal, nothing leaked, nothing left. */
static void memory_may_end_anywhere(void **state)
{
    (void)state;
    need_jansson();
    kl_config c = smaller("tiny");
    struct kt_heap heap;
    write_hf(kt_path("a"), &c, MIXED);
    to_gguf(kt_path("a.gguf"), kt_path("a"), NULL, NULL);
    kt_make_directory("out");
    for (int way = 0; way < 2; way++) {
        kl_status status = KL_ERR_MEMORY;
        for (int64_t at = 1; status == KL_ERR_MEMORY; at += 1 + at / 4) {
            kl_error err = {0};
            kt_heap_init(&heap, at);
            kl_file_options options = {.alloc = &heap.alloc};
            status = way ? kl_model_to_hf(kt_path("out/x"), kt_path("a.gguf"), &options, &err)
                         : kl_model_to_gguf(kt_path("out/x.gguf"), kt_path("a"), &options, &err);
            if (status != KL_OK && status != KL_ERR_MEMORY)
                fail_msg("%s", err.text);
            assert_int_equal(heap.n_out, 0);
            assert_int_equal(kt_count_files(kt_path("out")), way + (status == KL_OK));
        }
        assert_int_equal(status, KL_OK);
    }
    kt_remove_files();
}

/* What a hostile file says about its origin. */
static void lies_about_the_origin(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool fine;
    } cases[] = {
        {"model.norm.weight F32 96", true},
        {"model.norm.weight F16 8 12", true},
        {"model.norm.weight F32 1 96 1 1", true},
        {"model.norm.weight F32 1 96 1 1 1", false},
        {"model.norm.weight F32 95", false},
        {"model.norm.weight Q8_0 96", false},
        {"model.norm.weight I32 96", false},
        {"model.norm.weight F32 99999999999999999999 0", false},
        {"model.norm.weight F32 -96", false},
        {"model.nor.weight F32 96", false},
        {"model.norm.weight", false},
        {"", false},
        {"model.norm.weight F32 96x", false},
    };
    kl_config c = smaller("tiny");
    int64_t n = kl__hf_tensors(NULL, &c, KL__TYPE_BF16);
    struct kl__hf_tensor *t = calloc((size_t)n, sizeof *t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kl__writer *w;
        kl_error err = {0};
        struct kl__str line = kl__str(cases[i].line);
        struct kl__meta m = kl__meta_strings("klinear.source.tensors", &line, 1);
        KT_OK(kl__writer_open(&w, kt_path("m.gguf"), "gguf", NULL, KT_ERR));
        KT_OK(kl__writer_meta(w, &m, KT_ERR));
        KT_OK(kl__writer_begin(w, KT_ERR));
        KT_OK(kl__writer_finish(w, KT_ERR));
        struct kl__store *s = open_store(kt_path("m.gguf"));
        kl__hf_tensors(t, &c, KL__TYPE_BF16);
        kl_status status = kl__origin_apply(t, n, s, NULL, &err);
        if ((status == KL_OK) != cases[i].fine)
            fail_msg("'%s' is %s", cases[i].line, status == KL_OK ? "taken" : err.text);
        kl__store_close(s);
    }
    free(t);
    kt_remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(every_transform),
        cmocka_unit_test(from_another_tool),
        cmocka_unit_test(places),
        cmocka_unit_test(configurations_as_text),
        cmocka_unit_test(refusals),
        cmocka_unit_test(dry_runs),
        cmocka_unit_test(memory_may_end_anywhere),
        cmocka_unit_test(lies_about_the_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
