/** A file format, as the store and the writer see it: a row of rows.def.  And what readers need to fill a store. */
#ifndef KL_FORMAT_FORMAT_H
#define KL_FORMAT_FORMAT_H

#include "format/store.h"

struct kl__writer;

struct kl__format {
    const char *name; /* also the ending of its files */
    /** Does the file begin as files of this format do? */
    bool (*claims)(const struct kl__map *map);
    /** Reads the headers of the store's files, of which there is at least one. */
    kl_status (*read)(struct kl__store *store, kl_error *err);
    /** Adds a value to the metadata of a new file: see writer.h. */
    kl_status (*put_meta)(struct kl__writer *writer, const struct kl__meta *meta, kl_error *err);
    /** Decides where the tensors of a new file go and makes its header. */
    kl_status (*lay_out)(struct kl__writer *writer, kl_error *err);
};

#define ROW(name)                                                                                                      \
    bool kl__##name##_claims(const struct kl__map *map);                                                               \
    kl_status kl__##name##_read(struct kl__store *store, kl_error *err);                                               \
    kl_status kl__##name##_put_meta(struct kl__writer *writer, const struct kl__meta *meta, kl_error *err);            \
    kl_status kl__##name##_lay_out(struct kl__writer *writer, kl_error *err);
#include "format/rows.def"
#undef ROW

/** Reads the files that a model.safetensors.index.json names; they lie beside it. */
kl_status kl__safetensors_read_index(struct kl__store *store, const char *path, kl_error *err);

/** The format of this name, or NULL. */
const struct kl__format *kl__format_named(const char *name);

/** Adds a file to the store; `path` is copied. */
kl_status kl__store_add_file(struct kl__store *store, const char *path, kl_error *err);
/** Room for tensors, of which the store has none yet: the reader fills in tensor[i] and enters it. */
kl_status kl__store_reserve(struct kl__store *store, int64_t n_tensor, kl_error *err);
/** Enters tensor[i], of which name, shape, type and file are set: checks that the name is new and that the shape can be
 *  stored, and sets `bytes`. */
kl_status kl__store_enter(struct kl__store *store, int64_t i, kl_error *err);

/** Other tensors in place of those that there are: the same bytes under other names, or parts of them.  tensor [n] and
 *  the names in `given` become the store's own, whatever comes of it.  Errors: as kl__store_enter(); KL_ERR_MEMORY. */
kl_status kl__store_replace(struct kl__store *store, struct kl__stored *tensor, int64_t n, char *given, kl_error *err);

/** File `i`, and a tensor, as they may stand in a sentence. */
struct kl__shown kl__shown_file(const struct kl__store *store, int i);
struct kl__shown kl__shown_shape(int n_dim, const int64_t *dim);

#endif
