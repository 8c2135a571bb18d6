/** A recipe: everything that a training run is made from, in a file that people write and read.  Lines are
 *  "key = value", "#" begins a remark; paths are seen from where the program runs. */
#ifndef KA_RECIPE_H
#define KA_RECIPE_H

#include "../cli/options.h"

#include "klinear/kl_train.h"

struct ka_recipe {
    const char *file; /* that it was read from */
    const char *model, *tokenizer, *output, *valid, *type, *prompt;
    struct ka_texts data; /* "FILE" or "FILE WEIGHT" */
    int64_t length, batch, pass, steps, seed, threads, optimiser, schedule, warmup, decay, recompute;
    int64_t valid_every, valid_rows, save_every, keep, sample_every, sample_tokens;
    double lr, floor, weight_decay, clip, outlier, balance, momentum, beta1, beta2, eps;
};

/** A recipe with the text that its strings point into. */
struct ka_recipe_file {
    struct ka_recipe r;
    char **line; /* [n_line] as options: --key=value */
    int n_line;
};

/** Reads a file and then `set` (more lines, which count more), checks that what is needed is there and fits together,
 *  and says on stderr what is wrong.  False: close it all the same. */
bool ka_recipe_read(struct ka_recipe_file *f, const char *path, const struct ka_texts *set);
void ka_recipe_close(struct ka_recipe_file *f);

/** Writes every key with its value, those that nobody gave included, as a recipe. */
void ka_recipe_print(FILE *out, const struct ka_recipe *r);

#endif
