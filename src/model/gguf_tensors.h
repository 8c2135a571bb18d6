/** The tensors of a model in a GGUF file: names, shapes and types, in the order in which they are written. */
#ifndef KL_MODEL_GGUF_TENSORS_H
#define KL_MODEL_GGUF_TENSORS_H

#include "format/writer.h"
#include "model/params.h"

/** A type for matrices, and another for those that suffer most. */
struct kl__mixture {
    enum kl__type type, better; /* the same where nothing is mixed */
};
/** A type or a mixture by its name.  Errors: KL_ERR_ARGUMENT. */
kl_status kl__mixture_of_name(struct kl__mixture *m, const char *name, kl_error *err);
/** What other programs call a file of this mixture (general.file_type). */
uint32_t kl__mixture_file_type(const struct kl__mixture *m);

/** Which part of a parameter a tensor holds. */
enum kl__part {
    KL__PART_ALL,
    KL__PART_K_B, /* keys of kv_b, turned: [H][R][DN] */
    KL__PART_V_B, /* values of kv_b: [H][DV][R] */
};

struct kl__gguf_tensor {
    struct kl__param_name name;
    enum kl__param param;
    enum kl__part part;
    enum kl__type type;
    int layer; /* -1: of the model itself */
    int n_dim;
    int64_t dim[4]; /* outermost first */
};

/** The type of a tensor of which parameter, part and layer are set, and the length of its rows. */
enum kl__type kl__gguf_type(const kl_config *c, const struct kl__mixture *m, const struct kl__gguf_tensor *t,
                            int64_t row);
/** Which tensor of such a model is called `name`: sets parameter, part and layer.  False: none. */
bool kl__gguf_find(struct kl__gguf_tensor *t, const kl_config *c, struct kl__str name);

/** Elements of a tensor, and of one of its rows. */
int64_t kl__gguf_elements(const struct kl__gguf_tensor *t);
int64_t kl__gguf_row(const struct kl__gguf_tensor *t);

/** All tensors of a model with this configuration, in order; NULL `tensor` only counts.  Returns their number. */
int64_t kl__gguf_tensors(struct kl__gguf_tensor *tensor, const kl_config *c, const struct kl__mixture *m);

/** Announces them to a writer, and says how many bytes they have together. */
kl_status kl__gguf_announce(struct kl__writer *w, const struct kl__gguf_tensor *tensor, int64_t n, int64_t *bytes,
                            kl_error *err);

/** Announces the metadata that the configuration makes; `name` is what the model is called.  Keys: docs/formats.md. */
kl_status kl__gguf_put_config(struct kl__writer *w, const kl_config *c, const char *name, uint32_t file_type,
                              kl_error *err);

#endif
