/* klinear demo: the operators at work on a text, in half a page. */
#include "../cli/verb.h"
#include "demo_text.h"
#include "memory_demo.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *prompt, *file;
    int64_t threads;
};

enum { LINE = 72, GO_ON = 56 };

/* The text and then the prompt; of a text that is too long, its beginning. */
static unsigned char *get_text(const struct settings *s, int64_t *T, kl_error *err)
{
    size_t prompt_bytes = strlen(s->prompt), room = KA_DEMO_BYTES;
    unsigned char *text = malloc(room);
    FILE *file = s->file ? fopen(s->file, "rb") : NULL;
    size_t n = 0;
    if (text && file)
        n = fread(text, 1, room - prompt_bytes, file);
    else if (text && !s->file) {
        n = sizeof ka_demo_text - 1 < room - prompt_bytes ? sizeof ka_demo_text - 1 : room - prompt_bytes;
        memcpy(text, ka_demo_text, n);
    }
    bool failed = s->file && (!file || ferror(file) || n == 0);
    if (file)
        fclose(file);
    if (!text || failed) {
        snprintf(err->text, sizeof err->text, failed ? "%s cannot be read, or is empty" : "out of memory",
                 failed ? s->file : "");
        free(text);
        return NULL;
    }
    memcpy(text + n, s->prompt, prompt_bytes);
    *T = (int64_t)(n + prompt_bytes);
    return text;
}

static char visible(unsigned char byte)
{
    return byte < 0x80 && isprint(byte) ? (char)byte : byte == '\n' ? ' ' : '?';
}

/* `n` bytes of the text from `first` on; with guesses only those that were foreseen. */
static void print_line(const char *name, const struct ka_demo *d, int64_t first, int64_t n, const struct ka_guesses *g)
{
    printf("  %-10s", name);
    for (int64_t t = first; t < first + n; t++)
        putchar(!g || g->next[t - 1] == d->text[t] ? visible(d->text[t]) : '.');
    putchar('\n');
}

static void print_excerpt(const struct ka_demo *d)
{
    int64_t last = d->T, first = last - 3 * LINE > 1 ? last - 3 * LINE : 1;
    for (; first < last; first += LINE) {
        int64_t n = last - first < LINE ? last - first : LINE;
        print_line("text", d, first, n, NULL);
        print_line("KDA", d, first, n, &d->chunk);
        print_line("softmax", d, first, n, &d->softmax);
        putchar('\n');
    }
}

/* How often the most frequent byte comes: what can be had without a memory. */
static int most_frequent(const struct ka_demo *d, unsigned char *byte)
{
    int count[256] = {0};
    for (int64_t t = 1; t < d->T; t++)
        count[d->text[t]]++;
    *byte = 0;
    for (int b = 0; b < 256; b++)
        if (count[b] > count[*byte])
            *byte = (unsigned char)b;
    return count[*byte];
}

static void print_bytes(size_t bytes)
{
    char text[32];
    double kib = (double)bytes / 1024;
    if (kib >= 1024 * 1024)
        snprintf(text, sizeof text, "%.1f GiB", kib / 1024 / 1024);
    else if (kib >= 1024)
        snprintf(text, sizeof text, "%.1f MiB", kib / 1024);
    else
        snprintf(text, sizeof text, "%.0f KiB", kib);
    printf("%20s", text);
}

static void print_time(const struct ka_demo *d, const struct ka_guesses *g)
{
    char text[32];
    snprintf(text, sizeof text, "%.2f us", 1e6 * g->seconds / (double)d->T);
    printf("%20s", text);
}

static void print_comparison(const struct ka_demo *d)
{
    int64_t n = d->T > 1 ? d->T - 1 : 1;
    unsigned char byte;
    int often = most_frequent(d, &byte);
    printf("%-24s%20s%20s\n", "", "KDA", "softmax attention");
    printf("%-24s%18.1f %%%18.1f %%   (always \"%c\": %.1f %%)\n", "  foreseen", 100.0 * d->chunk.n_right / (double)n,
           100.0 * d->softmax.n_right / (double)n, visible(byte), 100.0 * often / (double)n);
    printf("%-24s", "  memory now");
    print_bytes(ka_demo_state_bytes());
    print_bytes(ka_demo_cache_bytes(d->T));
    printf("\n%-24s", "  after a million bytes");
    print_bytes(ka_demo_state_bytes());
    print_bytes(ka_demo_cache_bytes(1000000));
    printf("\n%-24s", "  time per byte");
    print_time(d, &d->chunk);
    print_time(d, &d->softmax);
    puts("\n");
}

