/** The file of a session's tokens:
 *      magic[8] | created i64 | changed i64 | n i64 | checksum[16] | token i32 [n]
 *  The checksum is of the whole file with zeros in its place. */
#ifndef KS_SESSION_TOKENS_H
#define KS_SESSION_TOKENS_H

#include "sessions.h"

/** The file is complete or absent.  Errors: KL_ERR_IO, KL_ERR_MEMORY. */
kl_status ks_tokens_write(const char *path, const struct ks_session *session, kl_error *err);
/** Fills in tokens and times.  Errors: KL_ERR_IO, KL_ERR_FORMAT (truncated, changed, tokens not below n_vocab),
 *  KL_ERR_MEMORY; the session may then have some of it. */
kl_status ks_tokens_read(struct ks_session *session, const char *path, int32_t n_vocab, kl_error *err);
/** The same of bytes, `path` for sentences. */
kl_status ks_tokens_parse(struct ks_session *session, const char *path, const void *data, size_t bytes, int32_t n_vocab,
                          kl_error *err);

#endif
