/* Sequences of the synthetic tasks, against what the tasks say of them. */
#include "support/kt.h"

#include "klinear/kl_train.h"

#include <string.h>

enum { LENGTH = 300 };
static int32_t token[LENGTH], label[LENGTH];

static int64_t make(kl_task k, uint64_t index)
{
    int64_t n_vocab;
    KT_OK(kl_task_vocab(&n_vocab, &k, KT_ERR));
    KT_OK(kl_task_sequence(&k, index, token, label, KT_ERR));
    for (int64_t i = 0; i < k.length; i++)
        assert_true(token[i] >= 0 && token[i] < n_vocab && label[i] < n_vocab);
    return n_vocab;
}

static int n_label(int64_t length)
{
    int n = 0;
    for (int64_t i = 0; i < length; i++)
        n += label[i] >= 0;
    return n;
}

static void palindromes(void **state)
{
    (void)state;
    for (uint64_t index = 0; index < 50; index++) {
        kl_task k = {.kind = KL_TASK_PALINDROME, .length = 8 + (int64_t)index, .seed = 3};
        int64_t n = (k.length - 1) / 2;
        assert_int_equal(make(k, index), 66);
        assert_int_equal(token[n], 64);
        for (int64_t i = 0; i < n; i++) {
            assert_int_equal(token[n + 1 + i], token[n - 1 - i]);
            assert_int_equal(label[n + i], token[n + 1 + i]);
        }
        assert_int_equal(n_label(k.length), n);
    }
}

static void recall(void **state)
{
    (void)state;
    for (uint64_t index = 0; index < 50; index++) {
        kl_task k = {.kind = KL_TASK_MQAR, .length = 100, .n_pair = 7, .seed = 5};
        int32_t value[256], n = 0;
        memset(value, -1, sizeof value);
        assert_int_equal(make(k, index), 514);
        for (int i = 0; i < 7; i++) {
            assert_true(token[2 * i] < 256 && value[token[2 * i]] < 0); /* keys are different */
            value[token[2 * i]] = token[2 * i + 1];
        }
        assert_int_equal(token[14], 512);
        for (int i = 15; i < 100; i++) {
            assert_int_equal(label[i], token[i] == 513 ? -1 : value[token[i]]);
            n += token[i] != 513;
        }
        assert_true(n == 7 && n_label(100) == 7);
    }
}

static void needles(void **state)
{
    (void)state;
    int64_t early = 0, late = 0;
    for (uint64_t index = 0; index < 50; index++) {
        kl_task k = {.kind = KL_TASK_NEEDLE, .length = 99 + (int64_t)index, .n_pair = 5, .n_symbol = 20, .seed = 7};
        int32_t value[20], n = 0, hay = (int32_t)k.length - 6;
        memset(value, -1, sizeof value);
        assert_int_equal(make(k, index), 62);
        for (int t = 0; t < hay; t++)
            if (token[t] >= 20) {
                assert_true(token[t] < 40 && value[token[t] - 20] < 0); /* keys are different */
                assert_true(token[t + 1] >= 40 && token[t + 1] < 60);
                value[token[t] - 20] = token[t + 1];
                *(t < hay / 2 ? &early : &late) += 1;
                t++;
                n++;
            }
        assert_int_equal(n, 5);
        assert_int_equal(token[hay], 60);
        for (int i = 0; i < 5; i++)
            assert_int_equal(label[hay + 1 + i], value[token[hay + 1 + i] - 20]);
        assert_int_equal(n_label(k.length), 5);
    }
    assert_true(early > 90 && late > 90);
}

static void stacks(void **state)
{
    (void)state;
    int n_pop = 0, deepest = 0;
    for (uint64_t index = 0; index < 50; index++) {
        kl_task k = {.kind = KL_TASK_STACK, .length = LENGTH - (int64_t)index % 3, .seed = 5};
        static int32_t element[64][LENGTH];
        int depth[64] = {0};
        assert_int_equal(make(k, index), 64 + 64 + 3);
        for (int64_t t = 0; t + 3 <= k.length; t += 3) {
            int32_t i = token[t + 1] - 64, x = token[t + 2];
            assert_true(i >= 0 && i < 64 && x < 64);
            assert_true(label[t] < 0 && label[t + 2] < 0);
            if (token[t] == 128) {
                element[i][depth[i]++] = x;
                assert_true(label[t + 1] < 0);
            } else {
                assert_int_equal(token[t], 129);
                assert_true(depth[i] > 0);
                assert_true(x == element[i][--depth[i]] && label[t + 1] == x);
                n_pop++;
            }
            deepest = depth[i] > deepest ? depth[i] : deepest;
        }
    }
    assert_true(n_pop > 1500 && deepest >= 3);
}

static void same_and_different(void **state)
{
    (void)state;
    for (int kind = 0; kind < KL_N_TASK; kind++) {
        kl_task k = {.kind = (kl_task_kind)kind, .length = 64, .seed = 1};
        int32_t first[64];
        make(k, 0);
        memcpy(first, token, sizeof first);
        make(k, 1);
        assert_true(memcmp(first, token, sizeof first) != 0);
        make(k, 0);
        assert_true(memcmp(first, token, sizeof first) == 0);
        k.seed = 2;
        make(k, 0);
        assert_true(memcmp(first, token, sizeof first) != 0);
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kl_task k = {.kind = KL_N_TASK, .length = 64};
    KT_ASSERT_FAILED(kl_task_sequence(&k, 0, token, label, &err), KL_ERR_ARGUMENT, &err, "kind is 4");
    k = (kl_task){.length = 7};
    KT_ASSERT_FAILED(kl_task_sequence(&k, 0, token, label, &err), KL_ERR_ARGUMENT, &err, "length is 7");
    k = (kl_task){.length = 8, .n_symbol = 1};
    KT_ASSERT_FAILED(kl_task_sequence(&k, 0, token, label, &err), KL_ERR_ARGUMENT, &err, "n_symbol is 1");
    k = (kl_task){.kind = KL_TASK_MQAR, .length = 100, .n_pair = 34};
    KT_ASSERT_FAILED(kl_task_sequence(&k, 0, token, label, &err), KL_ERR_ARGUMENT, &err, "n_pair is 34");
    assert_string_equal(kl_task_name(KL_TASK_MQAR), "mqar");
    assert_string_equal(kl_task_name(KL_N_TASK), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(palindromes),
        cmocka_unit_test(recall),
        cmocka_unit_test(needles),
        cmocka_unit_test(stacks),
        cmocka_unit_test(same_and_different),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
