/** What lies beside tiktoken.model: tokenizer_config.json (names of special tokens, chat template) and
 *  chat_template.jinja. */
#ifndef KL_TEXT_TOKENIZER_CONFIG_H
#define KL_TEXT_TOKENIZER_CONFIG_H

#include "text/tokenizer.h"

struct json_t;

/** The special tokens behind the ranks. */
struct kl__special_list {
    int32_t n;
    struct kl__str text[KL__SPECIAL_SLOTS];
    struct kl__reserved reserved[KL__SPECIAL_SLOTS]; /* where the names are that nobody gave */
    struct json_t *config;
};

/** Lists the special tokens of a vocabulary that has `n_rank` ranks, and keeps the chat template in `t`.
 *  The names: as tokenizer_config.json says, else as in the released model, else reserved.  How many: up to the last
 *  one that the file names, KL__SPECIAL_SLOTS without a file.  Close it whatever the status.
 *  Errors: KL_ERR_FORMAT, KL_ERR_MEMORY, KL_ERR_UNSUPPORTED. */
kl_status kl__special_list_open(struct kl__special_list *list, kl_tokenizer *t, const struct kl__tiktoken *files,
                                int32_t n_rank, kl_error *err);
void kl__special_list_close(struct kl__special_list *list);

#endif
