/* A case is a phase, a number of tokens, a depth and a batch.  Cases of one depth share sessions, which checkpoints
 * bring back to the depth after every sample. */
#include "modelbench.h"

#include "../cli/interrupt.h"
#include "../cli/progress.h"
#include "../cli/verb.h"
#include "base/error.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct ka_field ka_model_row_fields[] = {
#define FIELD(name, kind, heading, width) {#name, KA_FIELD_##kind, heading, width, offsetof(struct ka_model_row, name)},
#include "modelrows.def"
#undef FIELD
    {0},
};

enum phase {
    PREFILL,
    DECODE,
};
static const char *const phase_name[] = {"prefill", "decode"};

/* One case with all models, in the making. */
struct trial {
    enum phase phase;
    int64_t tokens, depth;
    int batch;
    int n_sample;
    double seconds[KA_MODELS][KA_SAMPLES];
    kl_expert_traffic before[KA_MODELS]; /* the first recorded sample */
};

/* One model at one depth. */
struct deep {
    struct ka_loaded *l;
    kl_session *session[KA_LIST]; /* [n_session] */
    kl_checkpoint *there;
    int n_session;
    float *logits;  /* [n_session][n_vocab] */
    int32_t *token; /* [most tokens of a case or step] */
    int64_t n_token;
};

/* -------------------------------------------------------------------------------------------------------- memory -- */

/* The kernel counts the peak anew, where it lets us. */
static void reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "5", 1) != 1)
        (void)0;
    close(fd);
}

static int64_t peak_bytes(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long long kib = 0;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %lld", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return (int64_t)kib << 10;
}

/* -------------------------------------------------------------------------------------------------------- depths -- */

static void fill_tokens(struct deep *d, int64_t n, uint64_t seed)
{
    int n_vocab = kl_model_config(d->l->model)->n_vocab;
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        d->token[i] = (int32_t)((seed >> 33) % (uint64_t)n_vocab);
    }
}

static bool go_on(void *user, int64_t done, int64_t total)
{
    struct ka_progress *p = user;
    if (p)
        ka_progress_set(p, done, total);
    return !ka_interrupted();
}

static kl_status reach_depth(struct deep *d, const struct ka_modelbench_plan *plan, int64_t depth, kl_error *err)
{
    kl_session *s = d->session[0];
    if (plan->fill)
        return depth ? kl_session_fill_random(s, depth, 1, err) : KL_OK;
    struct ka_progress p;
    ka_progress_begin(&p, "Going to the depth", "tokens");
    kl_status status = KL_OK;
    while (status == KL_OK && kl_session_length(s) < depth) {
        int64_t left = depth - kl_session_length(s), n = left < d->n_token ? left : d->n_token;
        n = n > 8192 ? 8192 : n; /* a multiple of every page */
        fill_tokens(d, n, (uint64_t)kl_session_length(s));
        status = kl_prefill(s, d->token, n, NULL, go_on, NULL, err);
        ka_progress_set(&p, kl_session_length(s), depth);
    }
    ka_progress_end(&p);
    return status;
}

static void leave_depth(struct deep *d)
{
    kl_checkpoint_drop(d->there);
    for (int i = 0; i < d->n_session; i++)
        kl_session_close(d->session[i]);
    free(d->logits);
    free(d->token);
}

/* Sessions, one for each sequence of the largest batch, all at the depth. */
static kl_status open_depth(struct deep *d, struct ka_loaded *l, const struct ka_modelbench_plan *plan, int64_t depth,
                            int most_batch, kl_error *err)
{
    int64_t n_vocab = kl_model_config(l->model)->n_vocab;
    *d = (struct deep){.l = l, .n_token = 8192};
    for (int i = 0; i < plan->prefill.n; i++)
        d->n_token = plan->prefill.at[i] > d->n_token ? plan->prefill.at[i] : d->n_token;
    d->logits = malloc((size_t)(most_batch * n_vocab) * sizeof *d->logits);
    d->token = malloc((size_t)d->n_token * sizeof *d->token);
    if (!d->logits || !d->token)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    KL_TRY(kl_session_open(&d->session[d->n_session], l->engine, err));
    d->n_session++;
    KL_TRY(reach_depth(d, plan, depth, err));
    for (; d->n_session < most_batch; d->n_session++)
        KL_TRY(kl_session_fork(&d->session[d->n_session], d->session[0], err));
    return kl_checkpoint_take(&d->there, d->session[0], err);
}

/* ------------------------------------------------------------------------------------------------------- samples -- */

