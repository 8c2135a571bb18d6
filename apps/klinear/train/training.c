#include "training.h"

#include "../cli/machine.h"
#include "base/error.h"
#include "base/file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------------- opening -- */

/* The geometry of a file or a preset, with the vocabulary of the tokenizer. */
static kl_status configure(struct ka_training *t, kl_error *err)
{
    const char *model = t->r->model;
    struct stat info;
    KL_TRY(stat(model, &info) == 0 ? kl_config_read(&t->c, model, NULL, err) : kl_config_preset(&t->c, model, err));
    t->c.n_vocab = kl_tokenizer_n_vocab(t->tokenizer);
    t->c.bos = kl_tokenizer_special(t->tokenizer, "[BOS]");
    t->c.eos = kl_tokenizer_special(t->tokenizer, "[EOS]");
    t->c.pad = kl_tokenizer_special(t->tokenizer, "[PAD]");
    t->c.n_context = t->r->length;
    return KL_OK;
}

static kl_status open_stream(kl_data **data, const struct ka_training *t, const kl_source *source, int n, kl_error *err)
{
    return kl_data_open(data,
                        &(kl_data_options){.source = source,
                                           .n_source = n,
                                           .n_vocab = t->c.n_vocab,
                                           .row = t->r->length,
                                           .seed = (uint64_t)t->r->seed},
                        err);
}

/* "FILE" or "FILE WEIGHT". */
static kl_status open_data(struct ka_training *t, kl_error *err)
{
    const struct ka_texts *texts = &t->r->data;
    kl_source source[KL_MAX_SOURCES];
    char path[KL_MAX_SOURCES][KA_PATH];
    if (texts->n > KL_MAX_SOURCES)
        return kl__fail(err, KL_ERR_ARGUMENT, "data is given %d times, expected at most %d", texts->n, KL_MAX_SOURCES);
    for (int i = 0; i < texts->n; i++) {
        const char *space = strrchr(texts->at[i], ' ');
        source[i].weight = 1;
        bool weighed = space && ka_read_real(space + 1, &source[i].weight);
        int n = weighed ? (int)(space - texts->at[i]) : (int)strlen(texts->at[i]);
        while (n > 0 && texts->at[i][n - 1] == ' ')
            n--;
        snprintf(path[i], sizeof path[i], "%.*s", n, texts->at[i]);
        source[i].path = path[i];
    }
    KL_TRY(open_stream(&t->data, t, source, texts->n, err));
    const kl_source held = {t->r->valid, 1};
    return t->r->valid ? open_stream(&t->valid, t, &held, 1, err) : KL_OK;
}

/* What is wanted in the end is looked at in the beginning: the files of the tokenizer are copied to the models. */
static kl_status check_tokenizer(const char *folder, kl_error *err)
{
    char path[KA_PATH];
    KL_TRY(ka_path(path, folder, "tiktoken.model", err));
    if (access(path, R_OK) == 0)
        return KL_OK;
    return kl__fail(err, KL_ERR_IO, "tokenizer: %s cannot be read: %s; a folder is expected", path, strerror(errno));
}

/* A file is made of nothing: its type is what is looked at first. */
static kl_status check_type(const char *type, kl_error *err)
{
    kl_error found = {0};
    if (kl_model_to_gguf("", "", &(kl_file_options){.type = type}, &found) == KL_ERR_ARGUMENT)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s", found.text);
    return KL_OK;
}

kl_status ka_training_open(struct ka_training *t, const struct ka_recipe *r, kl_error *err)
{
    static uint8_t all[KL_MAX_LAYERS];
    memset(all, 1, sizeof all);
    *t = (struct ka_training){.r = r, .best = INFINITY};
    KL_TRY(check_type(r->type, err));
    KL_TRY(check_tokenizer(r->tokenizer, err));
    KL_TRY(kl_tokenizer_open(&t->tokenizer, r->tokenizer, NULL, err));
    KL_TRY(configure(t, err));
    KL_TRY(kl_pool_open(&t->pool, (int)r->threads, NULL, err));
    KL_TRY(kl_backend_open(&t->backend, &(kl_backend_options){.pool = t->pool}, err));
    KL_TRY(open_data(t, err));
    t->flops = kl_config_train_flops(&t->c, r->length);
    t->options = (kl_trainer_options){.config = &t->c,
                                      .backend = t->backend,
                                      .max_tokens = r->pass,
                                      .max_seqs = r->pass,
                                      .recompute = r->recompute ? all : NULL,
                                      .optimiser = (kl_optimiser)r->optimiser};
    return KL_OK;
}

