/** Checkpoints of a run: files in a folder, named by the number of the step after which they were written. */
#ifndef KA_CHECKPOINTS_H
#define KA_CHECKPOINTS_H

#include "klinear/kl.h"

enum {
    KA_PATH = 4096,
};

/** "FOLDER/NAME"; false after a sentence when it is too long. */
kl_status ka_path(char path[KA_PATH], const char *folder, const char *name, kl_error *err);

/** Path of the checkpoint after `step`, and of the one that had the best loss. */
kl_status ka_checkpoint_path(char path[KA_PATH], const char *folder, int64_t step, kl_error *err);
kl_status ka_best_path(char path[KA_PATH], const char *folder, kl_error *err);

/** The highest step below `below` that has a checkpoint; -1: none. */
int64_t ka_last_checkpoint(const char *folder, int64_t below);
/** Removes all checkpoints but the last `keep`; the best is not among them. */
void ka_forget_checkpoints(const char *folder, int64_t keep);

#endif
