/** A small random model in a file of its own, for tests of everything that runs one. */
#ifndef KT_TINY_H
#define KT_TINY_H

#include "klinear/kl.h"

#include "support/kt_file.h"

/** A GGUF file of the preset "tiny" (4 layers, KDA and one MLA, experts) with numbers of `type`; made once per type. */
const char *kt_tiny(const char *type);
/** The same of any configuration, under a name of its own. */
const char *kt_made(const char *name, const kl_config *config, const char *type);

/** A model, an engine over it, and what they stand on. */
struct kt_engine {
    kl_model *model;
    kl_engine *engine;
    int n_vocab;
};
/** Opens `path` on `n_thread` threads with the best instruction set. */
struct kt_engine kt_open_engine(const char *path, int n_thread, const kl_engine_options *options);
/** The same at a level of kt_level(). */
struct kt_engine kt_open_engine_at(const char *level, const char *path, int n_thread, const kl_engine_options *options);
/** The best level of this machine. */
const char *kt_best_level(void);
void kt_close_engine(struct kt_engine *e);

/** [n] token ids, drawn. */
int32_t *kt_tokens(kt_rng *r, int64_t n, int n_vocab);

#endif
