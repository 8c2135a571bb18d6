/* Runs checkers over rows. */
#define _POSIX_C_SOURCE 200809L
#include "kc_internal.h"

#include "base/cpu.h"
#include "base/pool.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *placement_name(enum kc_placement placement)
{
    return placement == KC_PLACE_ALIGNED   ? "aligned"
           : placement == KC_PLACE_SHIFTED ? "shifted"
                                           : "flush with the end of its memory";
}

void kc_fail(kc *c, const char *format, ...)
{
    if (c->failed)
        return;
    c->failed = true;
    int at = snprintf(c->verdict, sizeof c->verdict, "%s, buffers %s: ", c->label, placement_name(c->placement));
    va_list args;
    va_start(args, format);
    vsnprintf(c->verdict + at, sizeof c->verdict - (size_t)at, format, args);
    va_end(args);
}

unsigned kc_needs(const kc *c)
{
    return c->row->needs;
}

static bool call_one(kc *c, kc_call_fn *call, kc_any_fn *fn, const void *args, const char *who)
{
    const char *fault = kc_guarded(call, fn, args);
    if (fault)
        kc_fail(c, "%s: %s", who, fault);
    return !fault && kc_untouched(c, who);
}

static void run(kc *c, kc_call_fn *call, const void *args)
{
    kc_keep(c);
    if (!call_one(c, call, c->row->ref, args, "plain C"))
        return;
    kc_keep_want(c);
    kc_restore(c);
    if (!call_one(c, call, c->row->variant, args, "the variant"))
        return;
    kc_compare(c);
    c->n_call++;
}

void kc_run(kc *c, kc_call_fn *call, const void *args, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    vsnprintf(c->label, sizeof c->label, format, words);
    va_end(words);
    if (!c->failed)
        run(c, call, args);
    kc_forget(c);
}

void kc_run_timed(kc *c, kc_call_fn *call, const void *args, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    vsnprintf(c->label, sizeof c->label, format, words);
    va_end(words);
    if (!c->failed)
        run(c, call, args);
    if (!c->failed && c->options.bench && c->placement == KC_PLACE_ALIGNED)
        kc_bench(c, call, args);
    kc_forget(c);
}

static uint64_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

static void check_placements(void *arg, int64_t task, int thread)
{
    (void)task, (void)thread;
    kc *c = arg;
    for (int p = 0; p < KC_N_PLACEMENT && !c->failed; p++) {
        c->placement = (enum kc_placement)p;
        c->rng = c->options.seed ^ hash(c->row->slot);
        c->row->check(c);
    }
}

bool kc_check_row(const struct kc_row *row, const struct kc_options *options, char verdict[KC_VERDICT_BYTES])
{
    kc *c = calloc(1, sizeof *c);
    if (!c) {
        snprintf(verdict, KC_VERDICT_BYTES, "no memory for the harness");
        return false;
    }
    c->row = row;
    snprintf(c->label, sizeof c->label, "no case");
    c->options = *options;
    /* As a task of a pool: kernels are always called in its floating-point mode. */
    kl__pool_run(NULL, 1, check_placements, c);
    if (!c->failed && c->n_call == 0)
        kc_fail(c, "the checker made no call");
    if (!c->failed)
        snprintf(c->verdict, sizeof c->verdict, "%lld calls", (long long)c->n_call);
    memcpy(verdict, c->verdict, KC_VERDICT_BYTES);
    bool passed = !c->failed;
    kc_free(c);
    free(c);
    return passed;
}

/* What the processor can run, which is more than what the library finds worth running: see base/cpu.c. */
static unsigned runnable_features(void)
{
    unsigned features = kl__cpu_features();
#if defined(__x86_64__)
    if ((features & KL_CPU_AVX512) && __builtin_cpu_supports("avx512bf16"))
        features |= KL_CPU_AVX512BF16;
#endif
    return features;
}

struct choice {
    const char *slot, *isa;
    bool list;
    struct kc_options options;
};

static const char usage[] = "usage: kcheck [--bench] [--slot NAME] [--isa NAME] [--seed N] [--list]\n"
                            "Checks every variant of every kernel against plain C.\n"
                            "  --bench      times the calls as well\n"
                            "  --slot NAME  this slot only, or all that begin with NAME if it ends in *\n"
                            "  --isa NAME   this instruction set only\n"
                            "  --seed N     of the random inputs (default: the clock); the first line shows it\n"
                            "  --list       prints the rows and stops\n";

/* 0: go on; otherwise the exit status plus one. */
static int parse(int argc, char **argv, struct choice *c)
{
    static const struct option options[] = {
        {"bench", no_argument, NULL, 'b'},
        {"slot", required_argument, NULL, 's'},
        {"isa", required_argument, NULL, 'i'},
        {"seed", required_argument, NULL, 'r'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    c->options.seed = (uint64_t)time(NULL);
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (o) {
        case 'b':
            c->options.bench = true;
            break;
        case 's':
            c->slot = optarg;
            break;
        case 'i':
            c->isa = optarg;
            break;
        case 'r':
            c->options.seed = strtoull(optarg, NULL, 0);
            break;
        case 'l':
            c->list = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs(usage, stderr);
            return 3;
        }
    if (optind < argc)
        fputs(usage, stderr);
    return optind < argc ? 3 : 0;
}

static bool slot_matches(const char *pattern, const char *slot)
{
    size_t n = strlen(pattern);
    return n && pattern[n - 1] == '*' ? strncmp(pattern, slot, n - 1) == 0 : strcmp(pattern, slot) == 0;
}

static bool chosen(const struct choice *c, const struct kc_row *row)
{
    return (!c->slot || slot_matches(c->slot, row->slot)) && (!c->isa || strcmp(c->isa, row->isa) == 0);
}

int kc_main(int argc, char **argv, const struct kc_row *row, int n_row)
{
    struct choice c = {0};
    int stop = parse(argc, argv, &c);
    if (stop)
        return stop - 1;
    unsigned features = runnable_features();
    int n_passed = 0, n_failed = 0, n_skipped = 0;
    printf("seed %llu\n", (unsigned long long)c.options.seed);
    for (int i = 0; i < n_row; i++) {
        if (!chosen(&c, &row[i]))
            continue;
        bool able = (features & row[i].needs) == row[i].needs;
        char verdict[KC_VERDICT_BYTES] = "not on this machine";
        bool passed = able && !c.list && kc_check_row(&row[i], &c.options, verdict);
        n_passed += passed;
        n_failed += able && !c.list && !passed;
        n_skipped += !able;
        printf("%-7s %-24s %-12s %s\n",
               c.list   ? "row"
               : passed ? "ok"
               : able   ? "FAILED"
                        : "skipped",
               row[i].slot, row[i].isa, c.list && able ? "" : verdict);
        fflush(stdout);
    }
    if (c.list)
        return 0;
    if (n_skipped)
        printf("%d rows need another machine\n", n_skipped);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed > 0 || n_passed == 0;
}
