/** Verbs that write model files: the options that they share, threads, a line about how far they are, Ctrl-C. */
#ifndef KA_FILEWORK_H
#define KA_FILEWORK_H

#include "../cli/options.h"
#include "../cli/progress.h"

#include "klinear/kl.h"

/** What a user says about it. */
struct ka_filework_choice {
    const char *type; /* of matrices; NULL: the function's default */
    int64_t threads;  /* 0: one per core */
};
/** A group: --type, --dtype (the same) and --threads. */
extern const struct ka_option ka_filework_options[];

struct ka_filework {
    kl_file_options options; /* for the library */
    kl_pool *pool;
    struct ka_progress progress;
    double started;
};

/** Starts threads, takes over Ctrl-C.  `what` is shown while it goes on: "Making the model".
 *  On failure nothing stays. */
kl_status ka_filework_begin(struct ka_filework *w, const struct ka_filework_choice *choice, const char *what,
                            kl_error *err);
/** Ends what was begun; when `status` is KL_OK, says on stderr that `path` (NULL: nothing) was written, and how long it
 *  took. */
void ka_filework_end(struct ka_filework *w, kl_status status, const char *path);

#endif
