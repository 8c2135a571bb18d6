/* klinear doctor: what this machine offers, and what klinear makes of it. */
#include "bench/ceilings.h"
#include "cli/amount.h"
#include "cli/verb.h"
#include "talk/editor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    int64_t threads, dram_mib;
    bool fast, json;
};

/* Optional libraries that this program was built with. */
#ifdef KA_WITH_JANSSON
static const bool with_jansson = true;
#else
static const bool with_jansson = false;
#endif

/* Everything that is reported. */
struct findings {
    struct ka_machine machine;
    kl_pool *pool[2]; /* one thread; all that were asked for, or NULL when that is one as well */
    int n_pool;
    kl_backend *backend;
    struct ka_ceilings ceilings;
};

static bool find_out(struct findings *f, const struct settings *s, kl_error *err)
{
    f->machine = ka_machine(s->dram_mib);
    int threads = s->threads ? (int)s->threads : f->machine.cores;
    f->n_pool = threads > 1 ? 2 : 1;
    for (int i = 0; i < f->n_pool; i++)
        if (kl_pool_open(&f->pool[i], i == 0 ? 1 : threads, NULL, err) != KL_OK)
            return false;
    kl_backend_options options = {.pool = f->pool[f->n_pool - 1]};
    if (kl_backend_open(&f->backend, &options, err) != KL_OK)
        return false;
    for (int i = 0; i < f->n_pool && !s->fast; i++)
        ka_want_all_ceilings(&f->ceilings, &f->machine, kl_backend_isa(f->backend), f->pool[i]);
    for (int round = 0; round < 3; round++)
        if (!ka_sample_ceilings(&f->ceilings, 4e-3)) {
            snprintf(err->text, sizeof err->text, "no memory of %zu bytes for the measurements",
                     f->ceilings.memory_bytes);
            return false;
        }
    return true;
}

static void forget(struct findings *f)
{
    ka_free_ceilings(&f->ceilings);
    kl_backend_close(f->backend);
    for (int i = 0; i < f->n_pool; i++)
        kl_pool_close(f->pool[i]);
}

static void print_json(const struct findings *f)
{
    struct ka_json j = {.out = stdout};
    ka_json_open(&j, NULL, '{');
    ka_json_open(&j, "machine", '{');
    ka_machine_json(&j, &f->machine);
    ka_json_close(&j, '}');
    ka_json_text(&j, "isa", kl_backend_isa(f->backend));
    ka_json_integer(&j, "threads", kl_pool_threads(f->pool[f->n_pool - 1]));
    ka_json_open(&j, "libraries", '[');
    if (with_jansson)
        ka_json_text(&j, NULL, "jansson");
    if (ka_editor_library())
        ka_json_text(&j, NULL, ka_editor_library());
    ka_json_close(&j, ']');
    ka_json_open(&j, "kernels", '{');
    const char *slot, *variant;
    for (int i = 0; kl_backend_kernel(f->backend, i, &slot, &variant); i++)
        ka_json_text(&j, slot, variant);
    ka_json_close(&j, '}');
    ka_json_open(&j, "ceilings", '[');
    for (int i = 0; i < f->n_pool && f->ceilings.n; i++)
        ka_ceilings_json(&j, &f->ceilings, &f->machine, kl_backend_isa(f->backend), f->pool[i]);
    ka_json_close(&j, ']');
    ka_json_close(&j, '}');
}

/* The slots that one variant serves, in lines of at most 100 columns. */
static void print_kernels_of(const struct findings *f, const char *wanted)
{
    const char *slot, *variant;
    int column = 0;
    for (int i = 0; kl_backend_kernel(f->backend, i, &slot, &variant); i++) {
        if (strcmp(variant, wanted) != 0)
            continue;
        if (column == 0)
            column = printf("  %-13s", wanted);
        else if (column + (int)strlen(slot) > 98)
            column = printf("\n  %-13s", "") - 1;
        column += printf(" %s", slot);
    }
    if (column)
        putchar('\n');
}

static void print_kernels(const struct findings *f)
{
    const char *slot, *variant, *seen[16];
    int n_seen = 0;
    for (int i = 0; kl_backend_kernel(f->backend, i, &slot, &variant); i++) {
        bool known = false;
        for (int k = 0; k < n_seen; k++)
            known |= strcmp(seen[k], variant) == 0;
        if (known || n_seen == 16)
            continue;
        seen[n_seen++] = variant;
        print_kernels_of(f, variant);
    }
}

static void print_ceiling(const struct findings *f, const char *name, const double value[2])
{
    printf("  %-14s", name);
    for (int i = 0; i < f->n_pool; i++)
        if (isfinite(value[i]))
            printf(" %12.1f", value[i]);
        else
            printf(" %12s", "-");
    putchar('\n');
}