static void print_ways(const struct ka_demo *d)
{
    puts("KDA three ways: the same numbers, up to rounding");
    const struct {
        const char *name;
        const struct ka_guesses *guesses;
    } way[] = {{"16 bytes at a time", &d->chunk}, {"byte by byte", &d->token}, {"one call per byte", &d->step}};
    for (int i = 0; i < 3; i++) {
        printf("  %-22s", way[i].name);
        print_time(d, way[i].guesses);
        double distance = ka_demo_distance(d, way[i].guesses, &d->token);
        if (i == 1)
            puts("");
        else if (distance == 0)
            puts("   the same bits");
        else
            printf("   differs by %.0e\n", distance);
    }
}

static bool show(const struct settings *s, const kl_backend *be, kl_error *err)
{
    int64_t T = 0;
    unsigned char *text = get_text(s, &T, err);
    if (!text)
        return false;
    struct ka_demo d;
    unsigned char more[GO_ON];
    bool fine = ka_demo_read(&d, be, text, T, err);
    if (fine) {
        printf("\nReading %lld bytes and guessing each one before it is seen.  Nothing is trained: bytes are random\n"
               "vectors, and %d heads remember what followed the last 1, 2 and 3 bytes.  Of the end of the text\n"
               "these were foreseen:\n\n",
               (long long)T, KA_DEMO_HEADS);
        print_excerpt(&d);
        print_comparison(&d);
        print_ways(&d);
        fine = ka_demo_go_on(&d, be, more, GO_ON, err);
    }
    if (fine) {
        printf("\nFrom its %zu KiB alone KDA goes on:\n\n  ...", ka_demo_state_bytes() >> 10);
        for (int64_t t = T > LINE - GO_ON ? T - (LINE - GO_ON) : 0; t < T; t++)
            putchar(visible(text[t]));
        putchar('|');
        for (int i = 0; i < GO_ON; i++)
            putchar(visible(more[i]));
        putchar('\n');
    }
    ka_demo_close(&d);
    free(text);
    return fine;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    if (strlen(s->prompt) > KA_DEMO_BYTES) {
        ka_complain(&ka_verb_demo, "--prompt has %zu bytes, expected at most %d", strlen(s->prompt), KA_DEMO_BYTES);
        return KA_USAGE;
    }
    kl_error err = {0};
    kl_pool *pool = NULL;
    kl_backend *be = NULL;
    bool fine = kl_pool_open(&pool, (int)s->threads, NULL, &err) == KL_OK &&
                kl_backend_open(&be, &(kl_backend_options){.pool = pool}, &err) == KL_OK;
    if (fine) {
        char processor[160];
        kl_cpu_describe(processor, sizeof processor);
        printf("klinear %s on %s\n", kl_version(), processor);
        fine = show(s, be, &err);
    }
    if (!fine)
        ka_complain(&ka_verb_demo, "%s", err.text);
    kl_backend_close(be);
    kl_pool_close(pool);
    return fine ? KA_FINE : KA_FAILED;
}

static const struct ka_option options[] = {
    {.name = "prompt",
     .value = "TEXT",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, prompt),
     .help = "to be read last; KDA goes on from here"},
    {.name = "file",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, file),
     .help = "to be read before it, up to 4096 bytes;\ndefault: a page about linear attention"},
    {.name = "threads",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, threads),
     .min = 0,
     .max = 1024,
     .help = "threads to use; 0, the default: one per core"},
    {0},
};

static const struct settings defaults = {.prompt = ""};

const struct ka_verb ka_verb_demo = {
    .name = "demo",
    .summary = "the operators at work on a text",
    .usage = "[options]",
    .text = "Reads a text byte by byte and guesses what comes next, with Kimi Delta Attention, whose memory has a\n"
            "fixed size, and with softmax attention, whose memory grows.  Shows what each foresaw, how much it\n"
            "keeps and how long it takes; that KDA gives the same numbers chunk by chunk, byte by byte and call\n"
            "by call; and how it goes on from its memory alone.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
