#include "memory_demo.h"

#include "../cli/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = KA_DEMO_HEADS, D = KA_DEMO_DIM, ROW = H * D, SHARPNESS = 12 };

/* ---- random vectors */

static uint64_t scramble(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* A unit vector that belongs to `name`: +-1 / sqrt(D) in every channel. */
static void unit_vector(float *x, uint64_t name)
{
    uint64_t bits = 0;
    for (int i = 0; i < D; i++) {
        if (i % 64 == 0)
            bits = scramble(name = scramble(name));
        x[i] = (bits >> i % 64 & 1 ? 1.0f : -1.0f) / sqrtf(D);
    }
}

/* What the last h + 1 bytes before position t are called; fewer at the start of the text. */
static void context_vector(float *x, const unsigned char *text, int64_t t, int h)
{
    uint64_t name = 0x100000 + (uint64_t)h;
    for (int64_t i = t - h - 1 > 0 ? t - h - 1 : 0; i < t; i++)
        name = scramble(name) + text[i];
    unit_vector(x, name);
}

/* How well the vector of each byte fits what the heads say together; longer contexts count more. */
static void fit_bytes(float fit[256], const float *o)
{
    float sum[D] = {0};
    for (int h = 0; h < H; h++)
        for (int i = 0; i < D; i++)
            sum[i] += (1 + 0.5f * (float)h) * o[h * D + i];
    for (int byte = 0; byte < 256; byte++) {
        float x[D];
        unit_vector(x, (uint64_t)byte);
        fit[byte] = 0;
        for (int i = 0; i < D; i++)
            fit[byte] += x[i] * sum[i];
    }
}

static unsigned char best_byte(const float *o)
{
    float fit[256];
    int best = 0;
    fit_bytes(fit, o);
    for (int byte = 1; byte < 256; byte++)
        if (fit[byte] > fit[best])
            best = byte;
    return (unsigned char)best;
}

/* One of those that fit well, drawn: always taking the best one soon goes in circles. */
static unsigned char drawn_byte(const struct ka_demo *d, const float *o, uint64_t draw)
{
    float fit[256], weight[256] = {0}, sum = 0, at = (float)(scramble(draw) >> 40) * 0x1p-24f;
    fit_bytes(fit, o);
    for (int64_t t = 0; t < d->T; t++) /* bytes that the text has */
        weight[d->text[t]] = expf(SHARPNESS * fit[d->text[t]]);
    for (int byte = 0; byte < 256; byte++)
        sum += weight[byte];
    for (int byte = 0; byte < 256; byte++)
        if ((at -= weight[byte] / sum) < 0)
            return (unsigned char)byte;
    return d->text[d->T - 1];
}

/* ---- what goes into the operators: at byte t, key = what came before it, value = itself, query = what came so far */

static void fill_token(const unsigned char *text, int64_t t, float *q, float *k, float *v, float *g, float *beta)
{
    for (int h = 0; h < H; h++, q += D, k += D, v += D, g += D) {
        context_vector(k, text, t, h);
        context_vector(q, text, t + 1, h);
        unit_vector(v, text[t]);
        for (int i = 0; i < D; i++)
            g[i] = -0.001f * (float)i / D; /* the first channel keeps for ever, the last some thousand bytes */
        beta[h] = 0.2f;
    }
}

static kl_tensor rows(float *x, int64_t T)
{
    return kl_view3(x, KL_F32, T, H, D);
}

static kl_kda_args kda_args(struct ka_demo *d, float *o, int64_t first, int64_t T, kl_path path, bool carry)
{
    kl_tensor state = kl_view4(d->state, KL_F32, 1, H, D, D);
    return (kl_kda_args){
        .o = rows(o + first * ROW, T),
        .q = rows(d->q + first * ROW, T),
        .k = rows(d->k + first * ROW, T),
        .v = rows(d->v + first * ROW, T),
        .g = rows(d->g + first * ROW, T),
        .beta = kl_view2(d->beta + first * H, KL_F32, T, H),
        .scale = 1,
        .state_in = carry ? state : (kl_tensor){0},
        .state_out = state,
        .path = path,
        .work = d->work,
    };
}

static kl_attention_args attention_args(struct ka_demo *d, float *o)
{
    return (kl_attention_args){
        .o = rows(o, d->T),
        .q = rows(d->q, d->T),
        .k = rows(d->k, d->T),
        .v = rows(d->v, d->T),
        .scale = 10, /* keys have unit length: the same context counts e^10 against 1 */
        .causal = true,
        .work = d->work,
    };
}

static bool make_room(struct ka_demo *d, const kl_backend *be, kl_error *err)
{
    size_t n = (size_t)(d->T + 1) * ROW; /* one more row: for the bytes that follow the text */
    struct ka_guesses *all[] = {&d->chunk, &d->token, &d->step, &d->softmax};
    bool fine = (d->q = malloc(n * 4)) && (d->k = malloc(n * 4)) && (d->v = malloc(n * 4)) && (d->g = malloc(n * 4)) &&
                (d->beta = malloc((size_t)(d->T + 1) * H * 4)) && (d->state = malloc((size_t)H * D * D * 4));
    for (int i = 0; i < 4 && fine; i++)
        fine = (all[i]->o = malloc(n * 4)) && (all[i]->next = calloc(1, (size_t)d->T + 1));
    if (fine) {
        kl_kda_args chunk = kda_args(d, d->chunk.o, 0, d->T, KL_PATH_CHUNK, false);
        kl_kda_args token = kda_args(d, d->chunk.o, 0, d->T, KL_PATH_RECURRENT, false);
        kl_kda_args step = kda_args(d, d->chunk.o, 0, 1, KL_PATH_AUTO, true);
        kl_attention_args softmax = attention_args(d, d->chunk.o);
        size_t need[] = {kl_kda_workspace(be, &chunk), kl_kda_workspace(be, &token), kl_kda_workspace(be, &step),
                         kl_attention_workspace(be, &softmax)};
        for (int i = 0; i < 4; i++)
            d->work.bytes = need[i] > d->work.bytes ? need[i] : d->work.bytes;
        fine = (d->work.data = malloc(d->work.bytes + 1)) != NULL;
    }
    if (!fine)
        snprintf(err->text, sizeof err->text, "out of memory");
    return fine;
}

/* ---- reading */

enum way { CHUNK, TOKEN, STEP, SOFTMAX };

static kl_status read_once(struct ka_demo *d, const kl_backend *be, enum way way, float *o, kl_error *err)
{
    if (way == SOFTMAX) {
        kl_attention_args a = attention_args(d, o);
        return kl_attention(be, &a, err);
    }
    kl_path path = way == CHUNK ? KL_PATH_CHUNK : way == TOKEN ? KL_PATH_RECURRENT : KL_PATH_AUTO;
    int64_t at_once = way == STEP ? 1 : d->T;
    kl_status status = KL_OK;
    for (int64_t t = 0; t < d->T && status == KL_OK; t += at_once) {
        kl_kda_args a = kda_args(d, o, t, at_once, path, t > 0);
        status = kl_kda(be, &a, err);
    }
    return status;
}

/* The best of a few runs, for as long as they are short; then the guesses. */
static bool read_all(struct ka_demo *d, const kl_backend *be, enum way way, struct ka_guesses *g, kl_error *err)
{
    g->seconds = INFINITY;
    for (double spent = 0; spent < 0.1;) {
        double before = ka_seconds();
        if (read_once(d, be, way, g->o, err) != KL_OK)
            return false;
        double seconds = ka_seconds() - before;
        g->seconds = fmin(g->seconds, seconds);
        spent += fmax(seconds, 0.01);
    }
    for (int64_t t = 0; t < d->T; t++) {
        g->next[t] = best_byte(g->o + t * ROW);
        g->n_right += t + 1 < d->T && g->next[t] == d->text[t + 1];
    }
    return true;
}

bool ka_demo_read(struct ka_demo *d, const kl_backend *be, const unsigned char *text, int64_t T, kl_error *err)
{
    *d = (struct ka_demo){.text = text, .T = T};
    if (!make_room(d, be, err))
        return false;
    for (int64_t t = 0; t < T; t++)
        fill_token(text, t, d->q + t * ROW, d->k + t * ROW, d->v + t * ROW, d->g + t * ROW, d->beta + t * H);
    return read_all(d, be, TOKEN, &d->token, err) && read_all(d, be, STEP, &d->step, err) &&
           read_all(d, be, SOFTMAX, &d->softmax, err) && read_all(d, be, CHUNK, &d->chunk, err);
}

bool ka_demo_go_on(struct ka_demo *d, const kl_backend *be, unsigned char *out, int64_t n, kl_error *err)
{
    unsigned char seen[H + 2]; /* the last bytes: what contexts are made of */
    int64_t kept = d->T < H ? d->T : H, row = d->T;
    memcpy(seen, d->text + d->T - kept, (size_t)kept);
    unsigned char next = drawn_byte(d, d->chunk.o + (d->T - 1) * ROW, 0);
    for (int64_t i = 0; i < n; i++) {
        out[i] = seen[kept] = next;
        fill_token(seen, kept, d->q + row * ROW, d->k + row * ROW, d->v + row * ROW, d->g + row * ROW,
                   d->beta + row * H);
        memset(d->beta + row * H, 0, H * sizeof *d->beta); /* reads, but learns nothing from itself */
        kl_kda_args a = kda_args(d, d->chunk.o, row, 1, KL_PATH_AUTO, true);
        if (kl_kda(be, &a, err) != KL_OK)
            return false;
        next = drawn_byte(d, d->chunk.o + row * ROW, (uint64_t)i + 1);
        if (kept == H)
            memmove(seen, seen + 1, H);
        else
            kept++;
    }
    return true;
}

double ka_demo_distance(const struct ka_demo *d, const struct ka_guesses *a, const struct ka_guesses *b)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < d->T * ROW; i++) {
        double e = (double)a->o[i] - (double)b->o[i];
        error += e * e;
        norm += (double)b->o[i] * (double)b->o[i];
    }
    return norm > 0 ? sqrt(error / norm) : 0;
}

size_t ka_demo_state_bytes(void)
{
    return (size_t)H * D * D * sizeof(float);
}

size_t ka_demo_cache_bytes(int64_t T)
{
    return (size_t)T * 2 * ROW * sizeof(float);
}

void ka_demo_close(struct ka_demo *d)
{
    struct ka_guesses *all[] = {&d->chunk, &d->token, &d->step, &d->softmax};
    for (int i = 0; i < 4; i++) {
        free(all[i]->o);
        free(all[i]->next);
    }
    free(d->q);
    free(d->k);
    free(d->v);
    free(d->g);
    free(d->beta);
    free(d->state);
    free(d->work.data);
}
