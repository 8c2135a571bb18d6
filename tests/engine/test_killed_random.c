/* Conversations in a process that is killed: they grow, fork, are edited, cancelled, batched, preempted, evicted,
 * written to the disk, found again by the next process with other budgets, in an order that is drawn; and every answer,
 * whole or cut off, is that of a process that read nothing else.  Then two faults are planted, which must be seen.
 *
 * KT_SEED=N draws another order, KT_KILLED_STEPS=N makes it longer. */
#include "engine/session_file.h"
#include "support/kt_schedule.h"
#include "support/kt_worker.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_TALK = 8, MOST_TOKENS = 450, LEAST_PAGES = 8, N_SAVED = 3, QUICK_STEPS = 60, MOST_FILES = 256 };
enum plant { HONEST, WRONG_BYTE, SHARED_PAGE };

enum event {
    grown,
    forked,
    edited,
    begun_again,
    answered,
    cancelled,
    cut_off,
    batched,
    preempted,
    reused,
    read_behind_a_checkpoint,
    guessed_right,
    evicted,
    forgotten,
    twins,
    spilled,
    files_given_up,
    exported,
    imported,
    killed,
    killed_while_spilling,
    killed_at_work,
    ended_by_itself,
    files_damaged,
    found_on_disk,
    asked_of_a_fresh_process,
    shared_the_folder,
    N_EVENT
};
static const char *const event_name[N_EVENT] = {
    [grown] = "grown",
    [forked] = "forked",
    [edited] = "edited",
    [begun_again] = "begun again",
    [answered] = "answered",
    [cancelled] = "cancelled",
    [cut_off] = "cut off",
    [batched] = "batched",
    [preempted] = "preempted",
    [reused] = "reused",
    [read_behind_a_checkpoint] = "read behind a checkpoint",
    [guessed_right] = "guessed right",
    [evicted] = "evicted",
    [forgotten] = "forgotten",
    [twins] = "twins",
    [spilled] = "spilled",
    [files_given_up] = "files given up",
    [exported] = "exported",
    [imported] = "imported",
    [killed] = "killed",
    [killed_while_spilling] = "killed while spilling",
    [killed_at_work] = "killed at work",
    [ended_by_itself] = "ended by itself",
    [files_damaged] = "files damaged",
    [found_on_disk] = "found on disk",
    [asked_of_a_fresh_process] = "asked of a fresh process",
    [shared_the_folder] = "shared the folder",

};

struct talk {
    int32_t token[MOST_TOKENS];
    int64_t n;
};

static struct world {
    kt_rng r;
    enum plant plant;
    uint64_t seed;
    long step, n_wrong, count[N_EVENT];
    struct kt_engine cold;
    struct kt_worker worker;
    struct kt_life life;
    kl_scheduler_state state; /* of the process, after the last order */
    struct talk talk[N_TALK];
    struct kt_asked asked[KT_SLOTS];
    int32_t prompt[KT_SLOTS][MOST_TOKENS];
    kl_logit_bias bias[KT_SLOTS];
    int of[KT_SLOTS]; /* which talk; -1: free */
    char saved[N_SAVED][512];
} world;

static bool one_in(struct world *w, int64_t n)
{
    return kt_below(&w->r, n) == 0;
}