void ka_training_close(struct ka_training *t)
{
    ka_runlog_close(&t->log);
    free(t->token);
    free(t->label);
    free(t->cu);
    kl_trainer_close(t->trainer);
    kl_data_close(t->data);
    kl_data_close(t->valid);
    kl_backend_close(t->backend);
    kl_pool_close(t->pool);
    kl_tokenizer_close(t->tokenizer);
}

/* --------------------------------------------------------------------------------------------------- checkpoints -- */

/* What a checkpoint holds besides the trainer's own; older ones end before `order`, or before `seed`. */
struct place {
    kl_data_place data;
    int64_t step;
    double best, seconds;
    int64_t seed, length;
    uint64_t order; /* of the data */
};

static kl_status save_as(const struct ka_training *t, const char *path, kl_error *err)
{
    const struct place place = {.data = kl_data_place_of(t->data),
                                .step = t->step,
                                .best = t->best,
                                .seconds = t->seconds + ka_seconds() - t->started,
                                .seed = t->r->seed,
                                .length = t->r->length,
                                .order = kl_data_order(t->data)};
    return kl_trainer_save(t->trainer, path, &place, sizeof place, err);
}

kl_status ka_training_save(struct ka_training *t, kl_error *err)
{
    char path[KA_PATH];
    KL_TRY(ka_checkpoint_path(path, t->r->output, t->step, err));
    KL_TRY(save_as(t, path, err));
    ka_forget_checkpoints(t->r->output, t->r->keep);
    return KL_OK;
}

kl_status ka_training_save_best(struct ka_training *t, kl_error *err)
{
    char path[KA_PATH];
    KL_TRY(ka_best_path(path, t->r->output, err));
    return save_as(t, path, err);
}

/* A place means something in the order of data that it was found in.  n: bytes of it that the file has. */
static kl_status check_order(const struct ka_training *t, const char *path, const struct place *p, size_t n,
                             kl_error *err)
{
    const struct ka_recipe *r = t->r;
    if (n > offsetof(struct place, seed) && (p->seed != r->seed || p->length != r->length))
        return kl__fail(err, KL_ERR_ARGUMENT,
                        "%s: is of a run with seed %lld and length %lld, the recipe has %lld and %lld", path,
                        (long long)p->seed, (long long)p->length, (long long)r->seed, (long long)r->length);
    if (n > offsetof(struct place, order) && p->order != kl_data_order(t->data))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: is of a run with other data, or with its files in another order",
                        path);
    return KL_OK;
}

static kl_status load(struct ka_training *t, const char *path, kl_error *err)
{
    struct place place;
    size_t n = 0;
    KL_TRY(kl_trainer_load(t->trainer, path, &place, sizeof place, &n, err));
    if (n != sizeof place && n != offsetof(struct place, order) && n != offsetof(struct place, seed))
        return kl__fail(err, KL_ERR_FORMAT, "%s: was not written by klinear train", path);
    KL_TRY(check_order(t, path, &place, n, err));
    KL_TRY(kl_data_go(t->data, &place.data, err));
    t->step = place.step;
    t->best = place.best;
    t->seconds = place.seconds;
    return KL_OK;
}

kl_status ka_training_begin_best(struct ka_training *t, kl_error *err)
{
    char path[KA_PATH];
    kl_trainer_options small = t->options; /* it will not train */
    small.max_tokens = small.max_seqs = 1;
    KL_TRY(ka_best_path(path, t->r->output, err));
    KL_TRY(kl_trainer_open(&t->trainer, &small, err));
    return load(t, path, err);
}

static kl_status load_step(struct ka_training *t, int64_t step, kl_error *err)
{
    char path[KA_PATH];
    KL_TRY(ka_checkpoint_path(path, t->r->output, step, err));
    KL_TRY(load(t, path, err));
    if (t->step != step)
        return kl__fail(err, KL_ERR_FORMAT, "%s: is of step %lld", path, (long long)t->step);
    if (step > t->r->steps)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s has done %lld steps already, and the recipe has steps = %lld",
                        t->r->output, (long long)step, (long long)t->r->steps);
    return KL_OK;
}

/* The last checkpoint that is whole; those that are not are named and passed over. */
static kl_status resume(struct ka_training *t, kl_error *err)
{
    bool damaged = false;
    for (int64_t step = INT64_MAX; (step = ka_last_checkpoint(t->r->output, step)) >= 0;) {
        kl_status status = load_step(t, step, err);
        if (status == KL_OK) {
            fprintf(stderr, "going on after step %lld\n", (long long)step);
            return KL_OK;
        }
        if (status != KL_ERR_FORMAT)
            return status;
        fprintf(stderr, "%s\n", err->text);
        damaged = true;
    }
    if (damaged)
        return kl__fail(err, KL_ERR_FORMAT, "%s: none of its checkpoints can be read; to begin anew, remove them",
                        t->r->output);
    return KL_OK;
}