static void print_ceilings(const struct findings *f)
{
    const char *isa = kl_backend_isa(f->backend);
    printf("\nMeasured         ");
    for (int i = 0; i < f->n_pool; i++)
        printf("%4d thread%s ", kl_pool_threads(f->pool[i]), kl_pool_threads(f->pool[i]) == 1 ? " " : "s");
    putchar('\n');
    static const struct {
        const char *name;
        enum ka_limit limit;
    } sums[] = {{"f32 FMA", KA_FMA_F32}, {"bf16 dot", KA_DOT_BF16}, {"f16 FMA", KA_FMA_F16}};
    for (int k = 0; k < 3; k++) {
        double value[2] = {NAN, NAN};
        for (int c = 0; c < f->ceilings.n; c++)
            for (int i = 0; i < f->n_pool; i++)
                if (f->ceilings.at[c].limit == sums[k].limit && f->ceilings.at[c].pool == f->pool[i])
                    value[i] = ka_ceiling_value(&f->ceilings, c);
        print_ceiling(f, sums[k].name, value);
    }
    for (enum ka_limit limit = KA_READ; limit <= KA_UPDATE; limit++)
        for (enum ka_level level = KA_L1; level < KA_LEVELS; level++) {
            double value[2];
            for (int i = 0; i < f->n_pool; i++)
                value[i] = ka_level_value(&f->ceilings, &f->machine, limit, isa, f->pool[i], level);
            char name[32];
            snprintf(name, sizeof name, "%s %s", ka_level_name[level], limit == KA_READ ? "read" : "update");
            print_ceiling(f, name, value);
        }
    puts("  multiply-adds in GFLOP/s, memory in GB/s; an update reads and writes every byte once, both are counted");
}

static void print_text(const struct findings *f)
{
    const struct ka_machine *m = &f->machine;
    printf("klinear %s, built with %s\n\n", kl_version(), ka_compiler());
    printf("Processor       %s\n", m->processor);
    if (m->l1_bytes && m->l2_bytes)
        printf("Caches          %s L1 and %s L2 a core%s%s%s\n", ka_bytes((double)m->l1_bytes).text,
               ka_bytes((double)m->l2_bytes).text, m->l3_bytes ? ", " : "",
               m->l3_bytes ? ka_bytes((double)m->l3_bytes).text : "", m->l3_bytes ? " L3" : "");
    printf("Memory          %s, of which %s can be had\n", ka_bytes((double)m->memory_bytes).text,
           ka_bytes((double)m->memory_free_bytes).text);
    printf("Threads         %d\n", kl_pool_threads(f->pool[f->n_pool - 1]));
    printf("Instructions    %s\n", kl_backend_isa(f->backend));
    const char *jansson = with_jansson ? "jansson (safetensors)" : NULL, *editor = ka_editor_library();
    printf("Libraries       %s%s%s%s\n\nKernels\n", jansson ? jansson : "", jansson && editor ? ", " : "",
           editor ? editor : "", editor ? " (edits lines in chat)" : jansson ? "" : "none");
    print_kernels(f);
    if (f->ceilings.n)
        print_ceilings(f);
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    struct findings f = {0};
    kl_error err = {0};
    enum ka_exit code = KA_FAILED;
    if (!find_out(&f, s, &err)) {
        ka_complain(&ka_verb_doctor, "%s", err.text);
    } else {
        (s->json ? print_json : print_text)(&f);
        code = KA_FINE;
    }
    forget(&f);
    return code;
}

static const struct ka_option options[] = {
    {.name = "fast", .kind = KA_FLAG, .field = offsetof(struct settings, fast), .help = "measure nothing"},
    {.name = "threads",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, threads),
     .min = 0,
     .max = 1024,
     .help = "threads to use; 0, the default: one per core"},
    {.name = "dram-mib",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, dram_mib),
     .min = 0,
     .max = 1 << 20,
     .help = "MiB to go through when DRAM is measured;\ndefault: twice the last cache, at least 256"},
    {.name = "json", .kind = KA_FLAG, .field = offsetof(struct settings, json), .help = "print JSON"},
    {0},
};

const struct ka_verb ka_verb_doctor = {
    .name = "doctor",
    .summary = "what this machine offers and what klinear will use",
    .usage = "[options]",
    .text = "Shows the processor, the variant of every kernel that was chosen for it, threads and memory, and\n"
            "measures how fast the machine multiplies and adds and how fast it reads each level of memory.",
    .options = options,
    .defaults = &(const struct settings){0},
    .settings_bytes = sizeof(struct settings),
    .run = run,
};
