/** A folder that appears whole or not at all: it is filled under a hidden name beside its place. */
#ifndef KL_BASE_FOLDER_H
#define KL_BASE_FOLDER_H

#include "klinear/kl/base.h"

struct kl__folder;

/** Starts a folder that will be `path` (slashes at its end do not count).  What stands there now may be nothing, or an
 *  empty folder that can be replaced (of a link: the one that it leads to).  Errors: KL_ERR_IO, KL_ERR_MEMORY. */
kl_status kl__folder_open(struct kl__folder **folder, const char *path, const kl_allocator *alloc, kl_error *err);
/** Where a file called `name` is to be written; valid until the next call.  NULL: the path is too long. */
const char *kl__folder_file(struct kl__folder *folder, const char *name);
/** Writes a file whole.  Errors: KL_ERR_IO, KL_ERR_MEMORY. */
kl_status kl__folder_write(struct kl__folder *folder, const char *name, const void *data, size_t bytes, kl_error *err);
/** Gives the folder its name and frees it.  On failure nothing is left. */
kl_status kl__folder_commit(struct kl__folder *folder, kl_error *err);
/** Removes the folder and the files in it.  NULL is allowed. */
void kl__folder_abandon(struct kl__folder *folder);

#endif
