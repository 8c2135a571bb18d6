/* Checkpoints of the prefix cache in files of the caller's: session files whose own bytes say what their bits depend
 * on. */
#include "engine/prefix_disk.h"

#include "base/error.h"
#include "base/str.h"

#include <string.h>

kl_status kl_prefix_export(kl_prefix *p, int64_t *length, uint64_t space, const int32_t *token, int64_t n_token,
                           const char *path, kl_error *err)
{
    uint8_t identity[16];
    kl_session *s = NULL;
    kl_prefix_report found;
    *length = 0;
    if (!kl__prefix_identity(identity, p->engine))
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a hash");
    KL_TRY(kl_session_open(&s, p->engine, err));
    /* One token more than there is: a checkpoint at the very end counts as well. */
    struct kl__visit v = {.p = p, .session = s, .space = space, .token = token, .n_token = n_token + 1};
    kl_status status = kl__prefix_begin(&v, &found, err);
    if (status == KL_OK && found.reused > 0) {
        status = kl_session_save(s, path, identity, sizeof identity, err);
        *length = status == KL_OK ? found.reused : 0;
    }
    kl_session_close(s);
    return status;
}

kl_status kl_prefix_import(kl_prefix *p, int64_t *length, uint64_t space, const char *path, kl_error *err)
{
    uint8_t identity[16], own[16];
    size_t bytes = 0;
    kl_session *s = NULL;
    if (!kl__prefix_identity(own, p->engine))
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a hash");
    kl_status status = kl_session_load(&s, p->engine, path, identity, sizeof identity, &bytes, err);
    if (status == KL_ERR_WORKSPACE)
        status = KL_ERR_FORMAT;
    KL_TRY(status);
    bool right = bytes == sizeof own && memcmp(identity, own, sizeof own) == 0 &&
                 s->line.length % KL_PAGE_TOKENS == 0 && s->line.length > 0;
    if (right) {
        p->clock++;
        kl__prefix_keep(&(struct kl__visit){.p = p, .session = s, .space = space});
        if (length)
            *length = s->line.length;
    } else
        status = kl__fail(err, KL_ERR_FORMAT, "%s: the state was not written by this build of klinear",
                          kl__shown_path(path).text);
    kl_session_close(s);
    return status;
}
