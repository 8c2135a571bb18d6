/** Checkpoints of the prefix cache on disk: session files in a folder, named after what they hold.
 *
 *  A name has the number of tokens and a hash of everything that the bits depend on: tokens, space, model, cache type,
 *  arithmetic, build.  So a folder may be shared by servers, files of other models lie there unharmed, and to look
 *  for a prompt is to hash it once and to ask at every block.  What a file says is checked again when it is read; one
 *  that cannot be read, or holds something else, is removed. */
#ifndef KL_ENGINE_PREFIX_DISK_H
#define KL_ENGINE_PREFIX_DISK_H

#include "engine/prefix.h"

struct kl__saved {
    uint8_t hash[16];
    int64_t n_token, bytes;
    int64_t used; /* order of use */
};

struct kl__disk {
    kl_engine *engine;
    char *folder;
    uint8_t identity[16]; /* kl__prefix_identity() */
    struct kl__saved *stored; /* [n] */
    int n, room;
    int64_t most_bytes, bytes, clock;
};

/** All that decides about bits, besides tokens: model, cache type, arithmetic, instruction set, and the build, because
 *  another compiler may add in another order.  False: no memory. */
bool kl__prefix_identity(uint8_t identity[16], const kl_engine *engine);

/** Makes the folder where there is none, and looks what it holds.  Errors: KL_ERR_IO, KL_ERR_MEMORY. */
kl_status kl__disk_open(struct kl__disk **disk, kl_engine *engine, const char *folder, int64_t most_bytes,
                        kl_error *err);
/** Files stay.  NULL is allowed. */
void kl__disk_close(struct kl__disk *disk);

/** Tokens of the longest beginning of token [n_token], shorter than all of it, that lies on the disk; 0: none. */
int64_t kl__disk_find(const struct kl__disk *disk, uint64_t space, const int32_t *token, int64_t n_token);
/** The session, which is empty, becomes what the file of token [n_token] holds; false: there is none any more. */
bool kl__disk_load(struct kl__disk *disk, kl_session *session, uint64_t space, const int32_t *token, int64_t n_token);
/** Writes a session, and gives up files that were not used for longest while they are over the budget.  A file that is
 *  there already is left alone.  Errors: KL_ERR_IO, KL_ERR_MEMORY, KL_ERR_NUMERIC. */
kl_status kl__disk_store(struct kl__disk *disk, const kl_session *session, uint64_t space, kl_error *err);
bool kl__disk_has(const struct kl__disk *disk, uint64_t space, const int32_t *token, int64_t n_token);

#endif