static kl_status decode(struct deep *d, const struct trial *t, kl_error *err)
{
    int64_t n_vocab = kl_model_config(d->l->model)->n_vocab;
    kl_span span[KA_LIST];
    for (int64_t i = 0; i < t->tokens; i++) {
        if (ka_interrupted())
            return kl__fail(err, KL_ERR_CANCELLED, "interrupted");
        for (int b = 0; b < t->batch; b++)
            span[b] = (kl_span){.session = d->session[b],
                                .token = &d->token[(i + b) % d->n_token],
                                .n_token = 1,
                                .decode = true,
                                .want = KL_WANT_LAST,
                                .logits = d->logits + b * n_vocab};
        KL_TRY(kl_step(d->l->engine, span, t->batch, err));
        for (int b = 0; b < t->batch; b++)
            if (span[b].status != KL_OK)
                return kl__fail(err, span[b].status, "the logits are not finite");
    }
    return KL_OK;
}

static kl_status sample(struct deep *d, const struct trial *t, double *seconds, kl_error *err)
{
    for (int b = 0; b < t->batch; b++)
        KL_TRY(kl_session_resume(d->session[b], d->there, err));
    double start = ka_seconds();
    kl_status status = t->phase == DECODE ? decode(d, t, err)
                                          : kl_prefill(d->session[0], d->token, t->tokens, d->logits, go_on, NULL, err);
    *seconds = ka_seconds() - start;
    return ka_step_status(status, err);
}

/* Tokens of a sample that is not recorded.  At a great depth a few have everything read and awake, too. */
static int64_t warming_tokens(const struct trial *t)
{
    int64_t n = t->depth > 32768 ? 1 : t->phase == DECODE ? 4 : 64;
    return t->tokens < n ? t->tokens : n;
}

/* A case that takes long is more than an accident of the moment: what it has after this time is enough. */
static const double enough_seconds = 100;

static void fewer_rounds(const struct trial *t, const struct ka_modelbench_plan *plan)
{
    ka_complain(&ka_verb_bench, "%s of %lld tokens at depth %lld is timed %d times instead of %lld: it takes long",
                phase_name[t->phase], (long long)t->tokens, (long long)t->depth, t->n_sample,
                (long long)plan->measuring.reps);
}

/* Every model once, unrecorded at first: what is mapped is read, and threads are awake. */
static kl_status run_trial(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, struct deep *deep,
                           struct trial *t, kl_error *err)
{
    for (int m = 0; m < b->n_model; m++) {
        struct trial small = *t;
        small.tokens = warming_tokens(t);
        fill_tokens(&deep[m], deep[m].n_token, 7);
        double ignored;
        KL_TRY(sample(&deep[m], &small, &ignored, err));
    }
    for (int m = 0; m < b->n_model; m++)
        t->before[m] = kl_model_traffic(b->model[m].model);
    double start = ka_seconds();
    for (t->n_sample = 0; t->n_sample < plan->measuring.reps; t->n_sample++) {
        if (t->n_sample && ka_seconds() - start > enough_seconds) {
            fewer_rounds(t, plan);
            break;
        }
        for (int m = 0; m < b->n_model; m++)
            KL_TRY(sample(&deep[m], t, &t->seconds[m][t->n_sample], err));
    }
    return KL_OK;
}

/* ---------------------------------------------------------------------------------------------------------- rows -- */

/* Experts of a layer that a step of `n` tokens reads, were they chosen at random. */
static double experts_read(const kl_config *c, double n)
{
    if (!c->n_expert)
        return 0;
    return c->n_expert * (1 - pow(1 - (double)c->n_expert_used / c->n_expert, n));
}

/* What the tokens of a case read on the average, and compute. */
static void count_work(struct ka_model_row *row, const struct trial *t, const struct ka_loaded *l,
                       const struct ka_modelbench_plan *plan)
{
    const kl_config *c = kl_model_config(l->model);
    kl_token_cost k = kl_model_token_cost(l->model, (kl_cache_type)plan->choice.cache);
    double together = t->phase == DECODE ? t->batch : (double)(t->tokens < plan->step ? t->tokens : plan->step);
    double rows = (double)t->depth + (double)t->tokens / 2;
    double weights = (double)k.fixed_bytes + (double)k.expert_bytes * experts_read(c, together);
    double state = t->phase == DECODE ? (double)k.state_bytes : (double)k.state_bytes / together;
    double latents = t->phase == DECODE ? (double)k.row_bytes * rows : (double)k.row_bytes * rows / together;
    row->bytes_per_token = (int64_t)(weights / together + state + latents);
    double flops = 2 * ((double)k.fixed_parameters + (double)k.expert_parameters * c->n_expert_used) +
                   (double)k.state_flops + (double)k.row_flops * rows;
    row->gflops = flops * row->tokens_per_second * 1e-9;
    row->gbps = (double)row->bytes_per_token * row->tokens_per_second * 1e-9;
}

