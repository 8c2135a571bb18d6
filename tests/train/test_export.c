/* Models that training writes: opened, they are the trainer's; also by way of GGUF. */
#include "klinear/kl.h"
#include "support/kt_file.h"
#include "support/train_case.h"

#include "model/model.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 50 };

static double loss_of_model(const char *path, const kl_backend *be, const int32_t *token, const int32_t *label)
{
    kl_model *m;
    kl_engine *e;
    kl_session *s;
    KT_OK(kl_model_open(&m, path, &(kl_model_options){.backend = be}, KT_ERR));
    KT_OK(kl_engine_open(&e, m, &(kl_engine_options){.cache_type = KL_CACHE_F32}, KT_ERR));
    KT_OK(kl_session_open(&s, e, KT_ERR));
    int n_vocab = kl_model_config(m)->n_vocab;
    float *logits = kt_floats(n_vocab);
    double loss = 0;
    for (int i = 0; i < N; i++) {
        KT_OK(kl_prefill(s, token + i, 1, logits, NULL, NULL, KT_ERR));
        double sum = 0;
        for (int j = 0; j < n_vocab; j++)
            sum += exp(logits[j]);
        loss += label[i] < 0 ? 0 : log(sum) - logits[label[i]];
    }
    kl_session_close(s);
    kl_engine_close(e);
    kl_model_close(m);
    return loss;
}

static void models_are_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < TC_N_MODEL; i++) {
        kt_rng r = {(uint64_t)i + 3};
        kl_config c = tc_config(i);
        const kl_backend *be = kt_backend(tc_level(), 1);
        kl_trainer *t = tc_trainer(&c, be, NULL, &r);
        struct tc_batch b;
        kl_loss loss;
        char folder[512], gguf[512], name[32];
        tc_batch(&b, &c, (const int64_t[]){N, -1}, &r);
        KT_OK(kl_trainer_loss(t, &b.batch, &loss, KT_ERR));
        snprintf(name, sizeof name, "model-%d", i);
        snprintf(folder, sizeof folder, "%s", kt_path(name));
        snprintf(gguf, sizeof gguf, "%s", kt_path("model.gguf"));
        KT_OK(kl_trainer_export(t, folder, NULL, NULL, KT_ERR));
        double want = loss.sum, hf = loss_of_model(folder, be, b.token, b.label);
        if (!(fabs(hf - want) < 2e-5 * want))
            fail_msg("%s: the folder has loss %g, expected %g", tc_name(i), hf, want);
        KT_OK(kl_model_to_gguf(gguf, folder, NULL, KT_ERR));
        double other = loss_of_model(gguf, be, b.token, b.label);
        if (!(fabs(other - want) < 2e-5 * want))
            fail_msg("%s: the GGUF file has loss %g, expected %g", tc_name(i), other, want);
        kl_trainer_close(t);
        kt_free_all();
    }
}

static void types_and_refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {3};
    kl_config c = tc_config(0);
    kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), 1), NULL, &r);
    KT_ASSERT_FAILED(kl_trainer_export(t, kt_path("m"), NULL, "q8_0", &err), KL_ERR_ARGUMENT, &err, "q8_0");
    KT_ASSERT_FAILED(kl_trainer_export(t, kt_path("m"), kt_path("none"), NULL, &err), KL_ERR_IO, &err,
                     "tiktoken.model");
    KT_OK(kl_trainer_export(t, kt_path("m"), NULL, "bf16", KT_ERR)); /* nothing was left that stands in the way */
    KT_ASSERT_FAILED(kl_trainer_export(t, kt_path("m"), NULL, NULL, &err), KL_ERR_IO, &err, "m");
    kl_trainer_close(t);
}

static int clean_up(void **state)
{
    (void)state;
    kt_remove_files();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(models_are_the_same, clean_up),
        cmocka_unit_test_teardown(types_and_refusals, clean_up),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
