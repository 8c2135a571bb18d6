#include "sampling.h"

#include "../cli/machine.h"
#include "base/error.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define AT(x) .field = offsetof(struct ka_sampling_choice, x)
const struct ka_option ka_sampling_options[] = {
    {.name = "temperature",
     .value = "X",
     .kind = KA_REAL,
     AT(temperature),
     .min = 0,
     .max = 100,
     .help = "0: always the most likely token; default: 0.8"},
    {.name = "top-k",
     .value = "N",
     .kind = KA_NUMBER,
     AT(top_k),
     .min = 0,
     .max = 1 << 30,
     .help = "choose among the N most likely; 0, the default: among all"},
    {.name = "top-p",
     .value = "P",
     .kind = KA_REAL,
     AT(top_p),
     .min = 0,
     .max = 1,
     .help = "among the most likely that have this probability together;\n0 or 1: among all; default: 0.95"},
    {.name = "min-p",
     .value = "P",
     .kind = KA_REAL,
     AT(min_p),
     .min = 0,
     .max = 1,
     .help = "among those with this part of the highest probability; default: 0"},
    {.name = "typical-p",
     .value = "P",
     .kind = KA_REAL,
     AT(typical_p),
     .min = 0,
     .max = 1,
     .help = "among those nearest to the expected surprise that have this\nprobability together; default: 0"},
    {.name = "repetition-penalty",
     .value = "X",
     .kind = KA_REAL,
     AT(repetition),
     .min = 0,
     .max = 100,
     .help = "make what has been read or written less likely; default: 1"},
    {.name = "presence-penalty",
     .value = "X",
     .kind = KA_REAL,
     AT(presence),
     .min = -100,
     .max = 100,
     .help = "make what has been written less likely, once; default: 0"},
    {.name = "frequency-penalty",
     .value = "X",
     .kind = KA_REAL,
     AT(frequency),
     .min = -100,
     .max = 100,
     .help = "the same for every time; default: 0"},
    {.name = "penalty-tokens",
     .value = "N",
     .kind = KA_NUMBER,
     AT(penalty_tokens),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "penalties look at the last N tokens; 0, the default: at all"},
    {.name = "logit-bias",
     .value = "ID=X",
     .kind = KA_TEXTS,
     AT(bias),
     .help = "add X to the logit of a token, or forbid it with -inf;\nmay be given several times"},
    {.name = "seed",
     .value = "N",
     .kind = KA_NUMBER,
     AT(seed),
     .min = 0,
     .max = INT64_MAX,
     .help = "the same seed gives the same text; default: a new one,\nor that of the session that is loaded"},
    {.name = "stop",
     .value = "TEXT",
     .kind = KA_TEXTS,
     AT(stop),
     .help = "end in front of this text; may be given several times"},
    {0},
};

static uint64_t new_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)(1e9 * ka_seconds());
    return seed >> 33; /* few digits, because it is shown, to be typed again */
}

static kl_status read_bias(kl_logit_bias *to, const char *text, int32_t n_vocab, kl_error *err)
{
    char *stop;
    errno = 0;
    long id = *text >= '0' && *text <= '9' ? strtol(text, &stop, 10) : -1;
    if (id < 0 || id >= n_vocab || errno || *stop != '=')
        return kl__fail(err, KL_ERR_ARGUMENT, "--logit-bias is \"%.40s\", expected an id in 0 .. %d, =, and a number",
                        text, (int)n_vocab - 1);
    to->id = (int32_t)id;
    to->bias = -INFINITY;
    if (strcmp(stop + 1, "-inf") != 0 && !ka_read_real(stop + 1, &to->bias))
        return kl__fail(err, KL_ERR_ARGUMENT, "--logit-bias is \"%.40s\", expected a number or -inf behind =", text);
    return KL_OK;
}

kl_status ka_sampling_of(struct ka_sampling *to, const struct ka_sampling_choice *c, int32_t n_vocab, kl_error *err)
{
    to->s = (kl_sampling){
        .temperature = c->temperature,
        .top_k = (int32_t)c->top_k,
        .top_p = c->top_p,
        .min_p = c->min_p,
        .typical_p = c->typical_p,
        .repetition_penalty = c->repetition,
        .presence_penalty = c->presence,
        .frequency_penalty = c->frequency,
        .penalty_tokens = c->penalty_tokens,
        .bias = to->bias,
        .n_bias = (size_t)c->bias.n,
    };
    for (int i = 0; i < c->bias.n; i++)
        KL_TRY(read_bias(&to->bias[i], c->bias.at[i], n_vocab, err));
    to->chosen = c->seed >= 0;
    to->seed = to->chosen ? (uint64_t)c->seed : new_seed();
    return kl_sampling_check(&to->s, n_vocab, err);
}
