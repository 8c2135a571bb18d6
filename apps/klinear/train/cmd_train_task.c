/* klinear train task: a small model learns a task whose answers are known, which shows what its mixer can remember. */
#include "../cli/amount.h"
#include "../cli/interrupt.h"
#include "../cli/machine.h"
#include "../cli/progress.h"
#include "../cli/verb.h"
#include "base/error.h"
#include "base/folder.h"

#include "klinear/kl_train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *csv, *save;
    bool nope;
    int64_t full_every, mixer, length, symbols, pairs, steps, batch, every, seed, layers, width, heads, head_size, ffn,
        taps, threads, optimiser;
    double lr, warmup, floor, decay, clip, stop;
};

/* "softmax" is multi-head latent attention with full keys, turned by RoPE. */
static const char *const mixer_name[] = {"kda", "gdn", "deltanet", "mamba2", "gla", "linear", "softmax", NULL};
static const kl_mixer mixer_of[] = {KL_MIXER_KDA, KL_MIXER_GDN,    KL_MIXER_DELTANET, KL_MIXER_MAMBA2,
                                    KL_MIXER_GLA, KL_MIXER_LINEAR, KL_MIXER_MLA};
static const char *const optimiser_name[] = {"adamw", "muon", NULL};

/* Most tokens of one pass, of which a step may have several; and steps without gradients after which a run ends, as
 * nothing changes any more. */
enum { PASS_TOKENS = 8192, LOST_STEPS = 16 };

static kl_config configure(const struct settings *s, int64_t n_vocab)
{
    int head = (int)s->head_size;
    kl_config c = {.n_layer = (int)s->layers,
                   .n_vocab = (int)n_vocab,
                   .n_embd = (int)s->width,
                   .rms_eps = 1e-5F,
                   .tied = false,
                   .n_context = s->length,
                   .n_kda_head = (int)s->heads,
                   .n_kda_v_head = (int)s->heads,
                   .kda_k = head,
                   .kda_v = head,
                   .n_conv = (int)s->taps,
                   .decay_rank = head,
                   .gate_rank = head,
                   .gate_act = KL_ACT_SIGMOID,
                   .n_head = (int)s->heads,
                   .kv_rank = (int)(s->heads * head),
                   .qk_nope = head / 2,
                   .qk_rope = head - head / 2,
                   .v_dim = head,
                   .kv_norm_eps = 1e-5F,
                   .rope = !s->nope,
                   .rope_base = 10000,
                   .n_ff = (int)s->ffn,
                   .router_scale = 1,
                   .n_group = 1,
                   .topk_group = 1,
                   .bos = -1,
                   .eos = -1,
                   .pad = -1};
    for (int i = 0; i < c.n_layer; i++) {
        bool full = s->full_every && (i + 1) % s->full_every == 0;
        c.mixer[i] = full ? KL_MIXER_MLA : (uint8_t)mixer_of[s->mixer];
        c.ffn[i] = KL_FFN_DENSE;
    }
    return c;
}

/* ------------------------------------------------------------------------------------------------------ the work -- */

struct work {
    const struct settings *s;
    kl_task task;
    kl_pool *pool;
    kl_backend *be;
    kl_trainer *trainer;
    int64_t pass_seqs;      /* of one pass */
    int32_t *token, *label; /* [batch][length] */
    int64_t *cu;            /* [pass_seqs + 1] */
    FILE *csv;
    double started;
    int64_t n_lost; /* steps up to now whose gradients were not finite */
};

/* What has come together since the last row. */
struct window {
    kl_loss loss;
    double norm;
    int64_t n_step, n_skipped;
};

static kl_status fail_file(const char *path, kl_error *err)
{
    snprintf(err->text, sizeof err->text, "%s cannot be written: %s", path, strerror(errno));
    return err->status = KL_ERR_IO;
}

/* The model is all that is left of a run: that its folder can be made is found out before, not after. */
static kl_status check_save(const char *path, kl_error *err)
{
    struct kl__folder *folder;
    kl_status status = kl__folder_open(&folder, path, NULL, err);
    if (status == KL_OK)
        kl__folder_abandon(folder);
    return status;
}

