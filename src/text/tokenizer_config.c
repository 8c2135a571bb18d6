#include "text/tokenizer_config.h"
#include "base/error.h"
#include "format/json.h"

#include <stdio.h>

static const char *const released[KL__SPECIAL_SLOTS] = {
#define ROW(place, name) [place] = name,
#include "text/special_names.def"
#undef ROW
};

const char *kl__released_name(int32_t i)
{
    return i >= 0 && i < KL__SPECIAL_SLOTS ? released[i] : NULL;
}

struct kl__reserved kl__reserved_name(int32_t id)
{
    struct kl__reserved name;
    snprintf(name.text, sizeof name.text, "<|reserved_token_%d|>", id);
    return name;
}

/* --------------------------------------------------------------------------------------------------------- names -- */

static kl_status fail_entry(kl_error *err, const char *path, struct kl__str key, const char *what)
{
    return kl__fail(err, KL_ERR_FORMAT, "%s: added_tokens_decoder: token '%s' %s", kl__shown_path(path).text,
                    kl__shown(key).text, what);
}

/* The id that a key spells; -1: none. */
static int64_t id_of(struct kl__str key)
{
    int64_t id = 0;
    for (size_t i = 0; i < key.bytes; i++) {
        if (key.at[i] < '0' || key.at[i] > '9' || i == 9)
            return -1;
        id = id * 10 + (key.at[i] - '0');
    }
    return key.bytes ? id : -1;
}

/* A name of the file.  Reserved names are not names: tools that save a configuration again lose some of the real ones,
 * which the tokens then have all the same.  Behind the last slot the reference has two tokens that the model lacks. */
static kl_status add_entry(struct kl__special_list *list, const char *path, int32_t n_rank, struct kl__str key,
                           const struct json_t *value, kl_error *err)
{
    struct kl__str text;
    int64_t place = id_of(key) - n_rank;
    if (place == KL__SPECIAL_SLOTS || place == KL__SPECIAL_SLOTS + 1)
        return KL_OK;
    if (place < 0 || place > KL__SPECIAL_SLOTS + 1) {
        char what[100];
        snprintf(what, sizeof what, "is outside the special tokens, %d to %d", n_rank, n_rank + KL__SPECIAL_SLOTS - 1);
        return fail_entry(err, path, key, what);
    }
    if (!kl__json_string(kl__json_member(value, "content"), &text) || text.bytes == 0)
        return fail_entry(err, path, key, "has no text 'content'");
    list->n = place >= list->n ? (int32_t)place + 1 : list->n;
    if (!kl__str_same(text, kl__str(kl__reserved_name((int32_t)(place + n_rank)).text)))
        list->text[place] = text;
    return KL_OK;
}

static kl_status add_entries(struct kl__special_list *list, const char *path, int32_t n_rank, kl_error *err)
{
    const struct json_t *all = kl__json_member(list->config, "added_tokens_decoder"), *value;
    void *cursor = NULL;
    struct kl__str key;
    if (all && !kl__json_is_object(all))
        return kl__fail(err, KL_ERR_FORMAT, "%s: added_tokens_decoder is no object", kl__shown_path(path).text);
    while (kl__json_each(all, &cursor, &key, &value))
        KL_TRY(add_entry(list, path, n_rank, key, value, err));
    return KL_OK;
}

static bool is_named(const struct kl__special_list *list, const char *name)
{
    for (int32_t i = 0; i < list->n; i++)
        if (kl__str_same(list->text[i], kl__str(name)))
            return true;
    return false;
}

/* Names for those that have none. */
static void complete(struct kl__special_list *list, int32_t n_rank)
{
    if (list->n == 0)
        list->n = KL__SPECIAL_SLOTS;
    for (int32_t i = 0; i < list->n; i++) {
        if (list->text[i].bytes)
            continue;
        list->reserved[i] = kl__reserved_name(n_rank + i);
        const char *name = kl__released_name(i);
        list->text[i] = kl__str(name && !is_named(list, name) ? name : list->reserved[i].text);
    }
}

/* ----------------------------------------------------------------------------------------------------- templates -- */

/* A text, or a list of {name, template}, of which "default" counts, else the first. */
static const struct json_t *template_of(const struct json_t *value)
{
    const struct json_t *found = kl__json_is_array(value) ? kl__json_item(value, 0) : NULL;
    struct kl__str name;
    for (size_t i = 0; kl__json_is_array(value) && i < kl__json_items(value); i++)
        if (kl__json_string(kl__json_member(kl__json_item(value, i), "name"), &name) &&
            kl__str_same(name, kl__str("default")))
            found = kl__json_item(value, i);
    return found ? kl__json_member(found, "template") : value;
}

static kl_status keep_template(kl_tokenizer *t, const struct kl__special_list *list, const struct kl__tiktoken *files,
                               kl_error *err)
{
    struct kl__str text;
    if (files->template.path)
        return kl__tokenizer_keep_template(t, files->template.text, files->template.path, err);
    const struct json_t *value = template_of(kl__json_member(list->config, "chat_template"));
    if (!value || kl__json_is_null(value))
        return KL_OK;
    if (!kl__json_string(value, &text))
        return kl__fail(err, KL_ERR_FORMAT, "%s: chat_template is no text", kl__shown_path(files->config.path).text);
    return kl__tokenizer_keep_template(t, text, files->config.path, err);
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

kl_status kl__special_list_open(struct kl__special_list *list, kl_tokenizer *t, const struct kl__tiktoken *files,
                                int32_t n_rank, kl_error *err)
{
    const struct kl__named_text *config = &files->config;
    *list = (struct kl__special_list){0};
    if (config->path) {
        KL_TRY(kl__json_parse(&list->config, config->text, config->path, "the configuration", err));
        KL_TRY(add_entries(list, config->path, n_rank, err));
    }
    complete(list, n_rank);
    return keep_template(t, list, files, err);
}

void kl__special_list_close(struct kl__special_list *list)
{
    if (list->config)
        kl__json_free(list->config);
    list->config = NULL;
}
