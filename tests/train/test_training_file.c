/* Trainings in files: going on to the bit, and files that are not what they should be. */
#include "support/kt_file.h"
#include "support/train_case.h"

#include "train/trainer.h"

#include <string.h>

static kl_trainer *open_trainer(int model, kl_optimiser optimiser)
{
    kl_config c = tc_config(model);
    kl_trainer *t = NULL;
    kl_trainer_options o = {.config = &c,
                            .backend = kt_backend(tc_level(), 1),
                            .max_tokens = TC_MOST_TOKENS,
                            .max_seqs = TC_MOST_SEQS,
                            .optimiser = optimiser};
    KT_OK(kl_trainer_open(&t, &o, KT_ERR));
    kl_trainer_init(t, 1);
    return t;
}

/* Steps first .. end - 1 on batches that depend on the number of the step; returns the last loss. */
static double steps(kl_trainer *t, int first, int end)
{
    kl_loss loss = {0};
    for (int i = first; i < end; i++) {
        kt_rng r = {(uint64_t)i};
        struct tc_batch b;
        kl_step_report report;
        tc_batch(&b, kl_trainer_config(t), (const int64_t[]){30, 20, -1}, &r);
        b.batch.weight = 1.0F / 40;
        KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
        KT_OK(kl_trainer_step(
            t, &(kl_step_options){.lr = 0.01F, .clip = 1, .balance = 0.01F, .outlier = 4, .loss = loss.sum / 40},
            &report, KT_ERR));
    }
    return loss.sum;
}

static void goes_on_to_the_bit(void **state)
{
    (void)state;
    for (int muon = 0; muon < 2; muon++) {
        kl_trainer *whole = open_trainer(muon ? 7 : 0, muon ? KL_OPTIMISER_MUON : KL_OPTIMISER_ADAMW);
        kl_trainer *part = open_trainer(muon ? 7 : 0, muon ? KL_OPTIMISER_MUON : KL_OPTIMISER_ADAMW);
        double want = steps(whole, 0, 50);
        const char *path = kt_path("training"), mine[] = "where I was", *big = "much longer than that was";
        steps(part, 0, 40);
        KT_OK(kl_trainer_save(part, path, mine, sizeof mine, KT_ERR));
        kl_trainer_close(part);
        part = open_trainer(muon ? 7 : 0, muon ? KL_OPTIMISER_MUON : KL_OPTIMISER_ADAMW);
        kl_trainer_init(part, 99);
        char got[64];
        size_t n;
        KT_OK(kl_trainer_load(part, path, got, sizeof got, &n, KT_ERR));
        assert_true(n == sizeof mine && strcmp(got, mine) == 0 && kl_trainer_n_step(part) == 40);
        assert_true(steps(part, 40, 50) == want);
        kt_assert_same_bits("parameters and moments", part->arena[0], whole->arena[0],
                            KL__N_ARENA * (size_t)whole->layout.n * sizeof(float));
        KT_OK(kl_trainer_save(part, path, big, strlen(big), KT_ERR)); /* in the place of the old one */
        KT_OK(kl_trainer_load(whole, path, got, sizeof got, &n, KT_ERR));
        assert_true(n == strlen(big) && memcmp(got, big, n) == 0);
        kl_trainer_close(whole);
        kl_trainer_close(part);
    }
}

static void damaged(void **state)
{
    (void)state;
    kl_error err;
    kl_trainer *t = open_trainer(3, KL_OPTIMISER_ADAMW), *other = open_trainer(2, KL_OPTIMISER_ADAMW);
    kl_trainer *muon = open_trainer(3, KL_OPTIMISER_MUON);
    steps(t, 0, 2);
    const char *path = kt_path("training");
    KT_OK(kl_trainer_save(t, path, "abc", 3, KT_ERR));
    size_t n, got;
    char extra[3];
    unsigned char *file = kt_read_file(path, &n);
    kl_trainer_init(t, 5);
    float *before = kt_copy(t->arena[0], KL__N_ARENA * t->layout.n);
    KT_ASSERT_FAILED(kl_trainer_load(other, path, extra, 3, &got, &err), KL_ERR_FORMAT, &err, "training",
                     "other parameters");
    kl_config c = tc_config(3);
    c.rms_eps *= 2; /* the same parameters */
    kl_trainer *bent = NULL;
    KT_OK(kl_trainer_open(
        &bent, &(kl_trainer_options){.config = &c, .backend = kt_backend(tc_level(), 1), .max_tokens = 8}, KT_ERR));
    KT_ASSERT_FAILED(kl_trainer_load(bent, path, extra, 3, &got, &err), KL_ERR_FORMAT, &err, "training",
                     "another configuration");
    kl_trainer_close(bent);
    KT_ASSERT_FAILED(kl_trainer_load(muon, path, extra, 3, &got, &err), KL_ERR_FORMAT, &err, "other optimiser");
    KT_ASSERT_FAILED(kl_trainer_load(t, path, extra, 2, &got, &err), KL_ERR_FORMAT, &err, "3 bytes", "at most 2");
    KT_ASSERT_FAILED(kl_trainer_load(t, kt_path("nothing"), extra, 3, &got, &err), KL_ERR_IO, &err, "nothing");
    static const size_t cut[] = {0, 5, 127, 128, 131, 1000};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        kt_write_file("short", file, cut[i]);
        assert_int_equal(kl_trainer_load(t, kt_path("short"), extra, 3, &got, &err), KL_ERR_FORMAT);
    }
    kt_write_file("short", file, n - 1);
    KT_ASSERT_FAILED(kl_trainer_load(t, kt_path("short"), extra, 3, &got, &err), KL_ERR_FORMAT, &err, "bytes");
    kt_rng r = {1};
    for (int i = 0; i < 200; i++) { /* any bit of the header, and bits all over the rest */
        size_t at = i < 128 ? (size_t)i : (size_t)kt_below(&r, (int64_t)n);
        file[at] ^= (unsigned char)(1 << kt_below(&r, 8));
        kt_write_file("flipped", file, n);
        assert_int_equal(kl_trainer_load(t, kt_path("flipped"), extra, 3, &got, &err), KL_ERR_FORMAT);
        kt_assert_same_bits("the trainer", t->arena[0], before, KL__N_ARENA * (size_t)t->layout.n * sizeof(float));
        memcpy(file, kt_read_file(path, &n), n);
    }
    KT_ASSERT_FAILED(kl_trainer_save(t, "/dev/full/training", NULL, 0, &err), KL_ERR_IO, &err, "training");
    kl_trainer_close(t);
    kl_trainer_close(other);
    kl_trainer_close(muon);
    kt_free_all();
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
        cmocka_unit_test_teardown(goes_on_to_the_bit, clean_up),
        cmocka_unit_test_teardown(damaged, clean_up),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
