/** Verbs that read documents out of files of text: the options that they share, and a line about how far they are. */
#ifndef KA_TEXTS_H
#define KA_TEXTS_H

#include "../cli/options.h"
#include "../cli/progress.h"

#include "klinear/kl_train.h"

enum {
    KA_MOST_FILES = 1024,
};

struct ka_texts_choice {
    const char *field, *separator;
};
/** A group: --jsonl and --separator. */
extern const struct ka_option ka_texts_options[];

/** Reads all documents of the files, one after the other; Ctrl-C ends it (KL_ERR_CANCELLED).  *n_document counts. */
kl_status ka_texts_each(const struct ka_texts_choice *choice, int n_file, char *const *file, const char *what,
                        kl_document_fn *fn, void *user, int64_t *n_document, kl_error *err);

#endif
