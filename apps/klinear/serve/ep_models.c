/* GET /v1/models, GET /v1/models/NAME */
#include "routes.h"

#include <string.h>

static json_t *model_json(const struct ks_server *s)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:I}", "id", s->name, "object", "model", "created", (json_int_t)s->started,
                     "owned_by", "klinear", "context_length", (json_int_t)s->context);
}

void ks_ep_models(struct ks_exchange *x)
{
    ks_answer_json(x, 200, json_pack("{s:s,s:[o]}", "object", "list", "data", model_json(x->server)));
}

void ks_ep_model(struct ks_exchange *x)
{
    struct ks_problem p;
    if (strcmp(x->argument, x->server->name) == 0) {
        ks_answer_json(x, 200, model_json(x->server));
        return;
    }
    ks_refuse(&p, 404, "model", "model_not_found", "the model \"%.64s\" is not served here, \"%s\" is", x->argument,
              x->server->name);
    ks_answer_problem(x, &p);
}