static kl_status open_work(struct work *w, kl_error *err)
{
    const struct settings *s = w->s;
    int64_t n_vocab = 0;
    kl_status status = kl_task_vocab(&n_vocab, &w->task, err);
    if (status == KL_OK && s->save)
        status = check_save(s->save, err);
    if (status == KL_OK)
        status = kl_pool_open(&w->pool, (int)s->threads, NULL, err);
    if (status == KL_OK)
        status = kl_backend_open(&w->be, &(kl_backend_options){.pool = w->pool}, err);
    if (status != KL_OK)
        return status;
    w->pass_seqs = PASS_TOKENS / s->length > 1 ? PASS_TOKENS / s->length : 1;
    w->pass_seqs = w->pass_seqs < s->batch ? w->pass_seqs : s->batch;
    kl_config c = configure(s, n_vocab);
    status = kl_trainer_open(&w->trainer,
                             &(kl_trainer_options){.config = &c,
                                                   .backend = w->be,
                                                   .max_tokens = w->pass_seqs * s->length,
                                                   .max_seqs = w->pass_seqs,
                                                   .optimiser = (kl_optimiser)s->optimiser},
                             err);
    size_t n = (size_t)(s->batch * s->length);
    w->token = malloc(n * sizeof *w->token);
    w->label = malloc(n * sizeof *w->label);
    w->cu = malloc((size_t)(w->pass_seqs + 1) * sizeof *w->cu);
    if (status == KL_OK && (!w->token || !w->label || !w->cu)) {
        snprintf(err->text, sizeof err->text, "no memory for %zu tokens", n);
        status = err->status = KL_ERR_MEMORY;
    }
    if (status == KL_OK && s->csv && !(w->csv = strcmp(s->csv, "-") == 0 ? stdout : fopen(s->csv, "w")))
        status = fail_file(s->csv, err);
    if (status == KL_OK)
        kl_trainer_init(w->trainer, (uint64_t)s->seed);
    return status;
}

static void close_work(struct work *w)
{
    if (w->csv && w->csv != stdout)
        fclose(w->csv);
    free(w->token);
    free(w->label);
    free(w->cu);
    kl_trainer_close(w->trainer);
    kl_backend_close(w->be);
    kl_pool_close(w->pool);
}

/* Fresh sequences for step `step`; *n_label of them are scored. */
static kl_status draw(struct work *w, int64_t step, int64_t *n_label, kl_error *err)
{
    const struct settings *s = w->s;
    *n_label = 0;
    for (int64_t i = 0; i < s->batch; i++) {
        int32_t *label = w->label + i * s->length;
        kl_status status =
            kl_task_sequence(&w->task, (uint64_t)(step * s->batch + i), w->token + i * s->length, label, err);
        if (status != KL_OK)
            return status;
        for (int64_t t = 0; t < s->length; t++)
            *n_label += label[t] >= 0;
    }
    return KL_OK;
}

static kl_status run_passes(struct work *w, int64_t n_label, kl_loss *sum, kl_error *err)
{
    const struct settings *s = w->s;
    for (int64_t first = 0; first < s->batch; first += w->pass_seqs) {
        int64_t n = s->batch - first < w->pass_seqs ? s->batch - first : w->pass_seqs;
        for (int64_t i = 0; i <= n; i++)
            w->cu[i] = i * s->length;
        kl_loss loss;
        kl_batch b = {.token = w->token + first * s->length,
                      .label = w->label + first * s->length,
                      .n_token = n * s->length,
                      .cu_seqlens = w->cu,
                      .n_seq = n,
                      .weight = n_label ? 1 / (float)n_label : 1,
                      .count_right = true};
        kl_status status = kl_trainer_backward(w->trainer, &b, &loss, err);
        if (status != KL_OK)
            return status;
        sum->sum += loss.sum;
        sum->n_label += loss.n_label;
        sum->n_right += loss.n_right;
    }
    return KL_OK;
}

static kl_status run_step(struct work *w, int64_t step, struct window *window, kl_error *err)
{
    const struct settings *s = w->s;
    const kl_schedule schedule = {
        KL_SCHEDULE_COSINE, s->lr, s->floor, s->steps, (int64_t)(s->warmup * (double)s->steps), 0};
    int64_t n_label;
    kl_loss loss = {0};
    kl_step_report report;
    kl_status status = draw(w, step, &n_label, err);
    if (status == KL_OK)
        status = run_passes(w, n_label, &loss, err);
    if (status != KL_OK)
        return status;
    kl_step_options o = {.lr = (float)kl_schedule_rate(&schedule, step),
                         .weight_decay = (float)s->decay,
                         .clip = (float)s->clip,
                         .loss = n_label ? loss.sum / (double)n_label : 0};
    status = kl_trainer_step(w->trainer, &o, &report, err);
    if (status != KL_OK)
        return status;
    window->loss.sum += loss.sum;
    window->loss.n_label += loss.n_label;
    window->loss.n_right += loss.n_right;
    window->norm += report.gradient_norm;
    window->n_skipped += report.skipped;
    window->n_step++;
    w->n_lost = isfinite(o.loss) && isfinite(report.gradient_norm) ? 0 : w->n_lost + 1;
    if (w->n_lost == LOST_STEPS)
        return kl__fail(err, KL_ERR_NUMERIC, "the gradients of the last %d steps, to step %lld, are not finite",
                        LOST_STEPS, (long long)step + 1);
    return KL_OK;
}

