#include "inspection.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Pages of this process that are in memory now. */
static int64_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long long size, resident = 0;
    if (file && fscanf(file, "%lld %lld", &size, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

/* ------------------------------------------------------------------------------------------------------- tensors -- */

static struct ka_tensor_group *group_of(struct ka_inspection *i, const kl_tensor_info *t)
{
    const char *role = t->role ? t->role : "?";
    for (int g = 0; g < i->n_group; g++)
        if (strcmp(i->group[g].role, role) == 0 && strcmp(i->group[g].type, t->type) == 0)
            return &i->group[g];
    if (i->n_group == KA_INSPECT_GROUPS)
        return &i->group[KA_INSPECT_GROUPS - 1];
    struct ka_tensor_group *g = &i->group[i->n_group++];
    *g = (struct ka_tensor_group){.role = role, .type = t->type, .n_dim = t->n_dim};
    memcpy(g->dim, t->dim, sizeof g->dim);
    return g;
}

static void find_tensors(struct ka_inspection *i)
{
    kl_tensor_info t;
    for (; kl_model_tensor(&t, i->loaded.model, i->n_tensor); i->n_tensor++) {
        struct ka_tensor_group *g = group_of(i, &t);
        g->n_tensor++;
        g->n_element += t.n_element;
        g->bytes += t.bytes;
    }
    while (kl_model_file(i->loaded.model, i->n_file))
        i->n_file++;
    i->file_bytes = kl_model_file_bytes(i->loaded.model);
    i->cost = kl_model_token_cost(i->loaded.model, i->cache);
    i->active = i->cost.fixed_parameters + i->cost.expert_parameters * kl_model_config(i->loaded.model)->n_expert_used;
}

/* --------------------------------------------------------------------------------------------------------- state -- */

static int64_t state_of(const struct ka_inspection *i, int64_t tokens)
{
    return i->state.fixed_bytes + (tokens + KL_PAGE_TOKENS - 1) / KL_PAGE_TOKENS * i->state.page_bytes;
}

static void find_contexts(struct ka_inspection *i)
{
    const kl_config *c = kl_model_config(i->loaded.model);
    const int64_t tokens[] = {4096, 131072, 1048576, i->asked};
    int64_t n_mla = 0;
    i->state = kl_config_state_cost(c, i->cache);
    for (int l = 0; l < c->n_layer; l++)
        n_mla += c->mixer[l] == KL_MIXER_MLA;
    for (int k = 0; k < 4; k++) {
        bool again = k == 3 && (i->asked == tokens[0] || i->asked == tokens[1] || i->asked == tokens[2]);
        if (again)
            continue;
        i->context[i->n_context++] = (struct ka_context){
            .tokens = tokens[k],
            .bytes = state_of(i, tokens[k]),
            .all_mla_bytes = n_mla ? i->state.token_bytes / n_mla * c->n_layer * tokens[k] : 0,
        };
    }
}

/* -------------------------------------------------------------------------------------------------------- memory -- */

/* What the machine has left beside one engine, for sequences. */
static void find_room(struct ka_inspection *i)
{
    int64_t base = i->program_bytes + i->file_bytes + i->opened_bytes + i->workspace_bytes;
    int64_t left = (int64_t)i->machine.memory_free_bytes - base, each = i->state_bytes;
    i->sequences = left < each ? 0 : each ? left / each : -1;
    i->longest_context = -1;
    if (left < i->state.fixed_bytes)
        i->longest_context = 0;
    else if (i->state.page_bytes)
        i->longest_context = (left - i->state.fixed_bytes) / i->state.page_bytes * KL_PAGE_TOKENS;
}

static kl_status find_memory(struct ka_inspection *i, int64_t batch, int64_t at_start, kl_error *err)
{
    kl_engine_options options = {.cache_type = i->cache, .max_batch_tokens = (int)batch};
    kl_engine_memory engine;
    kl_error none;
    kl_status status = kl_engine_predict(&engine, i->loaded.model, &options, err);
    if (status != KL_OK)
        return status;
    int64_t before = resident_bytes(); /* a model without a tokenizer is none of our business here */
    bool tokenizer = ka_load_tokenizer(&i->loaded, &none) == KL_OK;
    i->program_bytes = at_start + (tokenizer ? resident_bytes() - before : 0);
    i->opened_bytes = kl_model_memory_bytes(i->loaded.model);
    i->workspace_bytes = engine.workspace_bytes;
    i->state_bytes = state_of(i, i->asked);
    i->peak_bytes = i->program_bytes + i->file_bytes + i->opened_bytes + i->workspace_bytes + i->state_bytes;
    find_room(i);
    return KL_OK;
}

kl_status ka_inspect(struct ka_inspection *i, const struct ka_choice *choice, int64_t asked, int64_t batch,
                     kl_error *err)
{
    int64_t at_start = resident_bytes();
    *i = (struct ka_inspection){.machine = ka_machine(0), .cache = (kl_cache_type)choice->cache, .asked = asked};
    kl_status status = ka_load_model(&i->loaded, choice, err);
    if (status != KL_OK)
        return status;
    find_tensors(i);
    find_contexts(i);
    status = find_memory(i, batch, at_start, err);
    if (status == KL_OK)
        status = ka_foresee(&i->foresight, &i->loaded, choice, (int)batch, err);
    if (status != KL_OK)
        ka_inspect_close(i);
    return status;
}

void ka_inspect_close(struct ka_inspection *i)
{
    ka_unload(&i->loaded);
}
