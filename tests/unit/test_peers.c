/* Files as other engines expect them: written by a script that knows nothing of this library, opened and decoded here.
 * The script is make_kimi_gguf.py (KLINEAR_PEER_GGUF, found by CMake); it needs python3 with numpy. */
#include "support/kt_file.h"

#include "format/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const pythons[] = {"/usr/bin/python3", "python3"};

/* A python that has numpy, or NULL. */
static const char *python(void)
{
    char command[200];
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof command, "%s -c 'import numpy' >/dev/null 2>&1", pythons[i]);
        if (system(command) == 0)
            return pythons[i];
    }
    return NULL;
}

static struct kl__store *make_and_open(const char *options, const char *type)
{
    char command[2000];
    const char *path = kt_path(type);
    struct kl__store *s;
    if (!KT_PEER_GGUF[0]) {
        print_message("skipped: make_kimi_gguf.py was not found when this was configured\n");
        skip();
    }
    if (!python()) {
        print_message("skipped: no python3 with numpy\n");
        skip();
    }
    snprintf(command, sizeof command, "%s '%s' --type %s %s --out '%s' >/dev/null 2>&1", python(), KT_PEER_GGUF, type,
             options, path);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
    KT_OK(kl__store_open(&s, path, NULL, KT_ERR));
    return s;
}

static float *decoded(const struct kl__stored *t)
{
    int64_t n = kl__stored_elements(t);
    float *x = kt_floats(n);
    kl__decode(t->type, x, t->data, n);
    return x;
}

/* The same model at another precision: every tensor close to the exact one. */
static void compare(const struct kl__store *exact, const struct kl__store *other, enum kl__type type, double limit)
{
    int n_type = 0;
    assert_int_equal(other->n_tensor, exact->n_tensor);
    for (int64_t i = 0; i < other->n_tensor; i++) {
        const struct kl__stored *t = &other->tensor[i], *e = &exact->tensor[i];
        assert_true(kl__str_same(t->name, e->name) && e->type == KL__TYPE_F32 && t->n_dim == e->n_dim);
        assert_memory_equal(t->dim, e->dim, sizeof t->dim);
        double error = kt_ratio(decoded(t), decoded(e), kl__stored_elements(t));
        if (!(error <= (t->type == KL__TYPE_F32 ? 0 : limit)))
            fail_msg("%s %s: error %g", kl__shown(t->name).text, kl__type_info(t->type)->name, error);
        n_type += t->type == type;
        kt_free_all();
    }
    assert_true(n_type > 10);
}

static void check_metadata(const struct kl__store *s)
{
    struct kl__str text;
    const struct kl__meta *m;
    int64_t n;
    double eps;
    KT_OK(kl__store_string(&text, s, "general.architecture", KT_ERR));
    assert_true(kl__str_same(text, kl__str("kimi-linear")));
    KT_OK(kl__store_int(&n, s, "kimi-linear.block_count", KT_ERR));
    KT_OK(kl__store_array(&m, s, "kimi-linear.attention.head_count_kv", KL__META_I64, KT_ERR));
    assert_int_equal(m->n_item, n);
    KT_OK(kl__store_number(&eps, s, "kimi-linear.attention.layer_norm_rms_epsilon", KT_ERR));
    assert_true((float)eps == 1e-5f);
    KT_OK(kl__store_int(&n, s, "kimi-linear.vocab_size", KT_ERR));
    KT_OK(kl__store_array(&m, s, "tokenizer.ggml.tokens", KL__META_STRING, KT_ERR));
    assert_int_equal(m->n_item, n);
    struct kl__meta last = kl__meta_item(m, m->n_item - 1);
    assert_true(kl__str_same(last.s, kl__str("<|im_end|>")));
}

/* Every type, or only one. */
static void check_types(const char *options, const char *only)
{
    static const struct {
        const char *name;
        enum kl__type type;
        double limit;
    } types[] = {
        {"f16", KL__TYPE_F16, 4e-4},   {"bf16", KL__TYPE_BF16, 2e-3}, {"q8_0", KL__TYPE_Q8_0, 7e-3},
        {"q4_0", KL__TYPE_Q4_0, 0.11}, {"q4_k", KL__TYPE_Q4_K, 0.1},
    };
    struct kl__store *exact = make_and_open(options, "f32");
    check_metadata(exact);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (only && strcmp(only, types[i].name) != 0)
            continue;
        struct kl__store *s = make_and_open(options, types[i].name);
        check_metadata(s);
        compare(exact, s, types[i].type, types[i].limit);
        kl__store_close(s);
    }
    kl__store_close(exact);
    kt_remove_files();
}

static void tiny(void **state)
{
    (void)state;
    check_types("--preset tiny", NULL);
}

static void legacy(void **state)
{
    (void)state;
    check_types("--preset tiny --legacy-kv-b --seed 7", "q4_0");
}

/* Its geometry, with fewer experts and words: the whole would be a gigabyte. */
static void small(void **state)
{
    (void)state;
    check_types("--preset small --layers 4 --experts 2 --used 1 --vocab 1024", "q4_k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny),
        cmocka_unit_test(legacy),
        cmocka_unit_test(small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
