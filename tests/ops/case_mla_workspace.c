/* Workspace of kl_mla: more tokens or a longer cache never need less, and from a length on it stays the same; a cache
 * that goes by in several waves gives the bits that one thread gives. */
#include "support/kt.h"

#include <string.h>

enum { MOST_TOKENS = 300 };

struct shape {
    int64_t H, DN, DR, R, DV;
};

/* Nothing is read: what is needed depends on shapes only. */
static size_t need(const kl_backend *be, struct shape s, kl_mla_form form, int64_t n_query, int64_t n_key)
{
    char *const at = (char *)((uintptr_t)1 << 40);
    const int64_t far = (int64_t)1 << 36, cu_q[] = {0, n_query}, cu_k[] = {0, n_key};
    kl_mla_args a = {.o = kl_view3(at, KL_F32, n_query, s.H, s.DV),
                     .q = kl_view3(at + far, KL_F32, n_query, s.H, s.DN + s.DR),
                     .cache = kl_view2(at + 2 * far, KL_F32, n_key, s.R + s.DR),
                     .w_uk = kl_view3(at + 3 * far, KL_F32, s.H, s.DN, s.R),
                     .w_uv = kl_view3(at + 4 * far, KL_F32, s.H, s.DV, s.R),
                     .causal = true,
                     .form = form,
                     .cu_q = cu_q,
                     .cu_k = cu_k,
                     .n_seq = 1};
    size_t bytes = kl_mla_workspace(be, &a);
    assert_true(bytes > 0);
    return bytes;
}

static const int64_t lengths[] = {1,    63,   64,   100,  500,   1000,  1023,  1024,   1025,
                                  2000, 3000, 4096, 5000, 6789,  8191,  8192,  8193,   8200,
                                  16384, 16385, 30000, 65536, 81920, 131072, 262144, 1048576, (int64_t)5 << 20};

static void never_less(const kl_backend *be, struct shape s, kl_mla_form form)
{
    enum { N = sizeof lengths / sizeof *lengths };
    size_t before[N] = {0};
    for (int64_t n_query = 1; n_query <= MOST_TOKENS; n_query += n_query < 70 ? 1 : 7) {
        size_t shorter = 0;
        for (int i = 0; i < N; i++) {
            size_t bytes = need(be, s, form, n_query, lengths[i]);
            if (bytes < before[i] || bytes < shorter || (lengths[i] > 8193 && bytes != shorter))
                fail_msg("form %d, %d heads, %d tokens, %d positions: %zu bytes, after %zu for fewer tokens and %zu "
                         "for a shorter cache",
                         (int)form, (int)s.H, (int)n_query, (int)lengths[i], bytes, before[i], shorter);
            shorter = before[i] = bytes;
        }
    }
}

static void grows_only(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {32, 128, 64, 512, 128}, {4, 32, 16, 64, 32}, {2, 16, 8, 32, 16}, {5, 7, 3, 11, 13}, {33, 64, 64, 24, 64}};
    static const int threads[] = {1, 2, 3, 8};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++)
            for (int form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++)
                never_less(kt_backend("ref", threads[t]), shapes[s], (kl_mla_form)form);
}

/* Two sequences over 22 and 3 pieces of 8192 positions: on one thread nothing is cut, on more the cache goes by in two
 * waves or more, of which the second sequence sees the first. */
static void waves_change_nothing(void **state)
{
    (void)state;
    enum { H = 2, DN = 3, DR = 2, R = 4, DV = 3, T = 3, LONG = 21 * 8192 + 100, S = LONG + 2 * 8192 + 1 };
    static const int64_t cu_q[] = {0, 2, T}, cu_k[] = {0, LONG, S};
    kt_rng r = {1};
    kl_mla_args a = {.q = kl_view3(kt_normals(&r, T * H * (DN + DR), 1), KL_F32, T, H, DN + DR),
                     .cache = kl_view2(kt_normals(&r, (int64_t)S * (R + DR), 1), KL_F32, S, R + DR),
                     .w_uk = kl_view3(kt_normals(&r, H * DN * R, 1), KL_F32, H, DN, R),
                     .w_uv = kl_view3(kt_normals(&r, H * DV * R, 1), KL_F32, H, DV, R),
                     .causal = true,
                     .form = KL_MLA_ABSORBED,
                     .cu_q = cu_q,
                     .cu_k = cu_k,
                     .n_seq = 2};
    float *want = NULL;
    for (int n_thread = 1; n_thread <= 5; n_thread++) {
        const kl_backend *be = kt_backend("ref", n_thread);
        a.o = kl_view3(kt_floats(T * H * DV), KL_F32, T, H, DV);
        a.work = kt_work(kl_mla_workspace(be, &a));
        KT_OK(kl_mla(be, &a, KT_ERR));
        if (n_thread == 1)
            want = a.o.data;
        kt_assert_same_bits("o in waves", a.o.data, want, T * H * DV * sizeof *want);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_only),
        cmocka_unit_test(waves_change_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