/* An answer that is not what it should be: what an honest run must never see, and a planted one must. */
static void wrong(struct world *w, const char *what, int64_t n_token)
{
    w->n_wrong++;
    if (w->plant == HONEST)
        fail_msg("seed %llu, step %ld: %s (%lld tokens)", (unsigned long long)w->seed, w->step, what,
                 (long long)n_token);
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static void hear(void *user, const struct kt_news *news)
{
    struct world *w = user;
    struct kt_asked *a = &w->asked[news->slot];
    assert_true(w->of[news->slot] >= 0 && !a->ended);
    if (news->ended) {
        a->ended = true;
        a->report = news->report;
    } else {
        assert_true(a->n_new < KT_MOST_NEW);
        a->token[a->n_new] = news->sampled;
        a->id[a->n_new++] = news->sampled.id;
    }
}

static struct kt_result order(struct world *w, const struct kt_order *o, const int32_t *token)
{
    struct kt_result result = kt_worker_do(&w->worker, o, token, hear, w);
    const kl_scheduler_state *now = &result.state, *then = &w->state;
    bool may_be_short = o->kind == KT_TWINS || o->kind == KT_IMPORT; /* of pages, which others hold */
    if (result.status != KL_OK && !(may_be_short && result.status == KL_ERR_MEMORY))
        fail_msg("seed %llu, step %ld, order %d: %s", (unsigned long long)w->seed, w->step, (int)o->kind,
                 result.error.text);
    w->count[batched] += o->kind == KT_STEP && now->n_running > 1;
    w->count[preempted] += now->n_preempted - then->n_preempted;
    w->count[guessed_right] += now->accepted_tokens - then->accepted_tokens;
    w->count[evicted] += o->kind != KT_CLEAR && now->prefix.n_checkpoint < then->prefix.n_checkpoint;
    w->count[files_given_up] += o->kind == KT_SPILL && result.value && now->prefix.n_file <= then->prefix.n_file;
    w->state = *now;
    return result;
}

static void ask_in(struct kt_worker *worker, const struct kt_asked *a, int slot, void *user,
                   void (*told)(void *user, const struct kt_news *news))
{
    struct kt_order o = {.kind = KT_ASK, .slot = slot, .r = a->r, .mark = a->r.n_token / 2};
    if (a->r.sampling.n_bias)
        o.bias = *a->r.sampling.bias;
    struct kt_result result = kt_worker_do(worker, &o, a->r.token, told, user);
    assert_int_equal(result.status, KL_OK);
    assert_true(result.value != 0);
}

static void hear_again(void *user, const struct kt_news *news)
{
    struct kt_asked *a = user;
    a->ended = news->ended;
    if (!news->ended)
        a->token[a->n_new++] = news->sampled;
}

/* The same request, to a process that has just begun: without a folder, or with that of the one that is running, to
 * which it then writes what it has; its budget may make it remove what the other believes to be there. */
static void ask_another(struct world *w, const struct kt_asked *a, bool shares)
{
    struct kt_life life = w->life;
    struct kt_worker fresh;
    struct kt_asked *again = kt_bytes(sizeof *again);
    memset(again, 0, sizeof *again);
    again->r = a->r;
    if (!shares)
        life.folder[0] = 0;
    kt_worker_start(&fresh, &life);
    ask_in(&fresh, again, 0, again, hear_again);
    while (!again->ended)
        kt_worker_do(&fresh, &(struct kt_order){.kind = KT_STEP}, NULL, hear_again, again);
    while (shares && kt_worker_do(&fresh, &(struct kt_order){.kind = KT_SPILL}, NULL, NULL, NULL).value)
        ;
    kt_worker_end(&fresh);
    bool same = again->n_new == a->n_new;
    for (int i = 0; same && i < a->n_new; i++) {
        const kl_sampled *x = &a->token[i], *y = &again->token[i];
        same = x->id == y->id && memcmp(&x->logprob, &y->logprob, sizeof x->logprob) == 0;
    }
    if (!same)
        wrong(w, "another process answers something else", a->r.n_token);
    w->count[shares ? shared_the_folder : asked_of_a_fresh_process]++;
}

/* What was told so far; the request is over. */
static void check(struct world *w, int k)
{
    struct kt_asked *a = &w->asked[k];
    int at = kt_differs(a, &w->cold);
    if (at >= 0)
        wrong(w, "a token is not what it is alone", a->r.n_token + at);
    w->of[k] = -1;
}

/* An answer that has ended is checked, and becomes part of its conversation. */
static void take(struct world *w, int k)
{
    struct kt_asked *a = &w->asked[k];
    struct talk *t = &w->talk[w->of[k]];
    kl_job_end end = a->report.end;
    if (end != KL_JOB_CANCELLED && (end != KL_JOB_LENGTH || a->n_new != a->r.max_new))
        wrong(w, kl_job_end_name(end), a->r.n_token);
    check(w, k);
    w->count[answered] += end == KL_JOB_LENGTH;
    w->count[cancelled] += end == KL_JOB_CANCELLED;
    w->count[reused] += a->report.n_reused > 0;
    w->count[read_behind_a_checkpoint] += a->report.reuse == KL_REUSE_CHECKPOINT;
    w->count[found_on_disk] += a->report.n_loaded > 0;
    if (end != KL_JOB_LENGTH)
        return;
    assert_int_equal(a->report.n_reused + a->report.n_read, a->r.n_token);
    if (w->plant == HONEST && w->count[answered] % 20 == 1)
        ask_another(w, a, w->count[answered] % 40 == 1);
    if (a->r.n_token == t->n && memcmp(a->r.token, t->token, (size_t)t->n * sizeof *t->token) == 0)
        for (int i = 0; i < a->n_new && t->n < MOST_TOKENS; i++)
            t->token[t->n++] = a->id[i];
}

/* ------------------------------------------------------------------------------------------------- conversations -- */

/* New tokens: drawn, or what was said before, so that there is something to guess. */
static void add_tokens(struct world *w, struct talk *t)
{
    int64_t n = 1 + kt_below(&w->r, one_in(w, 3) ? 150 : 40), from = t->n;
    bool repeats = from > 8 && one_in(w, 3);
    int64_t start = repeats ? kt_below(&w->r, from - 8) : 0, period = 8;
    for (int64_t i = 0; i < n && t->n < MOST_TOKENS; i++)
        t->token[t->n++] = repeats ? t->token[start + i % period] : (int32_t)kt_below(&w->r, w->cold.n_vocab);
}

static void change(struct world *w, struct talk *t)
{
    int64_t how = kt_below(&w->r, 6);
    if (t->n > MOST_TOKENS - 40 || (how == 5 && one_in(w, 2))) {
        t->n = 0;
        w->count[begun_again]++;
    } else if (how == 0) {
        *t = w->talk[kt_below(&w->r, N_TALK)];
        w->count[forked]++;
    } else if (t->n > 256 && one_in(w, 3)) { /* behind blocks that are in the cache, and a checkpoint further back */
        t->n = 193 + kt_below(&w->r, 60);
        w->count[edited]++;
    } else if (how == 1 && t->n > 1) {
        t->n -= 1 + kt_below(&w->r, t->n / 2);
        w->count[edited]++;
    } else {
        w->count[grown]++;
    }
    add_tokens(w, t);
}

/* `briefly`: little is said and much is asked for, so that pages run out while the answer is written. */
static void ask(struct world *w, bool briefly)
{
    int k = 0, i = (int)kt_below(&w->r, N_TALK);
    while (k < KT_SLOTS && w->of[k] >= 0)
        k++;
    if (k == KT_SLOTS)
        return;
    struct talk *t = &w->talk[i];
    struct kt_asked *a = &w->asked[k];
    if (!briefly || t->n == 0)
        change(w, t);
    int64_t n = briefly && t->n > 30 ? 30 : t->n;
    memset(a, 0, sizeof *a);
    memcpy(w->prompt[k], t->token, (size_t)n * sizeof *t->token);
    int64_t room = LEAST_PAGES * KL_PAGE_TOKENS - n, most = room < KT_MOST_NEW ? room : KT_MOST_NEW;
    a->r = (kl_request){.token = w->prompt[k],
                        .n_token = n,
                        .n_mark = (int)kt_below(&w->r, 2),
                        .client = (uint64_t)i % 3,
                        .space = (uint64_t)i % 4 == 0,
                        .seed = (uint64_t)kt_below(&w->r, 1000),
                        .max_new = briefly || one_in(w, 6) ? most : kt_below(&w->r, 24)};
    a->r.sampling = (kl_sampling){.temperature = (double)kt_below(&w->r, 2),
                                  .top_k = 20,
                                  .logprobs = true,
                                  .n_top = KT_TOPS,
                                  .frequency_penalty = one_in(w, 2) ? 0.1 : 0};
    if (one_in(w, 5)) { /* says the same again and again: easily guessed */
        w->bias[k] = (kl_logit_bias){(int32_t)kt_below(&w->r, w->cold.n_vocab), 60};
        a->r.sampling.bias = &w->bias[k];
        a->r.sampling.n_bias = 1;
    }
    w->of[k] = i;
    ask_in(&w->worker, a, k, w, hear);
}

/* Forks of a session, beside all that is being served: pages may not suffice for them. */
static void try_twins(struct world *w)
{
    int i = (int)kt_below(&w->r, N_TALK);
    const struct talk *t = &w->talk[i];
    int64_t n = t->n < 200 ? t->n : 200;
    if (n == 0)
        return;
    struct kt_order o = {.kind = KT_TWINS,
                         .r = {.n_token = n, .space = (uint64_t)i % 4 == 0},
                         .n_decode = 1 + (int)kt_below(&w->r, 6),
                         .share_page = w->plant == SHARED_PAGE};
    struct kt_result got = order(w, &o, t->token), want = {0};
    if (got.status != KL_OK)
        return;
    KT_OK(kt_twins(&want, w->cold.engine, NULL, 0, t->token, n, o.n_decode, false));
    if (memcmp(got.hash, want.hash, sizeof got.hash) != 0)
        wrong(w, "forks of a session are not what they are alone", n);
    w->count[twins]++;
}

/* Files of the caller's, as sessions of the server are kept. */
static void save_or_restore(struct world *w)
{
    int i = (int)kt_below(&w->r, N_TALK), file = (int)kt_below(&w->r, N_SAVED);
    struct kt_order o = {.kind = one_in(w, 2) ? KT_EXPORT : KT_IMPORT, .r.space = (uint64_t)i % 4 == 0};
    snprintf(o.path, sizeof o.path, "%s", w->saved[file]);
    if (o.kind == KT_IMPORT && access(o.path, R_OK) != 0)
        return;
    if (o.kind == KT_EXPORT)
        o.r.n_token = w->talk[i].n;
    w->count[o.kind == KT_EXPORT ? exported : imported] += order(w, &o, w->talk[i].token).value > 0;
}

/* ------------------------------------------------------------------------------------------------ life and death -- */

static void start(struct world *w)
{
    kl_state_cost cost = kl_config_state_cost(kl_model_config(w->cold.model), KL_CACHE_BF16);
    int64_t checkpoint = cost.fixed_bytes + 4 * cost.page_bytes;
    w->life.pages_bytes = (int64_t[]){LEAST_PAGES, LEAST_PAGES, 20, 0}[kt_below(&w->r, 4)] * cost.page_bytes;
    w->life.cache_bytes = (int64_t[]){5, 12, 0}[kt_below(&w->r, 3)] * checkpoint;
    w->life.disk_bytes = (int64_t[]){6, 0}[kt_below(&w->r, 2)] * checkpoint;
    w->life.running = 2 + (int)kt_below(&w->r, 7);
    w->life.draft = (int)kt_below(&w->r, 2) * 6;
    w->life.threads = 1 + (int)kt_below(&w->r, 2);
    w->life.batch = one_in(w, 2) ? 256 : 512;
    w->state = (kl_scheduler_state){0};
    kt_worker_start(&w->worker, &w->life);
}

static int list_files(const char *folder, char path[][800], int room)
{
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; n < room && (e = readdir(d));)
        if (e->d_name[0] != '.')
            snprintf(path[n++], 800, "%s/%s", folder, e->d_name);
    closedir(d);
    return n;
}

