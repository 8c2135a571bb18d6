/* A step: gradients into better parameters, or none when they are not to be trusted; then the balance of experts. */
#include "base/error.h"
#include "train/trainer.h"

#include <math.h>

enum kl__rule kl__rule_of(enum kl__param p)
{
    switch (p) {
    case KL__ROUTER_BIAS:
        return KL__RULE_FIXED;
    case KL__EMBED:
    case KL__HEAD:
    case KL__ROUTER:
    case KL__DECAY_A:
    case KL__DECAY_B:
    case KL__DECAY:
    case KL__BETA:
    case KL__GATE_A:
    case KL__GATE_B:
    case KL__GATE:
        return KL__RULE_MATRIX;
    default:
        break;
    }
    enum kl__form form = kl__param_info(p)->form;
    bool matrix = form == KL__FORM_MATRIX || form == KL__FORM_KV_B || form == KL__FORM_EXPERTS;
    return matrix ? KL__RULE_HIDDEN : KL__RULE_VECTOR;
}

/* --------------------------------------------------------------------------------------------------------- usual -- */

enum { USUAL_STEPS = 64, USUAL_LEAST = 32 };

static bool outlier(const struct kl__usual *u, double x, float many)
{
    return many > 0 && u->n >= USUAL_LEAST && x - u->mean > many * sqrt(u->variance);
}

/* An outlier counts as the largest number that is none, so that a new level is usual after a while. */
static void get_used(struct kl__usual *u, double x, float many)
{
    if (outlier(u, x, many))
        x = u->mean + many * sqrt(u->variance);
    double n = (double)++u->n, rate = 1 / (n < USUAL_STEPS ? n : USUAL_STEPS), d = x - u->mean;
    u->mean += rate * d;
    u->variance += rate * (d * (x - u->mean) - u->variance);
}

/* True when the step is to be taken. */
static bool trusted(kl_trainer *t, const kl_step_options *o, double norm)
{
    if (!isfinite(norm) || !isfinite(o->loss))
        return false;
    double size = log(norm + 1e-30);
    bool odd = outlier(&t->norm, size, o->outlier) || (o->loss != 0 && outlier(&t->loss, o->loss, o->outlier));
    get_used(&t->norm, size, o->outlier);
    if (o->loss != 0)
        get_used(&t->loss, o->loss, o->outlier);
    return !odd;
}

/* --------------------------------------------------------------------------------------------------------- steps -- */

static float or_default(float x, float otherwise)
{
    return x != 0 ? x : otherwise;
}

static kl_status step_place(const kl_trainer *t, const struct kl__place *place, const kl_step_options *o, float scale,
                            kl_error *err)
{
    enum kl__rule rule = kl__rule_of(place->param);
    if (rule == KL__RULE_FIXED)
        return KL_OK;
    if (rule == KL__RULE_HIDDEN && t->optimiser == KL_OPTIMISER_MUON)
        return kl__muon_step(
            t, place, &(struct kl__muon_step){o->lr, or_default(o->momentum, 0.95F), o->weight_decay, scale}, err);
    return kl_adamw(t->be,
                    &(kl_adamw_args){.p = t->arena[KL__VALUE] + place->at,
                                     .m = t->arena[KL__MOMENT1] + place->at,
                                     .v = t->arena[KL__MOMENT2] + place->at,
                                     .gradient = t->arena[KL__GRADIENT] + place->at,
                                     .n = kl__place_floats(place),
                                     .step = t->n_step + 1,
                                     .lr = o->lr,
                                     .beta1 = or_default(o->beta1, 0.9F),
                                     .beta2 = or_default(o->beta2, 0.95F),
                                     .eps = or_default(o->eps, 1e-8F),
                                     .weight_decay = rule == KL__RULE_VECTOR ? 0 : o->weight_decay,
                                     .grad_scale = scale},
                    err);
}

static kl_status step_all(kl_trainer *t, const kl_step_options *o, double norm, kl_error *err)
{
    struct kl__run r = {.be = t->be, .seconds = t->seconds};
    float scale = o->clip > 0 && norm > o->clip ? (float)(o->clip / norm) : 1;
    for (int64_t i = 0; i < t->layout.n_place; i++) {
        const struct kl__place *place = &t->layout.place[i];
        bool muon = kl__rule_of(place->param) == KL__RULE_HIDDEN && t->optimiser == KL_OPTIMISER_MUON;
        double from = kl__run_clock(&r);
        KL_TRY(step_place(t, place, o, scale, err));
        kl__run_took(&r, muon ? KL__TIMED_MUON : KL__TIMED_ADAMW, from);
    }
    t->n_step++;
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------- experts -- */

/* The fullest expert over the mean, and the bias moves towards the mean. */
static double balance_layer(kl_trainer *t, int layer, float rate)
{
    const kl_config *c = &t->layout.c;
    const int64_t *load = t->load + (int64_t)layer * c->n_expert;
    float *bias = kl__layout_view(&t->layout, t->arena[KL__VALUE], KL__ROUTER_BIAS, layer).data;
    int64_t sum = 0, most = 0;
    for (int e = 0; e < c->n_expert; e++) {
        sum += load[e];
        most = load[e] > most ? load[e] : most;
    }
    for (int e = 0; e < c->n_expert && sum > 0; e++)
        bias[e] += rate * (float)((load[e] * c->n_expert < sum) - (load[e] * c->n_expert > sum));
    return sum > 0 ? (double)most * c->n_expert / (double)sum : 0;
}

static void balance(kl_trainer *t, float rate, kl_step_report *report)
{
    const kl_config *c = &t->layout.c;
    int n = 0;
    for (int layer = 0; layer < c->n_layer; layer++)
        if (c->ffn[layer] == KL_FFN_MOE) {
            double load = balance_layer(t, layer, rate);
            report->worst_load = load > report->worst_load ? load : report->worst_load;
            report->mean_load += load;
            n++;
        }
    report->mean_load /= n ? n : 1;
}

/* ------------------------------------------------------------------------------------------------------ the step -- */

kl_status kl_trainer_step(kl_trainer *t, const kl_step_options *o, kl_step_report *report, kl_error *err)
{
    if (!t || !o || !report)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer_step: %s is NULL", !t ? "trainer" : o ? "report" : "options");
    const float all[] = {o->lr, o->momentum, o->weight_decay, o->clip, o->outlier, o->balance};
    static const char *const name[] = {"lr", "momentum", "weight_decay", "clip", "outlier", "balance"};
    for (int i = 0; i < (int)(sizeof all / sizeof *all); i++)
        if (!(all[i] >= 0 && all[i] < 1e6F))
            return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer_step: %s is %g, expected 0 .. 1e6", name[i],
                            (double)all[i]);
    double norm = sqrt(kl_sum_squares(t->be, t->arena[KL__GRADIENT], t->layout.n));
    kl_step_report new = {.gradient_norm = norm, .skipped = !trusted(t, o, norm)};
    if (!new.skipped)
        KL_TRY(step_all(t, o, norm, err));
    balance(t, new.skipped ? 0 : o->balance, &new);
    kl_trainer_forget_gradients(t);
    *report = new;
    return KL_OK;
}

int64_t kl_trainer_n_step(const kl_trainer *t)
{
    return t->n_step;
}
