/* The steps of a run, what is seen of them, and what they will take. */
#include "../cli/amount.h"
#include "../cli/interrupt.h"
#include "../cli/machine.h"
#include "base/error.h"
#include "training.h"

#include <math.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------------------- steps -- */

static kl_schedule schedule_of(const struct ka_recipe *r)
{
    return (kl_schedule){(kl_schedule_kind)r->schedule, r->lr, r->floor, r->steps, r->warmup, r->decay};
}

static kl_status run_passes(struct ka_training *t, kl_loss *sum, kl_error *err)
{
    const struct ka_recipe *r = t->r;
    for (int64_t done = 0; done < r->batch; done += r->pass) {
        kl_batch b = {.token = t->token,
                      .label = t->label,
                      .n_token = r->pass,
                      .cu_seqlens = t->cu,
                      .weight = 1 / (float)r->batch};
        kl_loss part;
        kl_data_next(t->data, r->pass / r->length, t->token, t->label, t->cu, &b.n_seq);
        KL_TRY(kl_trainer_backward(t->trainer, &b, &part, err));
        sum->sum += part.sum;
        sum->n_label += part.n_label;
    }
    if (sum->n_label == 0)
        return kl__fail(err, KL_ERR_NUMERIC, "step %lld has no labels: there is nothing to learn", (long long)t->step);
    return KL_OK;
}

static kl_status run_step(struct ka_training *t, struct ka_row *row, kl_error *err)
{
    const struct ka_recipe *r = t->r;
    const kl_schedule schedule = schedule_of(r);
    kl_loss sum = {0};
    kl_step_report report;
    KL_TRY(run_passes(t, &sum, err));
    double loss = sum.sum / (double)sum.n_label, lr = kl_schedule_rate(&schedule, t->step);
    const kl_step_options o = {.lr = (float)lr,
                               .beta1 = (float)r->beta1,
                               .beta2 = (float)r->beta2,
                               .eps = (float)r->eps,
                               .momentum = (float)r->momentum,
                               .weight_decay = (float)r->weight_decay,
                               .clip = (float)r->clip,
                               .outlier = (float)r->outlier,
                               .loss = loss,
                               .balance = (float)r->balance};
    KL_TRY(kl_trainer_step(t->trainer, &o, &report, err));
    t->step++;
    t->n_lost = isfinite(loss) && isfinite(report.gradient_norm) ? 0 : t->n_lost + 1;
    *row = (struct ka_row){.step = t->step,
                           .tokens = t->step * r->batch,
                           .loss = loss,
                           .valid = NAN,
                           .bits = NAN,
                           .lr = lr,
                           .gradient_norm = report.gradient_norm,
                           .worst_load = report.worst_load,
                           .mean_load = report.mean_load,
                           .skipped = report.skipped,
                           .seconds = t->seconds + ka_seconds() - t->started};
    return KL_OK;
}

/* -------------------------------------------------------------------------------------------------- what is seen -- */

static void print_line(const struct ka_training *t, const struct ka_row *row, bool live)
{
    double seconds = ka_seconds() - t->started;
    double speed = (double)((t->step - t->first) * t->r->batch) / seconds;
    double left = (double)((t->r->steps - t->step) * t->r->batch) / speed;
    fprintf(stderr, "%sstep %lld of %lld   loss %.4f", live ? "\r" : "", (long long)t->step, (long long)t->r->steps,
            row->loss);
    if (!isnan(row->valid))
        fprintf(stderr, "   held back %.4f, %.3f bits a byte", row->valid, row->bits);
    fprintf(stderr, "   %s tokens/s, %.0f %% of the ceiling   %s left%s", ka_rate(speed).text,
            100e-9 * speed * t->flops / t->ceiling, ka_duration(left).text, live ? "\033[K" : "\n");
    fflush(stderr);
}

/* ------------------------------------------------------------------------------------------------------- the run -- */

static bool due(const struct ka_training *t, int64_t every)
{
    return every && (t->step % every == 0 || t->step == t->r->steps);
}