static void write_over(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* A bit of the states in the middle of the file; sealed: with the checksum that belongs to it. */
static void flip(struct world *w, const char *path, bool sealed)
{
    size_t bytes;
    unsigned char *data = kt_read_file(path, &bytes);
    size_t at = bytes / 4 + (size_t)kt_below(&w->r, (int64_t)bytes / 2);
    data[at / 4 * 4 + 2] ^= 0x20;
    if (sealed)
        kl__session_seal(data, bytes);
    write_over(path, data, bytes);
}

/* One file is changed, cut, emptied, or gets another's name: it must be as if it were not there. */
static void damage(struct world *w)
{
    static char path[MOST_FILES][800];
    int n = list_files(w->life.folder, path, MOST_FILES);
    if (w->plant == WRONG_BYTE)
        for (int i = 0; i < n; i++)
            flip(w, path[i], true);
    if (w->plant != HONEST || n == 0 || kt_below(&w->r, 3))
        return;
    const char *one = path[kt_below(&w->r, n)], *other = path[kt_below(&w->r, n)];
    struct stat is;
    assert_int_equal(stat(one, &is), 0);
    switch (kt_below(&w->r, 4)) {
    case 0:
        flip(w, one, false);
        break;
    case 1:
        assert_int_equal(truncate(one, kt_below(&w->r, is.st_size + 1)), 0);
        break;
    case 2:
        assert_int_equal(truncate(one, 0), 0);
        break;
    default:
        assert_int_equal(rename(one, other), 0);
        break;
    }
    w->count[files_damaged]++;
}

/* What was being answered is cut off. */
static void lose(struct world *w)
{
    for (int k = 0; k < KT_SLOTS; k++)
        if (w->of[k] >= 0) {
            check(w, k);
            w->count[cut_off]++;
        }
}

static void kill_it(struct world *w)
{
    bool spills = one_in(w, 2), works = w->state.n_running > 0;
    kt_worker_kill(&w->worker, &(struct kt_order){.kind = spills ? KT_SPILL : KT_STEP},
                   (unsigned)kt_below(&w->r, one_in(w, 2) ? 300 : 3000));
    w->count[killed]++;
    w->count[killed_while_spilling] += spills;
    w->count[killed_at_work] += !spills && works;
    lose(w);
    damage(w);
    start(w);
}

static void end_it(struct world *w)
{
    struct kt_result result;
    do
        result = order(w, &(struct kt_order){.kind = KT_SPILL}, NULL);
    while (result.value);
    lose(w);
    kt_worker_end(&w->worker);
    w->count[ended_by_itself]++;
    damage(w);
    start(w);
}

/* -------------------------------------------------------------------------------------------------------- worlds -- */

static void step(struct world *w)
{
    if (one_in(w, 2))
        ask(w, false);
    for (int i = one_in(w, 20) ? 6 : 0; i > 0; i--)
        ask(w, true);
    int k = (int)kt_below(&w->r, KT_SLOTS);
    if (w->of[k] >= 0 && one_in(w, 3))
        order(w, &(struct kt_order){.kind = KT_CANCEL, .slot = k}, NULL);
    if (one_in(w, 2))
        w->count[spilled] += order(w, &(struct kt_order){.kind = KT_SPILL}, NULL).value;
    if (one_in(w, 60)) {
        order(w, &(struct kt_order){.kind = KT_CLEAR}, NULL);
        w->count[forgotten]++;
    }
    if (one_in(w, 10))
        try_twins(w);
    if (one_in(w, 6))
        save_or_restore(w);
    for (int64_t n = 1 + kt_below(&w->r, 24); n > 0; n--)
        order(w, &(struct kt_order){.kind = KT_STEP}, NULL);
    for (int i = 0; i < KT_SLOTS; i++)
        if (w->of[i] >= 0 && w->asked[i].ended)
            take(w, i);
    if (one_in(w, 30))
        kill_it(w);
    else if (one_in(w, 90))
        end_it(w);
}

static struct world *new_world(enum plant plant)
{
    struct world *w = &world;
    char name[40];
    memset(w, 0, sizeof *w);
    w->plant = plant;
    w->seed = getenv("KT_SEED") ? strtoull(getenv("KT_SEED"), NULL, 10) : 1;
    w->r = (kt_rng){w->seed * 3 + (uint64_t)plant};
    w->cold = kt_open_engine(kt_tiny("q8_0"), 1, NULL);
    snprintf(w->life.model, sizeof w->life.model, "%s", kt_tiny("q8_0"));
    snprintf(name, sizeof name, "folder-%d", (int)plant);
    snprintf(w->life.folder, sizeof w->life.folder, "%s", kt_make_directory(name));
    for (int i = 0; i < N_SAVED; i++) {
        snprintf(name, sizeof name, "saved-%d-%d.state", (int)plant, i);
        snprintf(w->saved[i], sizeof w->saved[i], "%s", kt_path(name));
    }
    for (int k = 0; k < KT_SLOTS; k++)
        w->of[k] = -1;
    start(w);
    return w;
}

static void close_world(struct world *w)
{
    kt_worker_end(&w->worker);
    kt_close_engine(&w->cold);
    kt_free_all();
}

/* What has not happened yet: most of it does in a few hundred steps, some waits for an accident. */
static const char *missing(const struct world *w)
{
    for (int i = 0; i < N_EVENT; i++)
        if (w->count[i] == 0)
            return event_name[i];
    return NULL;
}

static void every_answer_is_right(void **state)
{
    (void)state;
    const char *wanted = getenv("KT_KILLED_STEPS");
    long n_step = wanted ? strtol(wanted, NULL, 10) : QUICK_STEPS;
    struct world *w = new_world(HONEST);
    print_message("seed %llu\n", (unsigned long long)w->seed);
    for (; w->step < n_step || (missing(w) && w->step < 20 * n_step); w->step++)
        step(w);
    print_message("%ld steps\n", w->step);
    for (int i = 0; i < N_EVENT; i++)
        print_message("%8ld %s\n", w->count[i], event_name[i]);
    if (missing(w))
        fail_msg("seed %llu: \"%s\" never happened", (unsigned long long)w->seed, missing(w));
    lose(w);
    close_world(w);
}

/* Would a wrong answer be seen? */
static void planted(enum plant plant)
{
    struct world *w = new_world(plant);
    while (w->n_wrong == 0 && w->step < 20 * QUICK_STEPS) {
        step(w);
        w->step++;
    }
    print_message("seed %llu: seen after %ld steps\n", (unsigned long long)w->seed, w->step);
    assert_true(w->n_wrong > 0);
    close_world(w);
}

static void a_wrong_byte_is_seen(void **state)
{
    (void)state;
    planted(WRONG_BYTE);
}

static void a_shared_page_is_seen(void **state)
{
    (void)state;
    planted(SHARED_PAGE);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return kt_worker_main();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_is_right),
        cmocka_unit_test(a_wrong_byte_is_seen),
        cmocka_unit_test(a_shared_page_is_seen),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
