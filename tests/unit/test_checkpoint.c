/* Files of transformers' own port: every part of a stack is found under its released name, at its bytes. */
#include "model/checkpoint.h"
#include "support/kt_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY(name, shape, begin, end)                                                                                 \
    "\"model.layers.7." name "\":{\"dtype\":\"BF16\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"
#define SMALL ENTRY("self_attn.dt_bias", "2,3", "0", "12") "," ENTRY("self_attn.beta_proj.weight", "2,4", "12", "28")

#define CONVOLVED                                                                                                      \
    ENTRY("self_attn.k_proj.weight", "2,1", "28", "32")                                                                \
    "," ENTRY("self_attn.v_proj.weight", "3,1", "32", "38") "," ENTRY("self_attn.conv1d.weight", "7,1,4", "38", "94")
#define EXPERTS                                                                                                        \
    ENTRY("mlp.experts.gate_up_proj", "3,16,32", "94", "3166")                                                         \
    "," ENTRY("mlp.experts.down_proj", "3,32,16", "3166", "6238")

static const char stacked[] = "{" SMALL "," CONVOLVED "," EXPERTS "}";

static const char *write_small(const char *header, size_t buffer)
{
    static struct kt_image file;
    file = (struct kt_image){0};
    kt_put_u64(&file, strlen(header));
    kt_put_text(&file, header);
    for (size_t i = 0; i < buffer; i++)
        kt_put(&file, &(unsigned char){(unsigned char)i}, 1);
    return kt_write_file("small.safetensors", file.data, file.n);
}

/* The tensor is there, `offset` bytes behind the first one, as a matrix of this shape. */
static void assert_part(const struct kl__store *s, const char *rest, size_t offset, int64_t rows, int64_t columns)
{
    char name[128];
    snprintf(name, sizeof name, "model.layers.7.%s", rest);
    const struct kl__stored *t = kl__store_find(s, name);
    assert_non_null(t);
    assert_int_equal(t->n_dim, 2);
    assert_int_equal(t->dim[0], rows);
    assert_int_equal(t->dim[1], columns);
    assert_int_equal(t->bytes, (size_t)(2 * rows * columns));
    const struct kl__stored *first = kl__store_find(s, "model.layers.7.self_attn.dt_bias");
    assert_int_equal((const char *)t->data - (const char *)first->data, offset);
}

static void takes_stacks_apart(void **state)
{
    (void)state;
    struct kl__store *s;
    KT_OK(kl__checkpoint_open(&s, write_small(stacked, 6238), NULL, KT_ERR));
    assert_int_equal(s->n_tensor, 4 + 3 + 3 * 3);
    const struct kl__stored *flat = kl__store_find(s, "model.layers.7.self_attn.dt_bias");
    assert_true(flat && flat->n_dim == 1 && flat->dim[0] == 6);
    assert_part(s, "self_attn.b_proj.weight", 12, 2, 4);
    assert_part(s, "self_attn.q_conv1d.weight", 38, 2, 4);
    assert_part(s, "self_attn.k_conv1d.weight", 38 + 16, 2, 4);
    assert_part(s, "self_attn.v_conv1d.weight", 38 + 32, 3, 4);
    assert_part(s, "block_sparse_moe.experts.0.w1.weight", 94, 8, 32);
    assert_part(s, "block_sparse_moe.experts.2.w1.weight", 94 + 2 * 1024, 8, 32);
    assert_part(s, "block_sparse_moe.experts.2.w3.weight", 94 + 2 * 1024 + 512, 8, 32);
    assert_part(s, "block_sparse_moe.experts.1.w2.weight", 3166 + 1024, 32, 16);
    assert_null(kl__store_find(s, "model.layers.7.mlp.experts.gate_up_proj"));
    kl__store_close(s);
}

static void refuses_what_cannot_be_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *header, *first, *second;
        kl_status status;
    } wrong[] = {
        {"{" ENTRY("mlp.experts.gate_up_proj", "3,5,128", "0", "3840") "}", "[3][5][128]", "[experts][2 width]",
         KL_ERR_SHAPE},
        {"{" ENTRY("mlp.experts.gate_up_proj", "1920,2", "0", "7680") "}", "[1920][2]", "[experts]", KL_ERR_SHAPE},
        {"{" ENTRY("mlp.experts.down_proj", "1920,1,1", "0", "3840") "}", "[1920][1][1]", "512", KL_ERR_SHAPE},
        {"{" ENTRY("mlp.experts.down_proj", "65536,0,0", "0", "0") "}", "[65536][0][0]", "512", KL_ERR_SHAPE},
        {"{" ENTRY("self_attn.conv1d.weight", "6,1,4", "0", "48") "}", "[6][1][4]", "k_proj", KL_ERR_SHAPE},
        {"{" ENTRY("self_attn.beta_proj.weight", "2", "0", "4") "," ENTRY("self_attn.b_proj.weight", "2", "4", "8") "}",
         "b_proj", "twice", KL_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct kl__store *s;
        kl_error err = {0};
        size_t bytes = strtoul(strrchr(wrong[i].header, ',') + 1, NULL, 10);
        KT_ASSERT_FAILED(kl__checkpoint_open(&s, write_small(wrong[i].header, bytes), NULL, &err), wrong[i].status,
                         &err, wrong[i].first, wrong[i].second);
    }
}

static void memory_that_is_not_there(void **state)
{
    (void)state;
    const char *path = write_small(stacked, 6238);
    kl_status status = KL_ERR_MEMORY;
    for (int64_t fail_at = 1; status != KL_OK; fail_at++) {
        struct kt_heap heap;
        struct kl__store *s;
        kl_error err = {0};
        kt_heap_init(&heap, fail_at);
        status = kl__checkpoint_open(&s, path, &heap.alloc, &err);
        if (status == KL_OK)
            kl__store_close(s);
        else
            KT_ASSERT_FAILED(status, KL_ERR_MEMORY, &err, "small.safetensors");
        assert_int_equal(heap.n_out, 0);
        assert_true(status == KL_OK || fail_at < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_stacks_apart),
        cmocka_unit_test(refuses_what_cannot_be_taken_apart),
        cmocka_unit_test(memory_that_is_not_there),
    };
    if (!KT_WITH_JANSSON) {
        print_message("skipped: klinear was built without jansson\n");
        return 0;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_remove_files();
    return failed;
}
