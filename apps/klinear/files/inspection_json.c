/* A model as klinear inspect --json prints it. */
#include "inspection_print.h"

#include <string.h>

static void put_config(struct ka_json *j, const kl_config *c)
{
    const struct {
        const char *key;
        int64_t value;
    } integer[] = {
        {"n_layer", c->n_layer},
        {"n_vocab", c->n_vocab},
        {"n_embd", c->n_embd},
        {"n_context", c->n_context},
        {"n_kda_head", c->n_kda_head},
        {"n_kda_v_head", c->n_kda_v_head},
        {"kda_k", c->kda_k},
        {"kda_v", c->kda_v},
        {"n_conv", c->n_conv},
        {"decay_rank", c->decay_rank},
        {"gate_rank", c->gate_rank},
        {"n_head", c->n_head},
        {"q_rank", c->q_rank},
        {"kv_rank", c->kv_rank},
        {"qk_nope", c->qk_nope},
        {"qk_rope", c->qk_rope},
        {"v_dim", c->v_dim},
        {"n_ff", c->n_ff},
        {"n_expert", c->n_expert},
        {"n_expert_used", c->n_expert_used},
        {"n_expert_shared", c->n_expert_shared},
        {"n_ff_expert", c->n_ff_expert},
        {"n_group", c->n_group},
        {"topk_group", c->topk_group},
        {"bos", c->bos},
        {"eos", c->eos},
        {"pad", c->pad},
    };
    ka_json_open(j, "config", '{');
    for (size_t i = 0; i < sizeof integer / sizeof *integer; i++)
        ka_json_integer(j, integer[i].key, integer[i].value);
    ka_json_number(j, "rms_eps", (double)c->rms_eps);
    ka_json_number(j, "kv_norm_eps", (double)c->kv_norm_eps);
    ka_json_number(j, "router_scale", (double)c->router_scale);
    ka_json_number(j, "rope_base", (double)c->rope_base);
    ka_json_number(j, "gate_lower_bound", (double)c->gate_lower_bound);
    ka_json_text(j, "gate", ka_gate_name(c));
    ka_json_text(j, "router", c->router_softmax ? "softmax" : "sigmoid");
    ka_json_flag(j, "tied", c->tied);
    ka_json_flag(j, "rope", c->rope);
    ka_json_flag(j, "conv_bias", c->conv_bias);
    ka_json_flag(j, "gate_bounded", c->gate_bounded);
    ka_json_flag(j, "negative_eigenvalues", c->neg_eigval);
    ka_json_flag(j, "router_renormalise", c->router_renormalise);
    ka_json_flag(j, "router_weight_biased", c->router_weight_biased);
    ka_json_open(j, "layers", '[');
    for (int i = 0; i < c->n_layer; i++) {
        ka_json_open(j, NULL, '{');
        ka_json_text(j, "mixer", kl_mixer_name((kl_mixer)c->mixer[i]));
        ka_json_text(j, "ffn", c->ffn[i] == KL_FFN_DENSE ? "dense" : "routed");
        ka_json_close(j, '}');
    }
    ka_json_close(j, ']');
    ka_json_close(j, '}');
}

static void put_dims(struct ka_json *j, int n_dim, const int64_t *dim)
{
    ka_json_open(j, "shape", '[');
    for (int d = 0; d < n_dim; d++)
        ka_json_integer(j, NULL, dim[d]);
    ka_json_close(j, ']');
}

static void put_groups(struct ka_json *j, const struct ka_inspection *i)
{
    ka_json_open(j, "tensors", '[');
    for (int g = 0; g < i->n_group; g++) {
        const struct ka_tensor_group *group = &i->group[g];
        ka_json_open(j, NULL, '{');
        ka_json_text(j, "role", group->role);
        ka_json_text(j, "type", group->type);
        put_dims(j, group->n_dim, group->dim);
        ka_json_integer(j, "tensors", group->n_tensor);
        ka_json_integer(j, "elements", group->n_element);
        ka_json_integer(j, "bytes", group->bytes);
        ka_json_close(j, '}');
    }
    ka_json_close(j, ']');
}

static void put_list(struct ka_json *j, const struct ka_inspection *i)
{
    kl_tensor_info t;
    ka_json_open(j, "list", '[');
    for (int64_t k = 0; kl_model_tensor(&t, i->loaded.model, k); k++) {
        ka_json_open(j, NULL, '{');
        ka_json_bytes(j, "name", t.name.data, t.name.bytes);
        ka_json_text(j, "role", t.role ? t.role : "?");
        ka_json_integer(j, "layer", t.layer);
        ka_json_text(j, "type", t.type);
        put_dims(j, t.n_dim, t.dim);
        ka_json_integer(j, "bytes", t.bytes);
        ka_json_integer(j, "file", t.file);
        ka_json_close(j, '}');
    }
    ka_json_close(j, ']');
}