/* One row of what the window held. */
static kl_status write_row(struct work *w, int64_t step, const struct window *window, double *found, kl_error *err)
{
    double n = window->loss.n_label ? (double)window->loss.n_label : 1;
    double loss = window->loss.sum / n, accuracy = (double)window->loss.n_right / n;
    double seconds = ka_seconds() - w->started;
    if (w->csv) {
        fprintf(w->csv, "%lld,%.6f,%.6f,%.4g,%lld,%.1f\n", (long long)step, loss, accuracy,
                window->norm / (double)window->n_step, (long long)window->n_skipped, seconds);
        if ((fflush(w->csv) != 0 || ferror(w->csv)) && w->csv != stdout)
            return fail_file(w->s->csv, err);
    }
    if (w->csv != stdout) {
        printf("step %6lld   loss %8.4f   accuracy %6.2f %%   %s\n", (long long)step, loss, 100 * accuracy,
               ka_duration(seconds).text);
        fflush(stdout);
    }
    *found = accuracy;
    return KL_OK;
}

static kl_status train(struct work *w, kl_error *err)
{
    const struct settings *s = w->s;
    struct window window = {0};
    struct ka_progress progress;
    kl_status status = KL_OK;
    w->started = ka_seconds();
    if (w->csv)
        fputs("step,loss,accuracy,gradient_norm,skipped,seconds\n", w->csv);
    ka_catch_interrupts();
    ka_progress_begin(&progress, "Learning", "steps");
    for (int64_t step = 0; step < s->steps && status == KL_OK; step++) {
        status = run_step(w, step, &window, err);
        ka_progress_set(&progress, step + 1, s->steps);
        if (status != KL_OK || ka_interrupted() || ((step + 1) % s->every != 0 && step + 1 < s->steps)) {
            if (ka_interrupted())
                break;
            continue;
        }
        ka_progress_end(&progress);
        double accuracy = 0;
        status = write_row(w, step + 1, &window, &accuracy, err);
        if (status != KL_OK || accuracy >= s->stop)
            break;
        window = (struct window){0};
    }
    ka_progress_end(&progress);
    ka_forget_interrupt();
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    struct work w = {.s = s, .task = {.length = s->length, .n_symbol = s->symbols, .n_pair = s->pairs}};
    w.task.seed = (uint64_t)s->seed;
    int kind = 0;
    while (n_word && kind < KL_N_TASK && strcmp(words[0], kl_task_name((kl_task_kind)kind)) != 0)
        kind++;
    if (!n_word || kind == KL_N_TASK) {
        ka_complain(&ka_verb_train_task, "expected one of: palindrome, mqar, stack, needle");
        return KA_USAGE;
    }
    w.task.kind = (kl_task_kind)kind;
    kl_error err = {0};
    kl_status status = open_work(&w, &err);
    if (status == KL_OK)
        status = train(&w, &err);
    if (status == KL_OK && s->save)
        status = kl_trainer_export(w.trainer, s->save, NULL, NULL, &err);
    close_work(&w);
    return ka_conclude(&ka_verb_train_task, status, &err);
}

