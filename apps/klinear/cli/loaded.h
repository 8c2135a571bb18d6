/** A model that is open and ready to read: what every verb that runs one needs, and the options that choose it. */
#ifndef KA_LOADED_H
#define KA_LOADED_H

#include "options.h"

#include "klinear/kl.h"

/** How weights are held in memory. */
enum {
    KA_WEIGHTS_PACKED,
    KA_WEIGHTS_MAPPED,
    KA_WEIGHTS_CACHED,
};

/** What a user says about the model and the machine. */
struct ka_choice {
    const char *model; /* NULL: the bundled one */
    int64_t threads;   /* 0: one per core */
    int64_t isa;       /* index into ka_isa_name */
    int64_t cache;     /* kl_cache_type */
    int64_t memory;    /* most bytes of the whole process; 0: no limit but the machine's */
    int64_t cache_memory; /* most bytes of latent pages; 0: a share of that */
    bool biased_router;
    int64_t arithmetic; /* index: fast, exact */
    int64_t weights;    /* index: packed, mapped, cached */
    bool packs_later;   /* no option: who loads calls ka_pack_more() */
};
extern const struct ka_option ka_choice_options[];

struct ka_loaded {
    char path[4096];
    kl_pool *pool;
    kl_backend *backend;
    kl_model *model;
    kl_engine *engine;
    kl_tokenizer *tokenizer; /* NULL before ka_load_tokenizer() */
    double seconds;          /* that opening took */
    bool more_to_pack;       /* weights that are still used as they lie in the file */
    double pack_seconds;     /* granted to ka_pack_more() and not used; negative: it took longer */
};

/** Opens everything but engine and tokenizer.  On failure nothing stays open. */
kl_status ka_load_model(struct ka_loaded *l, const struct ka_choice *choice, kl_error *err);
/** Opens everything.  `batch`: most tokens of one step, 0: the engine's default.  On failure nothing stays open. */
kl_status ka_load(struct ka_loaded *l, const struct ka_choice *choice, int batch, kl_error *err);
/** The second half of that, for an engine with other limits: divides memory (budget.h), packs weights or leaves experts
 *  on the disk, opens the engine.  `beside`: bytes that the caller will take as well; cache bytes and type in `options`
 *  are set here.  On failure nothing stays open. */
kl_status ka_load_engine(struct ka_loaded *l, const struct ka_choice *choice, kl_engine_options *options,
                         int64_t beside, kl_error *err);
/** Goes on with packing where weights are left, for about so many seconds more than in all calls before.  A prompt is
 *  read as fast without, and the first token is there seconds earlier; who writes tokens one by one calls it between
 *  them.  Where there is no memory for it, weights stay as they lie. */
void ka_pack_more(struct ka_loaded *l, double seconds);
/** Opens the tokenizer that lies in or beside the model.  Errors: as kl_tokenizer_open(); KL_ERR_FORMAT when it has
 *  tokens that the model does not know. */
kl_status ka_load_tokenizer(struct ka_loaded *l, kl_error *err);
/** From now on a signal that ka_catch_interrupts() has caught ends the step that runs, within milliseconds; the session
 *  is of no use then.  For programs that end when they are interrupted. */
void ka_stop_when_interrupted(struct ka_loaded *l);
void ka_unload(struct ka_loaded *l);

#endif
