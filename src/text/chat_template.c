/* Is a template Kimi Linear's?  Jinja is not run, and the released template has been edited and re-saved by others, so
 * what counts is what can be seen in it: which markers it writes, and phrases that only other templates have. */
#include "base/error.h"
#include "text/tokenizer.h"

/* Where `word` begins in [p, end); NULL: nowhere. */
static const char *find(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);
    for (; (size_t)(end - p) >= n; p++)
        if (memcmp(p, word, n) == 0)
            return p;
    return NULL;
}

static bool is_allowed(struct kl__str marker)
{
    static const char *const media[] = {"<|media_start|>", "<|media_begin|>", "<|media_content|>", "<|media_pad|>",
                                        "<|media_end|>"};
    for (int i = 0; i < KL__N_MARK; i++)
        if (kl__str_same(marker, kl__str(kl__mark_name((enum kl__mark)i))))
            return true;
    for (size_t i = 0; i < sizeof media / sizeof *media; i++)
        if (kl__str_same(marker, kl__str(media[i])))
            return true;
    return false;
}

static kl_status check_markers(const char *p, const char *end, kl_error *err)
{
    for (const char *close; (p = find(p, end, "<|")) && (close = find(p, end, "|>")); p = close + 2) {
        struct kl__str marker = {p, (size_t)(close + 2 - p)};
        if (!is_allowed(marker))
            return kl__fail(err, KL_ERR_UNSUPPORTED,
                            "the chat template is none that klinear renders: it has '%s', which Kimi Linear's lacks",
                            kl__shown(marker).text);
    }
    return KL_OK;
}

static const enum kl__mark needed[] = {KL__MARK_SYSTEM, KL__MARK_USER, KL__MARK_ASSISTANT, KL__MARK_MIDDLE,
                                       KL__MARK_END};
enum { N_NEEDED = sizeof needed / sizeof *needed };

kl_status kl_chat_check_template(kl_text jinja, kl_error *err)
{
    static const char *const foreign[][2] = {
        {"You are", "writes a system turn that nobody asked for"},
        {"<think>", "has a part for thinking"},
        {"bos_token", "begins with [BOS]"},
        {"strftime", "writes the date"},
    };
    const char *p = jinja.data ? jinja.data : "", *end = p + (jinja.data ? jinja.bytes : 0);
    KL_TRY(check_markers(p, end, err));
    for (int i = 0; i < N_NEEDED; i++)
        if (!find(p, end, kl__mark_name(needed[i])))
            return kl__fail(err, KL_ERR_UNSUPPORTED,
                            "the chat template is none that klinear renders: it lacks '%s', which Kimi Linear's has",
                            kl__mark_name(needed[i]));
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (find(p, end, foreign[i][0]))
            return kl__fail(
                err, KL_ERR_UNSUPPORTED,
                "the chat template is none that klinear renders: it has '%s' (%s), which Kimi Linear's lacks",
                foreign[i][0], foreign[i][1]);
    return KL_OK;
}

kl_status kl_chat_check(const kl_tokenizer *t, kl_template rendering, kl_error *err)
{
    if (rendering != KL_TEMPLATE_MODEL && rendering != KL_TEMPLATE_KIMI)
        return kl__fail(err, KL_ERR_ARGUMENT, "chat: rendering is %d, expected KL_TEMPLATE_MODEL or KL_TEMPLATE_KIMI",
                        rendering);
    if (rendering == KL_TEMPLATE_MODEL && t->chat_template)
        KL_TRY(kl_chat_check_template(kl_tokenizer_template(t), err));
    for (int i = 0; i < N_NEEDED; i++)
        if (t->mark[needed[i]] < 0)
            return kl__fail(err, KL_ERR_UNSUPPORTED, "chat: the vocabulary has no token '%s'",
                            kl__mark_name(needed[i]));
    return KL_OK;
}
