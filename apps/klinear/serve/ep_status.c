/* What goes on: GET /health, /props, /slots, /metrics */
#include "routes.h"

#include <math.h>

enum { MOST_SLOTS = 256 };

void ks_ep_health(struct ks_exchange *x)
{
    bool draining = x->server->draining;
    ks_answer_json(x, draining ? 503 : 200, json_pack("{s:s}", "status", draining ? "stopping" : "ok"));
}

void ks_ep_props(struct ks_exchange *x)
{
    const struct ks_server *s = x->server;
    kl_scheduler_state state = kl_scheduler_state_of(s->scheduler);
    kl_text template = kl_tokenizer_template(s->l->tokenizer);
    json_t *props = json_pack("{s:s,s:s,s:s,s:I,s:i,s:i,s:b,s:I,s:I,s:I}", "model", s->name, "model_path", s->l->path,
                              "version", kl_version(), "context", (json_int_t)s->context, "sequences",
                              state.max_running, "queue", state.max_waiting, "chat", s->chats, "fixed_bytes",
                              (json_int_t)state.memory.fixed_bytes, "page_bytes", (json_int_t)state.memory.page_bytes,
                              "prefix_cache_bytes", (json_int_t)state.prefix.most_bytes);
    json_t *text = template.bytes ? json_stringn(template.data, template.bytes) : NULL;
    json_object_set_new(props, "chat_template", text ? text : json_null());
    json_object_set_new(props, "template", s->o->template ? json_string(s->o->template) : json_null());
    ks_answer_json(x, 200, props);
}

/* Requests that are being worked on, or wait; with keys everybody sees only numbers. */
void ks_ep_slots(struct ks_exchange *x)
{
    kl_job_info info[MOST_SLOTS];
    int n = kl_scheduler_jobs(x->server->scheduler, info, MOST_SLOTS);
    json_t *slots = json_array();
    for (int i = 0; i < n && i < MOST_SLOTS; i++)
        json_array_append_new(slots, json_pack("{s:I,s:s,s:I,s:I,s:I,s:I}", "id", (json_int_t)info[i].job, "state",
                                               !info[i].running                ? "waiting"
                                               : info[i].at < info[i].n_prompt ? "reading"
                                                                               : "writing",
                                               "prompt_tokens", (json_int_t)info[i].n_prompt, "read_tokens",
                                               (json_int_t)info[i].at, "new_tokens", (json_int_t)info[i].n_new,
                                               "most_new_tokens", (json_int_t)info[i].max_new));
    ks_answer_json(x, 200, slots);
}

/* ------------------------------------------------------------------------------------------------------- metrics -- */

static void metric(struct ks_bytes *b, const char *name, const char *type, const char *help, double value)
{
    ks_addf(b, "# HELP klinear_%s %s\n# TYPE klinear_%s %s\n", name, help, name, type);
    if (floor(value) == value && fabs(value) < 9e15)
        ks_addf(b, "klinear_%s %lld\n", name, (long long)value);
    else
        ks_addf(b, "klinear_%s %.6f\n", name, value);
}

void ks_ep_metrics(struct ks_exchange *x)
{
    struct ks_server *s = x->server;
    kl_scheduler_state t = kl_scheduler_state_of(s->scheduler);
    struct ks_bytes b = {0};
    const struct {
        const char *name, *type, *help;
        double value;
    } metrics[] = {
        {"http_requests_total", "counter", "Requests of any kind.", (double)s->n_request},
        {"http_errors_total", "counter", "Answers with a status of 400 or more.", (double)s->n_error},
        {"http_dropped_total", "counter", "Clients that left before their answer was complete.", (double)s->n_dropped},
        {"busy_total", "counter", "Requests that were told to try later.", (double)s->n_busy},
        {"jobs_total", "counter", "Answers that were begun.", (double)t.n_job},
        {"jobs_cancelled_total", "counter", "Answers that were cancelled.", (double)t.n_ended[KL_JOB_CANCELLED]},
        {"jobs_failed_total", "counter", "Answers that failed.", (double)t.n_ended[KL_JOB_FAILED]},
        {"jobs_waiting", "gauge", "Answers that wait for a sequence.", t.n_waiting},
        {"jobs_running", "gauge", "Answers that have a sequence.", t.n_running},
        {"jobs_running_most", "gauge", "Sequences that there are.", t.max_running},
        {"prompt_tokens_total", "counter", "Tokens of prompts.", (double)t.prompt_tokens},
        {"reused_tokens_total", "counter", "Tokens of prompts that the prefix cache had.", (double)t.reused_tokens},
        {"read_tokens_total", "counter", "Tokens of prompts that were read.", (double)t.read_tokens},
        {"drafted_tokens_total", "counter", "Tokens that were guessed ahead.", (double)t.drafted_tokens},
        {"accepted_tokens_total", "counter", "Of those, tokens that were right.", (double)t.accepted_tokens},
        {"read_again_tokens_total", "counter", "Tokens read again after pages ran out.", (double)t.again_tokens},
        {"new_tokens_total", "counter", "Tokens written.", (double)t.new_tokens},
        {"preempted_total", "counter", "Times that an answer gave its pages back.", (double)t.n_preempted},
        {"steps_total", "counter", "Steps of the model.", (double)t.n_step},
        {"step_seconds_total", "counter", "Time in steps.", t.step_seconds},
        {"pages_used", "gauge", "Pages of the latent cache in use.", (double)t.memory.pages_used},
        {"pages_held", "gauge", "Pages that have memory, in use or kept for the next.", (double)t.memory.pages_held},
        {"pages_most", "gauge", "Pages that there may be.", (double)t.memory.pages_most},
        {"page_bytes", "gauge", "Bytes of a page.", (double)t.memory.page_bytes},
        {"prefix_bytes", "gauge", "Bytes that the prefix cache holds.", (double)t.prefix.bytes},
        {"prefix_most_bytes", "gauge", "Bytes that it may hold.", (double)t.prefix.most_bytes},
        {"prefix_blocks", "gauge", "Blocks of 64 tokens in the prefix cache.", (double)t.prefix.n_block},
        {"prefix_checkpoints", "gauge", "Places at which a prompt can go on.", (double)t.prefix.n_checkpoint},
        {"prefix_disk_bytes", "gauge", "Bytes of its files.", (double)t.prefix.disk_bytes},
        {"prefix_files", "gauge", "Its files.", (double)t.prefix.n_file},
        {"stopping", "gauge", "1 while the server is being stopped.", s->draining ? 1 : 0},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        metric(&b, metrics[i].name, metrics[i].type, metrics[i].help, metrics[i].value);
    ks_answer_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", b.data, b.n);
    ks_free(&b);
}