/* Looks at the held-back data, and keeps the model when it is the best so far. */
static kl_status judge(struct ka_training *t, struct ka_row *row, kl_error *err)
{
    KL_TRY(ka_training_judge(t, &row->valid, &row->bits, err));
    if (!(row->valid < t->best))
        return KL_OK;
    t->best = row->valid;
    return ka_training_save_best(t, err);
}

/* Steps without gradients after which a run ends: nothing changes any more, however long it goes on. */
enum { LOST_STEPS = 16 };

/* A checkpoint of each of them would push out those that may be good; the last step's is that of the end. */
static bool worth_saving(const struct ka_training *t)
{
    return t->n_lost == 0 || t->step == t->r->steps;
}

static kl_status lose(const struct ka_training *t, kl_error *err)
{
    return kl__fail(
        err, KL_ERR_NUMERIC,
        "the gradients of the last %lld steps, to step %lld, are not finite; checkpoints before them are in "
        "%s, and --best writes the best model",
        (long long)t->n_lost, (long long)t->step, t->r->output);
}

static kl_status one_step(struct ka_training *t, bool live, kl_error *err)
{
    struct ka_row row;
    KL_TRY(run_step(t, &row, err));
    bool look = due(t, t->r->valid_every);
    if (look)
        KL_TRY(judge(t, &row, err));
    KL_TRY(ka_runlog_put(&t->log, &row, err));
    if (t->n_lost >= LOST_STEPS)
        return lose(t, err);
    if (due(t, t->r->save_every) && worth_saving(t))
        KL_TRY(ka_training_save(t, err));
    /* A sample that is cut short, by Ctrl-C or by numbers that are not finite, is no reason to end. */
    bool speaks = due(t, t->r->sample_every) && t->n_lost == 0 && !ka_interrupted();
    kl_status sampled = speaks ? ka_training_sample(t, err) : KL_OK;
    if (sampled != KL_OK && sampled != KL_ERR_CANCELLED && sampled != KL_ERR_NUMERIC)
        return sampled;
    if (live)
        print_line(t, &row, true);
    if (live && look)
        fputc('\n', stderr);
    else if (!live && (look || t->step == t->first + 1))
        print_line(t, &row, false);
    return KL_OK;
}

kl_status ka_training_run(struct ka_training *t, int64_t stop, bool *done, kl_error *err)
{
    bool live = isatty(STDERR_FILENO);
    kl_status status = KL_OK;
    ka_catch_interrupts();
    while (t->step < t->r->steps && status == KL_OK && !ka_interrupted() && !(stop && t->step >= t->first + stop))
        status = one_step(t, live, err);
    bool interrupted = ka_interrupted();
    ka_forget_interrupt();
    if (live)
        fputc('\n', stderr);
    *done = t->step == t->r->steps;
    if (status == KL_OK && interrupted && t->step > t->first) {
        status = ka_training_save(t, err);
        if (status == KL_OK)
            fprintf(stderr, "stopped after step %lld; the same command goes on from here\n", (long long)t->step);
    }
    return status;
}

/* --------------------------------------------------------------------------------------------------- foretelling -- */

kl_status ka_training_foretell(const struct ka_training *t, kl_error *err)
{
    const struct ka_recipe *r = t->r;
    int64_t bytes;
    KL_TRY(kl_trainer_memory(&bytes, &t->options, err));
    double tokens = (double)r->steps * (double)r->batch, epoch = 0;
    for (int i = 0; i < r->data.n; i++)
        epoch += (double)kl_data_epoch_tokens(t->data, i);
    double n = (double)kl_config_n_parameter(&t->c);
    /* A sample maps the parameters once more, and has an engine of its own. */
    double samples = r->sample_every ? n * sizeof(float) + (4 << 20) : 0;
    double buffers = (double)r->pass * (2 * sizeof(int32_t) + sizeof(int64_t)), process = ka_resident_bytes();
    printf("%.2f million parameters, %.2f MFLOP a token\n", n * 1e-6, t->flops * 1e-6);
    printf("%.3g tokens in %lld steps: %.2f times the %.3g tokens that there are; %.3g operations\n", tokens,
           (long long)r->steps, tokens / epoch, epoch, tokens * t->flops);
    printf("memory: %s\n", ka_bytes((double)bytes + buffers + process + samples).text);
    return KL_OK;
}