static kl_status make_folder(const char *path, kl_error *err)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return KL_OK;
    return kl__fail(err, KL_ERR_IO, "%s cannot be made: %s", path, strerror(errno));
}

static double measure_ceiling(const struct ka_training *t)
{
    struct ka_ceilings set = {0};
    int i = ka_want_ceiling(&set, KA_FMA_F32, kl_backend_isa(t->backend), t->pool, 0);
    for (int k = 0; k < 3; k++)
        ka_sample_ceilings(&set, 0.05);
    double value = ka_ceiling_value(&set, i);
    ka_free_ceilings(&set);
    return value;
}

static kl_status write_whole(const char *path, const char *text, size_t bytes, kl_error *err)
{
    struct kl__out *out;
    KL_TRY(kl__out_open(&out, path, NULL, err));
    kl_status status = kl__out_write(out, 0, text, bytes, err);
    if (status == KL_OK)
        return kl__out_commit(out, bytes, err);
    kl__out_abandon(out);
    return status;
}

/* Not over the very file that somebody wrote, remarks and all, and started this run with. */
static kl_status write_recipe(const struct ka_training *t, kl_error *err)
{
    char path[KA_PATH], *text = NULL;
    size_t bytes = 0;
    struct stat there, given;
    KL_TRY(ka_path(path, t->r->output, "recipe", err));
    if (stat(path, &there) == 0 && stat(t->r->file, &given) == 0 && there.st_dev == given.st_dev &&
        there.st_ino == given.st_ino)
        return KL_OK;
    FILE *out = open_memstream(&text, &bytes);
    if (out)
        ka_recipe_print(out, t->r);
    kl_status status = out && fclose(out) == 0 ? write_whole(path, text, bytes, err)
                                               : kl__fail(err, KL_ERR_MEMORY, "no memory for a recipe");
    free(text);
    return status;
}

kl_status ka_training_begin(struct ka_training *t, kl_error *err)
{
    size_t n = (size_t)t->r->pass;
    KL_TRY(make_folder(t->r->output, err));
    KL_TRY(kl_trainer_open(&t->trainer, &t->options, err));
    t->token = malloc(n * sizeof *t->token);
    t->label = malloc(n * sizeof *t->label);
    t->cu = malloc((n + 1) * sizeof *t->cu);
    if (!t->token || !t->label || !t->cu)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu tokens", n);
    kl_trainer_init(t->trainer, (uint64_t)t->r->seed);
    KL_TRY(resume(t, err));
    KL_TRY(write_recipe(t, err));
    KL_TRY(ka_runlog_open(&t->log, t->r->output, t->step, err));
    KL_TRY(ka_training_cut_samples(t, err));
    t->ceiling = measure_ceiling(t);
    t->first = t->step;
    t->started = ka_seconds();
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------- judging -- */

/* Bytes of text that the labels stand for. */
static int64_t bytes_of(const struct ka_training *t, const int32_t *label, int64_t n)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < n; i++)
        if (!kl_tokenizer_is_special(t->tokenizer, label[i]))
            bytes += (int64_t)kl_tokenizer_text(t->tokenizer, label[i]).bytes;
    return bytes;
}

kl_status ka_training_judge(struct ka_training *t, double *loss, double *bits, kl_error *err)
{
    kl_data_place beginning = {0};
    kl_loss sum = {0}, part;
    int64_t n_byte = 0, rows = t->r->pass / t->r->length;
    *loss = *bits = NAN;
    if (!t->valid)
        return KL_OK;
    KL_TRY(kl_data_go(t->valid, &beginning, err));
    for (int64_t left = t->r->valid_rows; left > 0; left -= rows) {
        kl_batch b = {.token = t->token, .label = t->label, .cu_seqlens = t->cu};
        int64_t n = left < rows ? left : rows;
        b.n_token = n * t->r->length;
        kl_data_next(t->valid, n, t->token, t->label, t->cu, &b.n_seq);
        KL_TRY(kl_trainer_loss(t->trainer, &b, &part, err));
        sum.sum += part.sum;
        sum.n_label += part.n_label;
        n_byte += bytes_of(t, t->label, b.n_token);
    }
    *loss = sum.sum / (double)sum.n_label;
    *bits = n_byte ? sum.sum / log(2) / (double)n_byte : NAN;
    return KL_OK;
}
