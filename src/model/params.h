/** The parameters of a model, as data: params.def. */
#ifndef KL_MODEL_PARAMS_H
#define KL_MODEL_PARAMS_H

#include "model/config.h"

enum kl__param {
#define PARAM(name, where, present, form, d0, d1, hf, gguf) KL__##name,
#include "model/params.def"
#undef PARAM
    KL__N_PARAM
};

/** Where parameters stand. */
enum kl__where {
    KL__GLOBAL,
    KL__EVERY,
    KL__RECURRENT,
    KL__MLA,
    KL__DENSE,
    KL__MOE,
};

/** How a parameter is kept: see params.def. */
enum kl__form {
    KL__FORM_MATRIX,
    KL__FORM_VECTOR,
    KL__FORM_CONV,
    KL__FORM_A_LOG,
    KL__FORM_KV_B,
    KL__FORM_ROUTER,
    KL__FORM_EXPERTS,
};

/** How files name parameters. */
enum kl__naming {
    KL__NAMES_HF,
    KL__NAMES_GGUF,
};

struct kl__param_info {
    const char *name; /* "KDA_Q" */
    enum kl__where where;
    enum kl__form form;
    const char *hf, *gguf;
};

/** Static storage. */
const struct kl__param_info *kl__param_info(enum kl__param p);

/** True when layer `layer` (-1: the model itself, for GLOBAL parameters) has the parameter. */
bool kl__param_present(const kl_config *c, enum kl__param p, int layer);

/** Its shape, of one expert for EXPERTS: fills dim[0..1] and returns 1 or 2.  Only of a present parameter. */
int kl__param_dims(const kl_config *c, enum kl__param p, int layer, int64_t dim[2]);

/** A name in a file. */
struct kl__param_name {
    char text[160];
};
/** Name of a parameter, of expert `expert` where names say so. */
struct kl__param_name kl__param_name(enum kl__naming naming, enum kl__param p, int layer, int expert);

#endif
