/* A model as klinear inspect prints it for people. */
#include "../cli/amount.h"
#include "base/str.h"
#include "inspection_print.h"

#include <string.h>

const char *ka_gate_name(const kl_config *c)
{
    return c->gate_act == 0 ? "none" : c->gate_act == 1 ? "sigmoid" : "silu";
}

/* What a file says may not command a terminal. */
static struct kl__shown shown(kl_text text)
{
    return kl__shown((struct kl__str){text.data, text.bytes});
}

/* "49.1 G", "3.8 M" */
static struct ka_amount count(int64_t n)
{
    struct ka_amount a;
    if (n >= 1000000000)
        snprintf(a.text, sizeof a.text, "%.2f G", (double)n / 1e9);
    else if (n >= 1000000)
        snprintf(a.text, sizeof a.text, "%.1f M", (double)n / 1e6);
    else
        snprintf(a.text, sizeof a.text, "%lld", (long long)n);
    return a;
}

static void print_mixers(const kl_config *c)
{
    printf("Layers          %d:", c->n_layer);
    for (int m = 0; m < KL_N_MIXER; m++) {
        int n = 0;
        for (int i = 0; i < c->n_layer; i++)
            n += c->mixer[i] == m;
        if (n)
            printf(" %d %s", n, kl_mixer_name((kl_mixer)m));
    }
    printf(" (mla in");
    bool any = false;
    for (int i = 0; i < c->n_layer; i++)
        if (c->mixer[i] == KL_MIXER_MLA) {
            printf(" %d", i);
            any = true;
        }
    puts(any ? ")" : " none)");
}

static void print_recurrence(const kl_config *c)
{
    if (!c->n_kda_head)
        return;
    printf("Recurrence      %d heads of %d x %d", c->n_kda_v_head, c->kda_k, c->kda_v);
    if (c->n_kda_v_head != c->n_kda_head)
        printf(" (keys have %d)", c->n_kda_head);
    printf(", %d taps, gate %s", c->n_conv, ka_gate_name(c));
    if (c->gate_bounded)
        printf(", decay bounded by %g", (double)c->gate_lower_bound);
    puts(c->neg_eigval ? ", negative eigenvalues" : "");
}

static void print_ffn(const kl_config *c)
{
    int n_dense = 0;
    for (int i = 0; i < c->n_layer; i++)
        n_dense += c->ffn[i] == KL_FFN_DENSE;
    printf("Feed-forward    ");
    if (n_dense)
        printf("%d dense of width %d%s", n_dense, c->n_ff, n_dense < c->n_layer ? "; " : "\n");
    if (n_dense < c->n_layer)
        printf("%d routed: %d of %d experts of width %d, %d shared, %s scores\n", c->n_layer - n_dense,
               c->n_expert_used, c->n_expert, c->n_ff_expert, c->n_expert_shared,
               c->router_softmax ? "softmax" : "sigmoid");
}

static void print_config(const kl_config *c)
{
    print_mixers(c);
    printf("Width           %d, vocabulary %d%s, made for %lld tokens\n", c->n_embd, c->n_vocab,
           c->tied ? " (the head is the embedding)" : "", (long long)c->n_context);
    print_recurrence(c);
    if (c->kv_rank) {
        printf("MLA             %d heads, %d + %d wide, values %d, latent %d", c->n_head, c->qk_nope, c->qk_rope,
               c->v_dim, c->kv_rank);
        if (c->q_rank)
            printf(", queries of rank %d", c->q_rank);
        puts(c->rope ? ", rotary positions" : ", no positions");
    }
    print_ffn(c);
}

static void print_shape(char *text, size_t room, int n_dim, const int64_t *dim)
{
    size_t n = 0;
    text[0] = 0;
    for (int d = 0; d < n_dim && n < room; d++)
        n += (size_t)snprintf(text + n, room - n, "%s%lld", d ? " x " : "", (long long)dim[d]);
}

static void print_groups(const struct ka_inspection *i)
{
    printf("\n%-14s %-7s %7s  %-22s %10s %11s\n", "Tensors", "type", "count", "shape", "numbers", "size");
    for (int g = 0; g < i->n_group; g++) {
        const struct ka_tensor_group *t = &i->group[g];
        char shape[96];
        print_shape(shape, sizeof shape, t->n_dim, t->dim);
        printf("%-14s %-7s %7lld  %-22s %10s %11s\n", t->role, t->type, (long long)t->n_tensor, shape,
               count(t->n_element).text, ka_bytes((double)t->bytes).text);
    }
}

