/* klinear quantize: a GGUF file again, with matrices of another type. */
#include "../cli/amount.h"
#include "../cli/json.h"
#include "../cli/verb.h"
#include "filework.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

struct settings {
    struct ka_filework_choice work;
    bool dry_run, json;
};

enum { GROUPS = 256, NAME = 64 };

/* Tensors that play the same part and went from one type to one other. */
struct group {
    char role[NAME];
    const char *from, *to;
    int64_t n_tensor, n_element, from_bytes, to_bytes;
    double error, power;
};

struct report {
    struct ka_filework work; /* first: what is shown while it goes on reads it */
    struct group group[GROUPS];
    int n_group;
    struct group all;
};

/* "blk.12.attn_q.weight" is an attn_q.weight. */
static void role_of(char role[NAME], const char *name)
{
    if (strncmp(name, "blk.", 4) == 0 && isdigit((unsigned char)name[4])) {
        name += 4;
        name += strspn(name, "0123456789");
        name += *name == '.';
    }
    snprintf(role, NAME, "%s", name);
}

static void add(struct group *g, const kl_requantized *t)
{
    g->n_tensor++;
    g->n_element += t->n_element;
    g->from_bytes += t->from_bytes;
    g->to_bytes += t->to_bytes;
    g->error += t->error;
    g->power += t->power;
}

static struct group *group_of(struct report *r, const kl_requantized *t)
{
    char role[NAME];
    role_of(role, t->name);
    for (int i = 0; i < r->n_group; i++) {
        struct group *g = &r->group[i];
        if (strcmp(g->role, role) == 0 && strcmp(g->from, t->from) == 0 && strcmp(g->to, t->to) == 0)
            return g;
    }
    if (r->n_group == GROUPS)
        return NULL;
    struct group *g = &r->group[r->n_group++];
    *g = (struct group){.from = t->from, .to = t->to};
    memcpy(g->role, role, sizeof role);
    return g;
}

static void take(void *user, const kl_requantized *t)
{
    struct report *r = user;
    struct group *g = group_of(r, t);
    add(&r->all, t);
    if (g)
        add(g, t);
}

static double relative(const struct group *g)
{
    return g->power > 0 ? sqrt(g->error / g->power) : 0;
}

static void print_json_group(struct ka_json *j, const char *key, const struct group *g)
{
    ka_json_open(j, key, '{');
    if (*g->role) {
        ka_json_text(j, "role", g->role);
        ka_json_text(j, "from", g->from);
        ka_json_text(j, "to", g->to);
    }
    ka_json_integer(j, "tensors", g->n_tensor);
    ka_json_integer(j, "elements", g->n_element);
    ka_json_integer(j, "from_bytes", g->from_bytes);
    ka_json_integer(j, "to_bytes", g->to_bytes);
    ka_json_number(j, "relative_error", relative(g));
    ka_json_close(j, '}');
}

static void print_json(const struct report *r)
{
    struct ka_json j = {.out = stdout};
    ka_json_open(&j, NULL, '{');
    ka_json_open(&j, "rows", '[');
    for (int i = 0; i < r->n_group; i++)
        print_json_group(&j, NULL, &r->group[i]);
    ka_json_close(&j, ']');
    print_json_group(&j, "total", &r->all);
    ka_json_close(&j, '}');
}

static void print_group(const struct group *g)
{
    char error[32] = "-";
    if (g->power > 0)
        snprintf(error, sizeof error, "%.2e", relative(g));
    else if (*g->role && strcmp(g->from, g->to) == 0)
        snprintf(error, sizeof error, "exact");
    printf("%-24s %-6s %-6s %7lld %10s %10s  %s\n", *g->role ? g->role : "all", *g->role ? g->from : "",
           *g->role ? g->to : "", (long long)g->n_tensor, ka_bytes((double)g->from_bytes).text,
           ka_bytes((double)g->to_bytes).text, error);
}

static void print_text(const struct report *r)
{
    printf("%-24s %-6s %-6s %7s %10s %10s  %s\n", "tensors", "from", "to", "count", "before", "after",
           "relative error");
    for (int i = 0; i < r->n_group; i++)
        print_group(&r->group[i]);
    print_group(&r->all);
}

static kl_status quantize(const struct settings *s, const char *from, const char *to, struct report *r, kl_error *err)
{
    kl_status status = ka_filework_begin(&r->work, &s->work, "Quantising", err);
    if (status != KL_OK)
        return status;
    r->work.options.dry_run = s->dry_run;
    status = kl_model_quantize(to, from, &r->work.options, take, err);
    ka_filework_end(&r->work, status, s->dry_run ? NULL : to);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    static struct report r;
    kl_error err = {0};
    if (n_word < 2 || !s->work.type) {
        ka_complain(&ka_verb_quantize, n_word < 2 ? "expected two files, the one to read and the one to write"
                                                  : "into what? Name a type with --type");
        return KA_USAGE;
    }
    kl_status status = quantize(s, words[0], words[1], &r, &err);
    if (status == KL_OK)
        (s->json ? print_json : print_text)(&r);
    return ka_conclude(&ka_verb_quantize, status, &err);
}

static const struct ka_option options[] = {
    {.name = "dry-run",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, dry_run),
     .help = "say what sizes would be, write nothing"},
    {.name = "json", .kind = KA_FLAG, .field = offsetof(struct settings, json), .help = "print JSON"},
    {.name = "Writing", .kind = KA_GROUP, .field = offsetof(struct settings, work), .group = ka_filework_options},
    {0},
};

static const struct settings defaults = {0};

const struct ka_verb ka_verb_quantize = {
    .name = "quantize",
    .summary = "write a GGUF file again with smaller types, and say what that costs",
    .usage = "IN.gguf OUT.gguf --type TYPE [options]",
    .text = "Writes every matrix in another type, one piece after the other in little memory, and reports sizes\n"
            "and relative errors by kind of tensor.  Rows that are no whole blocks get the nearest type that\n"
            "fits; norms, convolutions and routers stay as they are.  OUT.gguf appears when it is complete.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 2,
    .run = run,
};
