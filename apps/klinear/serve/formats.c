#include "formats.h"

#include <stdlib.h>
#include <string.h>

/* False: refused, in words about the field `name`. */
static bool compile(struct ks_generation *g, kl_grammar_kind kind, const char *text, size_t bytes, const char *name,
                    struct ks_problem *p)
{
    kl_error err = {0};
    if (g->grammar)
        return ks_refuse(p, 400, name, NULL, "%s is there beside another format, expected one", name);
    kl_status status = kl_grammar_open(&g->grammar, kind, (kl_text){text, bytes}, NULL, &err);
    if (status == KL_OK)
        return true;
    return ks_refuse(p, status == KL_ERR_MEMORY ? 503 : 400, name, "invalid_grammar", "%s: %s", name, err.text);
}

static bool compile_schema(struct ks_generation *g, const json_t *schema, const char *name, struct ks_problem *p)
{
    char *text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    bool fine = text ? compile(g, KL_GRAMMAR_JSON_SCHEMA, text, strlen(text), name, p)
                     : ks_refuse(p, 503, NULL, NULL, "out of memory");
    free(text);
    return fine;
}

bool ks_read_format(struct ks_generation *g, const struct ks_fields *f, const json_t *format, const char *holder,
                    const char *name)
{
    static const char object[] = "{\"type\":\"object\"}";
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || (type && strcmp(type, "text") == 0))
        return true;
    if (type && strcmp(type, "json_object") == 0)
        return compile(g, KL_GRAMMAR_JSON_SCHEMA, object, sizeof object - 1, name, f->p);
    if (!type || strcmp(type, "json_schema") != 0)
        return ks_refuse(f->p, 400, name, "unsupported_format",
                         "%s.type is \"%.40s\", expected text, json_object or json_schema", name,
                         type ? type : ks_kind(format));
    const json_t *schema = json_object_get(holder ? json_object_get(format, holder) : format, "schema");
    if (!schema)
        return ks_refuse(f->p, 400, name, NULL, "%s has no schema%s%s", name, holder ? ", expected it in " : "",
                         holder ? holder : "");
    return compile_schema(g, schema, name, f->p);
}

static bool read_text(struct ks_generation *g, const struct ks_fields *f, const char *name, kl_grammar_kind kind)
{
    kl_text text = {0};
    return ks_string(f, name, &text) && (!text.data || compile(g, kind, text.data, text.bytes, name, f->p));
}

bool ks_read_formats(struct ks_generation *g, const struct ks_fields *f)
{
    const json_t *schema = ks_field(f, "json_schema");
    return ks_read_format(g, f, ks_field(f, "response_format"), "json_schema", "response_format") &&
           (!schema || compile_schema(g, schema, "json_schema", f->p)) &&
           read_text(g, f, "grammar", KL_GRAMMAR_GBNF) && read_text(g, f, "regex", KL_GRAMMAR_REGEX);
}

/* --------------------------------------------------------------------------------------------------------- calls -- */

static void add_tail(struct ks_generation *g, const char *token)
{
    g->guided.tail = g->tail;
    g->tail[g->guided.n_tail++] = kl_tokenizer_special(g->x->server->l->tokenizer, token);
}

/* The id of a call of any of the tools, as the model writes it. */
static bool any_tool(struct ks_generation *g, const json_t *tools, struct ks_problem *p)
{
    struct ks_bytes regex = {0};
    bool fine = ks_add_text(&regex, "functions\\.(");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        const char *name = json_string_value(json_object_get(function, "name"));
        fine = fine && (i == 0 || ks_add_text(&regex, "|"));
        for (; name && *name && fine; name++) {
            bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                         (*name >= '0' && *name <= '9') || (unsigned char)*name >= 0x80;
            fine = ks_addf(&regex, "%s%c", plain ? "" : "\\", *name);
        }
    }
    fine = fine && ks_add_text(&regex, "):0");
    fine = fine ? compile(g, KL_GRAMMAR_REGEX, regex.data, regex.n, "tool_choice", p)
                : ks_refuse(p, 503, NULL, NULL, "out of memory");
    ks_free(&regex);
    add_tail(g, "<|tool_call_argument_begin|>");
    g->guided.free_after = true;
    return fine;
}

/* Schemas beyond what is offered bind the model only where it was asked for by `strict`. */
static bool one_tool(struct ks_generation *g, const json_t *function, struct ks_problem *p)
{
    const json_t *schema = json_object_get(function, "parameters");
    bool strict = json_is_true(json_object_get(function, "strict"));
    struct ks_problem ignored = {0};
    if (!schema)
        return true;
    if (!compile_schema(g, schema, "tools", strict ? p : &ignored))
        return !strict;
    add_tail(g, "<|tool_call_end|>");
    return true;
}

bool ks_format_call(struct ks_generation *g, const json_t *tools, kl_text name, struct ks_problem *p)
{
    kl_grammar_close(g->grammar); /* a call is no answer: what was said about answers does not hold for it */
    g->grammar = NULL;
    if (!name.bytes)
        return any_tool(g, tools, p);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        const char *own = json_string_value(json_object_get(function, "name"));
        if (own && strcmp(own, name.data) == 0)
            return one_tool(g, function, p);
    }
    return ks_refuse(p, 400, "tool_choice", NULL, "tool_choice names \"%.64s\", which is none of the tools", name.data);
}