/* Of experts that are read on demand. */
static void count_traffic(struct ka_model_row *row, const struct trial *t, int m, const kl_model *model)
{
    kl_expert_traffic now = kl_model_traffic(model);
    double asked = (double)(now.n_asked - t->before[m].n_asked), tokens = (double)t->tokens * t->batch * t->n_sample;
    row->expert_hits = asked > 0 ? (double)(now.n_found - t->before[m].n_found) / asked : NAN;
    row->disk_bytes_per_token = (int64_t)((double)(now.read_bytes - t->before[m].read_bytes) / tokens);
}

static double tokens_of(const struct trial *t)
{
    return (double)t->tokens * t->batch;
}

static double ratio_of(const struct trial *t)
{
    double ratio[KA_SAMPLES];
    for (int i = 0; i < t->n_sample; i++)
        ratio[i] = t->seconds[0][i] / t->seconds[1][i];
    return ka_median(ratio, t->n_sample);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static kl_status add_row(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, const struct trial *t, int m,
                         int64_t peak, kl_error *err)
{
    if (b->n_row == b->room) {
        int room = 2 * b->room + 16;
        struct ka_model_row *more = realloc(b->row, (size_t)room * sizeof *more);
        if (!more)
            return kl__fail(err, KL_ERR_MEMORY, "out of memory");
        b->row = more;
        b->room = room;
    }
    double samples[KA_SAMPLES];
    memcpy(samples, t->seconds[m], sizeof samples);
    double seconds = ka_median(samples, t->n_sample);
    struct ka_loaded *l = &b->model[m];
    struct ka_model_row row = {
        .model = file_name(l->path),
        .phase = phase_name[t->phase],
        .tokens = t->tokens,
        .depth = t->depth,
        .batch = t->batch,
        .threads = kl_pool_threads(l->pool),
        .tokens_per_second = tokens_of(t) / seconds,
        .first_token_ms = t->phase == PREFILL ? 1e3 * seconds : NAN,
        .peak_bytes = peak,
        .ratio = m ? ratio_of(t) : NAN,
    };
    count_work(&row, t, l, plan);
    count_traffic(&row, t, m, l->model);
    double compute = ka_compute_value(&b->ceilings, kl_backend_isa(l->backend), l->pool, KL_BF16);
    double read = ka_ceiling_value(&b->ceilings, b->read_ceiling[m]);
    row.fraction_of_ceiling = fmax(row.gflops / compute, row.gbps / read);
    b->row[b->n_row++] = row;
    return KL_OK;
}

/* --------------------------------------------------------------------------------------------------------- cases -- */

static void left_out(const struct trial *t, const char *why)
{
    ka_complain(&ka_verb_bench, "%s of %lld tokens at depth %lld is left out: %s", phase_name[t->phase],
                (long long)t->tokens, (long long)t->depth, why);
}

/* One more sample with the first model. */
static kl_status add_profile(struct ka_modelbench *b, struct deep *deep, const struct trial *t, kl_error *err)
{
    struct ka_profile *more = realloc(b->profile, (size_t)(b->n_profile + 1) * sizeof *more);
    if (!more)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    b->profile = more;
    struct ka_profile *p = &b->profile[b->n_profile++];
    *p = (struct ka_profile){.phase = phase_name[t->phase], .tokens = t->tokens, .depth = t->depth, .batch = t->batch};
    const struct ka_loaded *l = &b->model[0];
    p->peak_flops = 1e9 * ka_compute_value(&b->ceilings, kl_backend_isa(l->backend), l->pool, KL_BF16);
    p->peak_bytes = 1e9 * ka_ceiling_value(&b->ceilings, b->read_ceiling[0]);
    if (!ka_profile_begin(p, b->model[0].engine))
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    double seconds = 0;
    kl_status status = sample(&deep[0], t, &seconds, err);
    ka_profile_end(p, b->model[0].engine, seconds);
    return status;
}

static kl_status measure(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, struct deep *deep,
                         struct trial *t, kl_error *err)
{
    reset_peak();
    kl_status status = run_trial(b, plan, deep, t, err);
    if (status == KL_ERR_MEMORY) {
        left_out(t, err->text);
        return KL_OK;
    }
    int64_t peak = peak_bytes();
    for (int m = 0; m < b->n_model && status == KL_OK; m++)
        status = add_row(b, plan, t, m, peak, err);
    if (status == KL_OK && plan->profile)
        status = add_profile(b, deep, t, err);
    return status;
}

static kl_status measure_depth(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, struct deep *deep,
                               int64_t depth, kl_error *err)
{
    for (int i = 0; i < plan->prefill.n; i++) {
        struct trial t = {.phase = PREFILL, .tokens = plan->prefill.at[i], .depth = depth, .batch = 1};
        if (t.tokens)
            KL_TRY(measure(b, plan, deep, &t, err));
    }
    for (int i = 0; i < plan->decode.n; i++)
        for (int k = 0; k < plan->batch.n; k++) {
            struct trial t = {
                .phase = DECODE, .tokens = plan->decode.at[i], .depth = depth, .batch = (int)plan->batch.at[k]};
            if (t.tokens)
                KL_TRY(measure(b, plan, deep, &t, err));
        }
    return KL_OK;
}

static kl_status at_depth(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, int64_t depth, kl_error *err)
{
    struct deep deep[KA_MODELS] = {0};
    kl_status status = KL_OK;
    int most_batch = 1;
    for (int i = 0; i < plan->batch.n; i++)
        most_batch = (int)plan->batch.at[i] > most_batch ? (int)plan->batch.at[i] : most_batch;
    for (int m = 0; m < b->n_model && status == KL_OK; m++)
        status = open_depth(&deep[m], &b->model[m], plan, depth, most_batch, err);
    if (status == KL_ERR_MEMORY) {
        ka_complain(&ka_verb_bench, "depth %lld is left out: %s", (long long)depth, err->text);
        status = KL_OK;
    } else if (status == KL_OK)
        status = measure_depth(b, plan, deep, depth, err);
    else if (status == KL_ERR_CANCELLED)
        kl__fail(err, status, "interrupted");
    for (int m = 0; m < b->n_model; m++)
        leave_depth(&deep[m]);
    return status;
}

/* A token's bytes come from the level that holds what it reads. */
static void want_ceilings(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, int m)
{
    struct ka_loaded *l = &b->model[m];
    const char *isa = kl_backend_isa(l->backend);
    const kl_config *c = kl_model_config(l->model);
    kl_token_cost k = kl_model_token_cost(l->model, (kl_cache_type)plan->choice.cache);
    size_t bytes = (size_t)(k.fixed_bytes + k.expert_bytes * c->n_expert);
    size_t least = (size_t)4096 * (size_t)kl_pool_threads(l->pool);
    size_t most = ka_level_bytes(&b->machine, KA_DRAM, kl_pool_threads(l->pool));
    for (enum ka_limit limit = KA_FMA_F32; limit <= KA_FMA_F16; limit++)
        ka_want_ceiling(&b->ceilings, limit, isa, l->pool, 0);
    b->read_ceiling[m] = ka_want_ceiling(&b->ceilings, KA_READ, isa, l->pool,
                                         bytes < least  ? least
                                         : bytes > most ? most
                                                        : bytes);
}

kl_status ka_modelbench_run(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, kl_error *err)
{
    const char *path[KA_MODELS] = {plan->choice.model, plan->other};
    *b = (struct ka_modelbench){.machine = ka_machine(plan->measuring.dram_mib)};
    for (int m = 0; m < (plan->other ? 2 : 1); m++) {
        struct ka_choice choice = plan->choice;
        choice.model = path[m];
        KL_TRY(ka_load(&b->model[m], &choice, (int)plan->step, err));
        ka_stop_when_interrupted(&b->model[m]);
        b->n_model++;
        want_ceilings(b, plan, m);
    }
    for (int round = 0; round < 3; round++)
        if (!ka_sample_ceilings(&b->ceilings, 10e-3))
            return kl__fail(err, KL_ERR_MEMORY, "no memory of %zu bytes for the ceilings", b->ceilings.memory_bytes);
    ka_rest_ceilings(&b->ceilings);
    for (int i = 0; i < plan->depth.n; i++)
        KL_TRY(at_depth(b, plan, plan->depth.at[i], err));
    return KL_OK;
}

void ka_modelbench_free(struct ka_modelbench *b)
{
    ka_free_ceilings(&b->ceilings);
    for (int m = 0; m < b->n_model; m++)
        ka_unload(&b->model[m]);
    for (int i = 0; i < b->n_profile; i++)
        ka_profile_free(&b->profile[i]);
    free(b->profile);
    free(b->row);
}
