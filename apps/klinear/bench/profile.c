#include "profile.h"

#include <math.h>
#include <stdlib.h>

bool ka_profile_begin(struct ka_profile *p, kl_engine *engine)
{
    p->n_layer = kl_model_config(kl_engine_model(engine))->n_layer;
    p->spent = calloc((size_t)(p->n_layer + 1) * KL_N_PART, sizeof *p->spent);
    kl_engine_watch(engine, p->spent);
    return p->spent != NULL;
}

void ka_profile_end(struct ka_profile *p, kl_engine *engine, double seconds)
{
    kl_engine_watch(engine, NULL);
    p->seconds = seconds;
}

void ka_profile_free(struct ka_profile *p)
{
    free(p->spent);
}

static const kl_spent *at(const struct ka_profile *p, int layer, int part)
{
    return &p->spent[layer * KL_N_PART + part];
}

static kl_spent sum_of(const struct ka_profile *p, int part)
{
    kl_spent sum = {0};
    for (int i = 0; i <= p->n_layer; i++) {
        const kl_spent *s = at(p, i, part);
        sum.seconds += s->seconds;
        sum.bytes += s->bytes;
        sum.flops += s->flops;
        sum.n_call += s->n_call;
    }
    return sum;
}

/* ---------------------------------------------------------------------------------------------------------- text -- */

static void print_line(FILE *out, const struct ka_profile *p, const char *name, kl_spent s)
{
    double steps = (double)p->tokens; /* per token of each sequence */
    double flops = s.flops / s.seconds, bytes = s.bytes / s.seconds;
    fprintf(out, "  %-12s %10.3f %6.1f %% %9lld %10.1f %8.1f %7.1f %%\n", name, 1e3 * s.seconds / steps,
            100 * s.seconds / p->seconds, (long long)s.n_call, flops * 1e-9, bytes * 1e-9,
            100 * fmax(flops / p->peak_flops, bytes / p->peak_bytes));
}

static void print_parts(FILE *out, const struct ka_profile *p)
{
    bool shown[KL_N_PART] = {false};
    kl_spent rest = {.seconds = p->seconds};
    fprintf(out, "  %-12s %10s %8s %9s %10s %8s %9s\n", "part", "ms a token", "time", "calls", "GFLOP/s", "GB/s",
            "ceiling");
    for (int i = 0; i < KL_N_PART; i++) {
        int most = -1;
        for (int k = 0; k < KL_N_PART; k++)
            if (!shown[k] && (most < 0 || sum_of(p, k).seconds > sum_of(p, most).seconds))
                most = k;
        kl_spent s = sum_of(p, most);
        shown[most] = true;
        rest.seconds -= s.seconds;
        if (s.n_call)
            print_line(out, p, kl_part_name(most), s);
    }
    print_line(out, p, "elsewhere", rest);
}

/* Milliseconds a token; parts that no layer has are left out. */
static void print_layers(FILE *out, const struct ka_profile *p)
{
    bool used[KL_N_PART] = {false};
    fprintf(out, "  %-7s", "layer");
    for (int k = 0; k < KL_N_PART; k++) {
        for (int i = 0; i < p->n_layer; i++)
            used[k] |= at(p, i, k)->n_call > 0;
        if (used[k])
            fprintf(out, " %12s", kl_part_name(k));
    }
    fprintf(out, "\n");
    for (int i = 0; i < p->n_layer; i++) {
        fprintf(out, "  %-7d", i);
        for (int k = 0; k < KL_N_PART; k++)
            if (used[k] && at(p, i, k)->n_call)
                fprintf(out, " %12.4f", 1e3 * at(p, i, k)->seconds / (double)p->tokens);
            else if (used[k])
                fprintf(out, " %12s", "-");
        fprintf(out, "\n");
    }
}

void ka_profile_print(FILE *out, const struct ka_profile *p)
{
    fprintf(out, "\n%s of %lld tokens at depth %lld, batch %d: %.1f ms\n", p->phase, (long long)p->tokens,
            (long long)p->depth, p->batch, 1e3 * p->seconds);
    print_parts(out, p);
    fprintf(out, "\n");
    print_layers(out, p);
}

/* ---------------------------------------------------------------------------------------------------------- JSON -- */

void ka_profile_json(struct ka_json *j, const struct ka_profile *p)
{
    ka_json_open(j, NULL, '{');
    ka_json_text(j, "phase", p->phase);
    ka_json_integer(j, "tokens", p->tokens);
    ka_json_integer(j, "depth", p->depth);
    ka_json_integer(j, "batch", p->batch);
    ka_json_number(j, "seconds", p->seconds);
    ka_json_open(j, "parts", '[');
    for (int i = 0; i <= p->n_layer; i++)
        for (int k = 0; k < KL_N_PART; k++) {
            const kl_spent *s = at(p, i, k);
            if (!s->n_call)
                continue;
            ka_json_open(j, NULL, '{');
            if (i < p->n_layer)
                ka_json_integer(j, "layer", i);
            ka_json_text(j, "part", kl_part_name(k));
            ka_json_integer(j, "calls", s->n_call);
            ka_json_number(j, "seconds", s->seconds);
            ka_json_number(j, "bytes", s->bytes);
            ka_json_number(j, "flops", s->flops);
            ka_json_close(j, '}');
        }
    ka_json_close(j, ']');
    ka_json_close(j, '}');
}
