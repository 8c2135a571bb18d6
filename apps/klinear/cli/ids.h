/** Token ids as a user writes them. */
#ifndef KA_IDS_H
#define KA_IDS_H

#include "klinear/kl.h"

struct ka_ids {
    int32_t *at; /* to be given to ka_free_ids */
    int64_t n, room;
};

/** Puts `n` ids behind those that are there.  Errors: KL_ERR_MEMORY. */
kl_status ka_add_ids(struct ka_ids *ids, const int32_t *at, int64_t n, kl_error *err);
/** Reads whole numbers with commas or white space between them, every one in 0 .. n_vocab-1, from `text` [bytes], which
 *  ends with a zero.  `name` stands for the text in a sentence.  Errors: KL_ERR_ARGUMENT, KL_ERR_MEMORY. */
kl_status ka_read_ids(struct ka_ids *ids, const char *text, size_t bytes, int64_t n_vocab, const char *name,
                      kl_error *err);
void ka_free_ids(struct ka_ids *ids);

#endif