static void print_list(const struct ka_inspection *i)
{
    kl_tensor_info t;
    puts("");
    for (int64_t k = 0; kl_model_tensor(&t, i->loaded.model, k); k++) {
        char shape[96];
        print_shape(shape, sizeof shape, t.n_dim, t.dim);
        printf("%-56s %-6s %s\n", shown(t.name).text, t.type, shape);
    }
}

static void print_state(const struct ka_inspection *i)
{
    printf("\nState of a sequence: %s whatever its length, and %s a token (%s), in pages of %d tokens\n",
           ka_bytes((double)i->state.fixed_bytes).text, ka_bytes((double)i->state.token_bytes).text,
           kl_cache_type_name(i->cache), KL_PAGE_TOKENS);
    printf("%12s %12s %16s %8s\n", "tokens", "state", "if all were MLA", "saving");
    for (int k = 0; k < i->n_context; k++) {
        const struct ka_context *c = &i->context[k];
        char saving[32] = "-";
        if (c->all_mla_bytes)
            snprintf(saving, sizeof saving, "%.1f %%", 100 * (1 - (double)c->bytes / (double)c->all_mla_bytes));
        printf("%12lld %12s %16s %8s\n", (long long)c->tokens, ka_bytes((double)c->bytes).text,
               c->all_mla_bytes ? ka_bytes((double)c->all_mla_bytes).text : "-", saving);
    }
}

static void print_memory(const struct ka_inspection *i)
{
    printf("\nMemory of a run with %lld tokens\n", (long long)i->asked);
    printf("  weights       %12s  (mapped: read from the disk when they are first used)\n",
           ka_bytes((double)i->file_bytes).text);
    printf("  small tensors %12s\n", ka_bytes((double)i->opened_bytes).text);
    printf("  workspace     %12s\n", ka_bytes((double)i->workspace_bytes).text);
    printf("  state         %12s\n", ka_bytes((double)i->state_bytes).text);
    printf("  program       %12s\n", ka_bytes((double)i->program_bytes).text);
    printf("  peak          %12s\n", ka_bytes((double)i->peak_bytes).text);
}

static void print_limit(const struct ka_foresight *f)
{
    if (f->budget.total == 0)
        return;
    printf("\nUnder a limit of %s: weights %s, latent cache %s, the rest for program, workspace and states\n",
           ka_bytes((double)f->budget.total).text, ka_bytes((double)f->budget.weights).text,
           ka_bytes((double)f->budget.cache).text);
    if (f->experts)
        printf("  experts       %lld of %lld in memory: %.1f %% are found there, were all chosen alike\n",
               (long long)f->in_memory, (long long)f->experts, 100 * f->hits);
    printf("  a token reads %s from the disk (%.2f GB/s), %s from memory (%.1f GB/s)\n", ka_bytes(f->disk_bytes).text,
           f->disk_gbps, ka_bytes(f->memory_bytes).text, f->memory_gbps);
    printf("  that makes    %s tokens a second at most\n", ka_rate(f->tokens_per_second).text);
}

static void print_machine(const struct ka_inspection *i)
{
    int64_t base = i->peak_bytes - i->state_bytes, free_bytes = (int64_t)i->machine.memory_free_bytes;
    printf("\nThis machine has %s, of which %s can be had: ", ka_bytes((double)i->machine.memory_bytes).text,
           ka_bytes((double)free_bytes).text);
    if (base > free_bytes) {
        printf("the model needs %s more.\nIt runs all the same: weights are read from the disk when they are used.\n",
               ka_bytes((double)(base - free_bytes)).text);
        return;
    }
    if (i->longest_context < 0)
        puts("a sequence of any length,");
    else
        printf("one sequence of up to %lld tokens,\n", (long long)i->longest_context);
    printf("or %lld sequences of %lld tokens.\n", (long long)i->sequences, (long long)i->asked);
}

void ka_inspection_text(const struct ka_inspection *i, bool list)
{
    kl_text name = kl_model_name(i->loaded.model);
    printf("Model           %s%s%s%s\n", i->loaded.path, name.bytes ? " (" : "", name.bytes ? shown(name).text : "",
           name.bytes ? ")" : "");
    printf("Files           %d %s, %s, %lld tensors\n", i->n_file, kl_model_format(i->loaded.model),
           ka_bytes((double)i->file_bytes).text, (long long)i->n_tensor);
    print_config(kl_model_config(i->loaded.model));
    printf("Parameters      %s, of which %s meet a token\n", count(i->cost.parameters).text, count(i->active).text);
    print_groups(i);
    if (list)
        print_list(i);
    print_state(i);
    print_memory(i);
    print_limit(&i->foresight);
    print_machine(i);
}
