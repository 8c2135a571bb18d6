/** Tokenizers in the metadata of GGUF files, and as tiktoken.model. */
#ifndef KL_MODEL_TOKEN_META_H
#define KL_MODEL_TOKEN_META_H

#include "base/folder.h"
#include "format/writer.h"
#include "klinear/kl/model.h"
#include "klinear/kl/text.h"

/** Announces a tokenizer, with the merges that other programs need, for a vocabulary of c->n_vocab entries: those that
 *  it does not name are unused.  `path` stands in sentences.
 *  Errors: KL_ERR_FORMAT (more tokens than the vocabulary), KL_ERR_MEMORY. */
kl_status kl__tokenizer_put(struct kl__writer *w, const kl_tokenizer *t, const kl_config *c, const char *path,
                            const kl_allocator *alloc, kl_error *err);
/** The same for that of a folder that holds a tiktoken.model; without that file only the ids of c are announced.
 *  `path` is the folder.
 *  Errors: KL_ERR_FORMAT (more tokens than the vocabulary; the file), KL_ERR_IO, KL_ERR_MEMORY. */
kl_status kl__token_meta_put(struct kl__writer *w, const kl_config *c, const char *path, const kl_allocator *alloc,
                             kl_error *err);

/** Writes tiktoken.model, chat_template.jinja where there is a template, and with `with_config` a tokenizer_config.json
 *  that names the special tokens; nothing when the file has no tokenizer.
 *  Errors: KL_ERR_FORMAT, KL_ERR_UNSUPPORTED (another kind of tokenizer), KL_ERR_IO, KL_ERR_MEMORY. */
kl_status kl__token_files_write(struct kl__folder *folder, const struct kl__store *s, bool with_config,
                                const kl_allocator *alloc, kl_error *err);

#endif
