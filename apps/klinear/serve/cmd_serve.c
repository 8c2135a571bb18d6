/* klinear serve: many users, by way of HTTP. */
#include "server.h"

#include "../cli/interrupt.h"
#include "../cli/loaded.h"
#include "../cli/verb.h"
#include "base/error.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

struct settings {
    struct ka_choice choice;
    struct ks_options serve;
};

static const char *const log_name[] = {"off", "requests", "prompts", NULL};

/* Of the prefix cache, where the whole process is limited: an eighth, and where not, what the library takes. */
static int64_t prefix_bytes(const struct settings *s)
{
    return s->serve.cache || !s->choice.memory ? s->serve.cache : s->choice.memory / 8;
}

/* Checkpoints of the prefix cache, states of sequences, and what requests take. */
static int64_t bytes_beside(const struct settings *s, const kl_model *model)
{
    enum { REQUESTS = 32 << 20 };
    int64_t sequences = s->serve.sequences ? s->serve.sequences : 16, prefix = prefix_bytes(s);
    kl_state_cost state = kl_config_state_cost(kl_model_config(model), (kl_cache_type)s->choice.cache);
    return (prefix > 0 ? prefix : 0) + sequences * state.fixed_bytes + REQUESTS;
}

/* The engine takes steps as large as the options want them. */
static kl_status load(struct ka_loaded *l, const struct settings *s, kl_error *err)
{
    KL_TRY(ka_load_model(l, &s->choice, err));
    kl_engine_options engine = {
        .max_batch_tokens = (int)s->serve.batch,
        .max_batch_sequences = (int)s->serve.sequences,
    };
    KL_TRY(ka_load_engine(l, &s->choice, &engine, bytes_beside(s, l->model), err));
    kl_status status = ka_load_tokenizer(l, err);
    if (status != KL_OK)
        ka_unload(l);
    return status;
}

/* Requests come and go on several threads, and what they leave behind is holes.  With a heap for each thread, as the C
 * library has it, memory grows towards the sum of everybody's fullest moments, and recurrent states, which the prefix
 * cache takes and drops all the time, grow it further; so there is one heap, and large blocks are not in it: they go
 * back to the system when they are freed.   [T: serve/load] */
static void settle_heap(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 64 << 10);
#endif
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    struct settings s = *(const struct settings *)settings;
    struct ka_loaded l;
    kl_error err = {0};
    s.serve.cache = prefix_bytes(&s);
    if (!s.serve.tls_cert != !s.serve.tls_key) {
        ka_complain(&ka_verb_serve, "--tls-cert and --tls-key need each other");
        return KA_USAGE;
    }
    settle_heap();
    ka_catch_interrupts();
    kl_status status = load(&l, &s, &err);
    if (status == KL_OK) {
        status = ks_serve(&l, &s.serve, &err);
        ka_unload(&l);
    }
    return ka_conclude(&ka_verb_serve, status, &err);
}