static void put_state(struct ka_json *j, const struct ka_inspection *i)
{
    ka_json_open(j, "state", '{');
    ka_json_text(j, "cache_type", kl_cache_type_name(i->cache));
    ka_json_integer(j, "fixed_bytes", i->state.fixed_bytes);
    ka_json_integer(j, "token_bytes", i->state.token_bytes);
    ka_json_integer(j, "page_bytes", i->state.page_bytes);
    ka_json_integer(j, "page_tokens", KL_PAGE_TOKENS);
    ka_json_open(j, "contexts", '[');
    for (int k = 0; k < i->n_context; k++) {
        ka_json_open(j, NULL, '{');
        ka_json_integer(j, "tokens", i->context[k].tokens);
        ka_json_integer(j, "bytes", i->context[k].bytes);
        ka_json_integer(j, "all_mla_bytes", i->context[k].all_mla_bytes);
        ka_json_close(j, '}');
    }
    ka_json_close(j, ']');
    ka_json_close(j, '}');
}

static void put_memory(struct ka_json *j, const struct ka_inspection *i)
{
    ka_json_open(j, "memory", '{');
    ka_json_integer(j, "context", i->asked);
    ka_json_integer(j, "program_bytes", i->program_bytes);
    ka_json_integer(j, "weights_bytes", i->file_bytes);
    ka_json_integer(j, "opened_bytes", i->opened_bytes);
    ka_json_integer(j, "workspace_bytes", i->workspace_bytes);
    ka_json_integer(j, "state_bytes", i->state_bytes);
    ka_json_integer(j, "peak_bytes", i->peak_bytes);
    ka_json_close(j, '}');
    ka_json_open(j, "machine", '{');
    ka_json_integer(j, "memory_bytes", (int64_t)i->machine.memory_bytes);
    ka_json_integer(j, "memory_free_bytes", (int64_t)i->machine.memory_free_bytes);
    ka_json_integer(j, "longest_context", i->longest_context);
    ka_json_integer(j, "sequences", i->sequences);
    ka_json_close(j, '}');
}

static void put_limit(struct ka_json *j, const struct ka_foresight *f)
{
    if (f->budget.total == 0)
        return;
    ka_json_open(j, "limit", '{');
    ka_json_integer(j, "memory_bytes", f->budget.total);
    ka_json_integer(j, "weights_bytes", f->budget.weights);
    ka_json_integer(j, "cache_bytes", f->budget.cache);
    ka_json_integer(j, "experts", f->experts);
    ka_json_integer(j, "experts_in_memory", f->in_memory);
    ka_json_number(j, "expert_hits", f->hits);
    ka_json_integer(j, "disk_bytes_per_token", (int64_t)f->disk_bytes);
    ka_json_number(j, "disk_gbps", f->disk_gbps);
    ka_json_number(j, "memory_gbps", f->memory_gbps);
    ka_json_number(j, "tokens_per_second", f->tokens_per_second);
    ka_json_close(j, '}');
}

void ka_inspection_json(const struct ka_inspection *i, bool list)
{
    struct ka_json j = {.out = stdout};
    kl_text name = kl_model_name(i->loaded.model);
    ka_json_open(&j, NULL, '{');
    ka_json_open(&j, "model", '{');
    ka_json_text(&j, "path", i->loaded.path);
    ka_json_text(&j, "format", kl_model_format(i->loaded.model));
    ka_json_bytes(&j, "name", name.data, name.bytes);
    ka_json_integer(&j, "files", i->n_file);
    ka_json_integer(&j, "tensors", i->n_tensor);
    ka_json_integer(&j, "bytes", i->file_bytes);
    ka_json_close(&j, '}');
    put_config(&j, kl_model_config(i->loaded.model));
    ka_json_open(&j, "parameters", '{');
    ka_json_integer(&j, "total", i->cost.parameters);
    ka_json_integer(&j, "active", i->active);
    ka_json_close(&j, '}');
    put_groups(&j, i);
    if (list)
        put_list(&j, i);
    put_state(&j, i);
    put_memory(&j, i);
    put_limit(&j, &i->foresight);
    ka_json_close(&j, '}');
}
