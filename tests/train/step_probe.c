/* One step of training as another program can repeat it.
 *
 *     step_probe MODEL FOLDER N_SEQ LENGTH THREADS STEPS
 *
 * MODEL: a config.json, or any model, whose configuration is taken.  A fresh model (seed 1) is written to FOLDER/model,
 * N_SEQ sequences of LENGTH random tokens, the labels being the tokens that follow, to FOLDER/tokens (i32), gradients
 * of the mean loss to FOLDER/gradients (f32, one parameter after the other) with their names and numbers in
 * FOLDER/gradients.txt.  Prints the mean loss, then how long each of STEPS steps took (forward, backward, AdamW). */
#include "klinear/kl.h"
#include "klinear/kl_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static kl_error err;

static void need(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "step_probe: %s: %s\n", what, err.text);
    exit(1);
}

static FILE *made(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    need(file, path);
    return file;
}

static void closed(FILE *file)
{
    need(fclose(file) == 0, "fclose");
}

static int64_t count(kl_tensor t)
{
    int64_t n = 1;
    for (int i = 0; i < t.n_dim; i++)
        n *= t.dim[i];
    return n;
}

static void write_gradients(const kl_trainer *t, const char *folder)
{
    FILE *numbers = made(folder, "gradients"), *names = made(folder, "gradients.txt");
    for (int64_t i = 0; i < kl_trainer_n_parameter(t); i++) {
        kl_parameter p;
        kl_trainer_parameter(t, i, &p);
        size_t n = (size_t)count(p.gradient);
        need(fwrite(p.gradient.data, sizeof(float), n, numbers) == n, "gradients");
        fprintf(names, "%s %zu\n", p.name, n);
    }
    closed(numbers);
    closed(names);
}

static int64_t number(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 0) {
        fprintf(stderr, "step_probe: \"%s\" is no number\n", text);
        exit(2);
    }
    return n;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Random tokens by a linear congruential generator; n + 1 for each sequence, so that every token has a label. */
static void draw(int32_t *token, int32_t *label, int64_t *cu, int64_t n_seq, int64_t length, int64_t n_vocab)
{
    uint64_t state = 1;
    for (int64_t s = 0; s < n_seq; s++) {
        cu[s + 1] = (s + 1) * length;
        for (int64_t i = 0; i <= length; i++) {
            state = state * 6364136223846793005U + 1442695040888963407U;
            int32_t id = (int32_t)((state >> 33) % (uint64_t)n_vocab);
            if (i < length)
                token[s * length + i] = id;
            if (i > 0)
                label[s * length + i - 1] = id;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: step_probe MODEL FOLDER N_SEQ LENGTH THREADS STEPS\n");
        return 2;
    }
    const char *folder = argv[2];
    int64_t n_seq = number(argv[3]), length = number(argv[4]), n = n_seq * length;
    kl_config c;
    kl_pool *pool;
    kl_backend *be;
    kl_trainer *t;
    need(kl_config_read(&c, argv[1], NULL, &err) == KL_OK, argv[1]);
    need(kl_pool_open(&pool, (int)number(argv[5]), NULL, &err) == KL_OK, "pool");
    need(kl_backend_open(&be, &(kl_backend_options){.pool = pool}, &err) == KL_OK, "backend");
    kl_trainer_options o = {.config = &c, .backend = be, .max_tokens = n, .max_seqs = n_seq};
    need(kl_trainer_open(&t, &o, &err) == KL_OK, "trainer");
    kl_trainer_init(t, 1);

    int32_t *token = malloc((size_t)n * sizeof *token), *label = malloc((size_t)n * sizeof *label);
    int64_t *cu = calloc((size_t)n_seq + 1, sizeof *cu);
    need(token && label && cu, "memory");
    draw(token, label, cu, n_seq, length, c.n_vocab);
    FILE *tokens = made(folder, "tokens");
    need(fwrite(token, sizeof *token, (size_t)n, tokens) == (size_t)n, "tokens");
    need(fwrite(label, sizeof *label, (size_t)n, tokens) == (size_t)n, "tokens");
    closed(tokens);

    char model[4096];
    snprintf(model, sizeof model, "%s/model", folder);
    need(kl_trainer_export(t, model, NULL, "f32", &err) == KL_OK, model);
    kl_batch batch = {.token = token, .label = label, .n_token = n, .cu_seqlens = cu, .n_seq = n_seq,
                      .weight = 1 / (float)n};
    kl_loss loss;
    need(kl_trainer_backward(t, &batch, &loss, &err) == KL_OK, "backward");
    write_gradients(t, folder);
    printf("loss %.9g\n", loss.sum / (double)loss.n_label);
    kl_trainer_forget_gradients(t);

    kl_step_options step = {.lr = 1e-4F, .clip = 1};
    kl_step_report report;
    for (int64_t i = number(argv[6]); i > 0; i--) {
        double start = now();
        need(kl_trainer_backward(t, &batch, &loss, &err) == KL_OK, "backward");
        need(kl_trainer_step(t, &step, &report, &err) == KL_OK, "step");
        printf("seconds %.6f\n", now() - start);
    }
    free(token);
    free(label);
    free(cu);
    kl_trainer_close(t);
    kl_backend_close(be);
    kl_pool_close(pool);
    return 0;
}