#define FIELD(name) offsetof(struct settings, name)
static const struct ka_option options[] = {
    {"mixer", 'm', "NAME", KA_WORD, FIELD(mixer), 0, 0, mixer_name, NULL,
     "kda (the default), gdn, deltanet, mamba2, gla, linear, softmax"},
    {"full", 0, "N", KA_NUMBER, FIELD(full_every), 0, 64, NULL, NULL,
     "every N-th layer has full attention, as softmax; 0, the default: none"},
    {"nope", 0, NULL, KA_FLAG, FIELD(nope), 0, 0, NULL, NULL, "full attention without positions"},
    {"length", 'l', "N", KA_NUMBER, FIELD(length), 8, 1 << 20, NULL, NULL, "tokens of a sequence; default: 256"},
    {"symbols", 0, "N", KA_NUMBER, FIELD(symbols), 0, 1 << 16, NULL, NULL,
     "symbols to draw from; 0, the default: 64, and for mqar\n256 keys (or twice the pairs) and as many values"},
    {"pairs", 0, "N", KA_NUMBER, FIELD(pairs), 0, 1 << 16, NULL, NULL,
     "mqar, needle: pairs of key and value; 0, the default: mqar\nlength / 8, needle 8"},
    {"steps", 0, "N", KA_NUMBER, FIELD(steps), 1, 1 << 30, NULL, NULL, "default: 2000"},
    {"batch", 0, "N", KA_NUMBER, FIELD(batch), 1, 1 << 16, NULL, NULL, "sequences of a step; default: 32"},
    {"every", 0, "N", KA_NUMBER, FIELD(every), 1, 1 << 30, NULL, NULL, "steps between two rows; default: 50"},
    {"stop", 0, "X", KA_REAL, FIELD(stop), 0, 2, NULL, NULL,
     "end when the accuracy of a row reaches this; default: 0.999"},
    {"seed", 0, "N", KA_NUMBER, FIELD(seed), 0, INT64_MAX, NULL, NULL, "of parameters and sequences; default: 1"},
    {"csv", 0, "FILE", KA_TEXT, FIELD(csv), 0, 0, NULL, NULL, "rows for machines; - is standard output"},
    {"save", 0, "DIR", KA_TEXT, FIELD(save), 0, 0, NULL, NULL, "a new folder for the model, in Hugging Face layout"},
    {"threads", 't', "N", KA_NUMBER, FIELD(threads), 0, 1024, NULL, NULL, "0, the default: one per core"},
    {"lr", 0, "X", KA_REAL, FIELD(lr), 0, 10, NULL, NULL, "highest learning rate; default: 0.001"},
    {"warmup", 0, "X", KA_REAL, FIELD(warmup), 0, 1, NULL, NULL,
     "part of the steps in which it goes up; default: 0.05"},
    {"floor", 0, "X", KA_REAL, FIELD(floor), 0, 1, NULL, NULL,
     "part of it that is left in the end, after half a cosine; default: 0.1"},
    {"decay", 0, "X", KA_REAL, FIELD(decay), 0, 10, NULL, NULL, "weight decay of matrices; default: 0.1"},
    {"clip", 0, "X", KA_REAL, FIELD(clip), 0, 1000, NULL, NULL, "longest gradient; 0: any; default: 1"},
    {"optimiser", 0, "NAME", KA_WORD, FIELD(optimiser), 0, 0, optimiser_name, NULL, "adamw (the default) or muon"},
    {"layers", 0, "N", KA_NUMBER, FIELD(layers), 1, 64, NULL, NULL, "default: 2"},
    {"width", 0, "N", KA_NUMBER, FIELD(width), 2, 8192, NULL, NULL, "of the hidden state; default: 256"},
    {"heads", 0, "N", KA_NUMBER, FIELD(heads), 1, 64, NULL, NULL, "default: 2"},
    {"head-size", 0, "N", KA_NUMBER, FIELD(head_size), 4, 256, NULL, NULL, "of keys and values; default: 128"},
    {"ffn", 0, "N", KA_NUMBER, FIELD(ffn), 1, 65536, NULL, NULL, "width of the feed-forward; default: 512"},
    {"taps", 0, "N", KA_NUMBER, FIELD(taps), 0, 16, NULL, NULL, "of the short convolutions; 0: none; default: 4"},
    {0},
};
#undef FIELD

static const struct settings defaults = {.length = 256,
                                         .steps = 2000,
                                         .batch = 32,
                                         .every = 50,
                                         .seed = 1,
                                         .layers = 2,
                                         .width = 256,
                                         .heads = 2,
                                         .head_size = 128,
                                         .ffn = 512,
                                         .taps = 4,
                                         .lr = 1e-3,
                                         .warmup = 0.05,
                                         .floor = 0.1,
                                         .decay = 0.1,
                                         .clip = 1,
                                         .stop = 0.999};

const struct ka_verb ka_verb_train_task = {
    .name = "train task",
    .summary = "let a small model learn a synthetic task",
    .usage = "palindrome|mqar|stack|needle [options]",
    .text = "Trains a small model on fresh sequences of a task whose answers are known, and prints how many of\n"
            "them it foresees.  palindrome: symbols, a separator, the same symbols backwards.  mqar: keys with\n"
            "values, then some of the keys, whose values are asked for.  stack: 64 stacks that things are put\n"
            "on and taken from.  needle: keys with values somewhere in a hay of other symbols, asked for at the\n"
            "end.  What a row shows was counted before the model had seen the sequences.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 1,
    .run = run,
};
