/** What a session file holds besides the session when it is a conversation's: bytes, read as a stranger's. */
#ifndef KA_TALK_FILE_H
#define KA_TALK_FILE_H

#include "talk.h"

/** The bytes of everything but the session.  They have to be freed; NULL: no memory. */
unsigned char *ka_talk_bytes(size_t *bytes, const struct ka_talk *t);
/** Fills pending tokens, sampler state, turns and `cut` of `t`, which has none, from bytes.  Every id is in
 *  0 .. n_vocab-1 afterwards.  Errors: KL_ERR_FORMAT, KL_ERR_MEMORY; what was filled has to be freed as always. */
kl_status ka_talk_of_bytes(struct ka_talk *t, const unsigned char *data, size_t bytes, int64_t n_vocab, kl_error *err);

#endif