#define AT(x) .field = offsetof(struct settings, serve.x)
static const struct ka_option options[] = {
    {.name = "host", .value = "ADDRESS", .kind = KA_TEXT, AT(host), .help = "where to listen; default: 127.0.0.1"},
    {.name = "port",
     .value = "N",
     .kind = KA_NUMBER,
     AT(port),
     .min = 0,
     .max = 65535,
     .help = "0: one that is free; default: 8080.  Printed when it listens"},
    {.name = "keys",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(keys),
     .help = "API keys, one a line, with a name behind each; everybody needs\none then, except for /health"},
    {.name = "public",
     .kind = KA_FLAG,
     AT(public),
     .help = "listen where others can reach it although there are no keys"},
    {.name = "tls-cert",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(tls_cert),
     .help = "speak HTTPS with this certificate (PEM, with those that sign it\nbehind it); default: HTTP"},
    {.name = "tls-key", .value = "FILE", .kind = KA_TEXT, AT(tls_key), .help = "the key of the certificate (PEM)"},
    {.name = "cors",
     .value = "ORIGIN",
     .kind = KA_TEXT,
     AT(cors),
     .help = "pages of this origin may ask, or * for all; default: none"},
    {.name = "rate",
     .value = "N",
     .kind = KA_NUMBER,
     AT(rate),
     .min = 0,
     .max = 1000000,
     .help = "most requests of a key in a minute; 0, the default: no limit"},
    {.name = "separate",
     .kind = KA_FLAG,
     AT(separate),
     .help = "each key has a prefix cache of its own: nobody can find out what\nothers have asked by how fast answers "
             "come"},
    {.name = "name", .value = "NAME", .kind = KA_TEXT, AT(name), .help = "what clients call the model"},
    {.name = "template",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(template),
     .help = "kimi, or a file with a chat template, which has to be Kimi Linear's;\ndefault: the one of the model"},
    {.name = "ctx",
     .letter = 'c',
     .value = "N",
     .kind = KA_NUMBER,
     AT(context),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "most tokens of a prompt and its answer; 0, the default: what the\nmodel was made for"},
    {.name = "cache",
     .value = "BYTES",
     .kind = KA_NUMBER,
     AT(cache),
     .min = -1,
     .max = (int64_t)1 << 50,
     .help = "memory of the prefix cache; 0, the default: a quarter of the\nmachine's; -1: no cache"},
    {.name = "cache-dir",
     .value = "DIR",
     .kind = KA_TEXT,
     AT(folder),
     .help = "where the prefix cache is kept as well, so that it outlives the\nserver; default: nowhere"},
    {.name = "sessions",
     .value = "DIR",
     .kind = KA_TEXT,
     AT(sessions),
     .help = "where sessions that clients name are saved, by clients and when the\nserver stops; default: nowhere"},
    {.name = "cache-disk",
     .value = "BYTES",
     .kind = KA_NUMBER,
     AT(disk),
     .min = 0,
     .max = (int64_t)1 << 50,
     .help = "most bytes there; 0, the default: 16G"},
    {.name = "sequences",
     .value = "N",
     .kind = KA_NUMBER,
     AT(sequences),
     .min = 1,
     .max = 1024,
     .help = "requests that are worked on at once; default: 16"},
    {.name = "batch",
     .value = "N",
     .kind = KA_NUMBER,
     AT(batch),
     .min = 128,
     .max = 65536,
     .help = "most tokens of a step; default: 512"},
    {.name = "piece",
     .value = "N",
     .kind = KA_NUMBER,
     AT(piece),
     .min = 1,
     .max = 65536,
     .help = "most tokens of prompts in a step that also writes: less makes\ntokens come more evenly; default: 256"},
    {.name = "draft",
     .value = "N",
     .kind = KA_NUMBER,
     AT(draft),
     .min = 0,
     .max = 16,
     .help = "guess up to N tokens ahead from what the text has had before, and\nread them together; changes no "
             "answer; default: 0, none"},
    {.name = "queue",
     .value = "N",
     .kind = KA_NUMBER,
     AT(queue),
     .min = 1,
     .max = 1000000,
     .help = "requests that may wait beyond those; default: 256"},
    {.name = "queue-key",
     .value = "N",
     .kind = KA_NUMBER,
     AT(queue_user),
     .min = 0,
     .max = 1000000,
     .help = "the same of one key; 0, the default: no limit of its own"},
    {.name = "body-bytes",
     .value = "BYTES",
     .kind = KA_NUMBER,
     AT(body_bytes),
     .min = 1,
     .max = (int64_t)1 << 32,
     .help = "largest request; default: 16M"},
    {.name = "connections",
     .value = "N",
     .kind = KA_NUMBER,
     AT(connections),
     .min = 4,
     .max = 100000,
     .help = "default: 2048"},
    {.name = "header-seconds",
     .value = "N",
     .kind = KA_NUMBER,
     AT(header_seconds),
     .min = 1,
     .max = 86400,
     .help = "until the headers of a first request are there; default: 15"},
    {.name = "body-seconds",
     .value = "N",
     .kind = KA_NUMBER,
     AT(body_seconds),
     .min = 1,
     .max = 86400,
     .help = "from there until its body is; default: 120"},
    {.name = "idle-seconds",
     .value = "N",
     .kind = KA_NUMBER,
     AT(idle_seconds),
     .min = 1,
     .max = 86400,
     .help = "until the next request of a connection; default: 75"},
    {.name = "ping-seconds",
     .value = "N",
     .kind = KA_NUMBER,
     AT(ping_seconds),
     .min = 1,
     .max = 86400,
     .help = "silence in a stream after which a comment is sent; default: 5"},
    {.name = "drain-seconds",
     .value = "N",
     .kind = KA_NUMBER,
     AT(drain_seconds),
     .min = 0,
     .max = 86400,
     .help = "for answers to become complete when asked to stop; default: 30"},
    {.name = "log",
     .value = "WHAT",
     .kind = KA_WORD,
     AT(log),
     .words = log_name,
     .help = "off, requests (the default; nothing of what people wrote), prompts"},
    {.name = "Model", .kind = KA_GROUP, .field = offsetof(struct settings, choice), .group = ka_choice_options},
    {0},
};

static const struct settings defaults = {
    .choice = {.isa = 3},
    .serve = {.host = "127.0.0.1",
              .port = 8080,
              .log = KS_LOG_REQUESTS,
              .sequences = 16,
              .batch = 512,
              .piece = 256,
              .queue = 256,
              .body_bytes = 16 << 20,
              .connections = 2048,
              .header_seconds = 15,
              .body_seconds = 120,
              .idle_seconds = 75,
              .ping_seconds = 5,
              .drain_seconds = 30},
};

const struct ka_verb ka_verb_serve = {
    .name = "serve",
    .summary = "many users, by way of HTTP: the API of OpenAI",
    .usage = "[options]",
    .text = "Answers requests at http://127.0.0.1:8080 until it is asked to stop; what it can do is in\n"
            "docs/server.md.  Prints its address when it listens, and then a line of JSON for each request on\n"
            "standard error.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
