/** What a GGUF file cannot say about the files that it was made from, kept in metadata of our own, so that they can be
 *  made again: types and shapes of tensors, rates of decay before they became -exp(A_log), and texts.
 *
 *      klinear.source.type      string: the type of the embedding, and of every tensor that is not listed
 *      klinear.source.tensors   strings "NAME TYPE DIM DIM ..": tensors with another type or shape than the released
 *                               model's; absent: none
 *      klinear.source.a_log     f32: A_log of all layers that have it, one behind the other
 *      klinear.source.config, .tokenizer_config, .generation_config   strings: the files of this name, .json */
#ifndef KL_MODEL_ORIGIN_H
#define KL_MODEL_ORIGIN_H

#include "format/writer.h"
#include "model/hf_tensors.h"

/** Announces types and shapes: `tensor` [n] as the released model would have them, `stored` [n] as they are.
 *  Errors: KL_ERR_MEMORY. */
kl_status kl__origin_put_tensors(struct kl__writer *w, const struct kl__hf_tensor *tensor,
                                 const struct kl__stored *const *stored, int64_t n, enum kl__type type,
                                 const kl_allocator *alloc, kl_error *err);

/** The type that is not listed; `otherwise` where the file says nothing.  Errors: KL_ERR_FORMAT. */
kl_status kl__origin_type(enum kl__type *type, const struct kl__store *s, enum kl__type otherwise, kl_error *err);
/** Gives listed tensors their types and shapes.  Errors: KL_ERR_FORMAT (no such tensor, a type that safetensors files
 *  do not hold, another number of elements), KL_ERR_MEMORY. */
kl_status kl__origin_apply(struct kl__hf_tensor *tensor, int64_t n, const struct kl__store *s,
                           const kl_allocator *alloc, kl_error *err);

/** The A_log of place `at`, if it is what became `rate` = -exp(A_log); else the logarithm of -rate. */
float kl__origin_a_log(const struct kl__store *s, int64_t at, float rate);
/** -exp(A_log) as files hold it. */
float kl__rate_of(float a_log);

/** The texts: file in a folder, key in metadata.  Row `i`; false past the last. */
bool kl__origin_text(int i, const char **file, const char **key);

#endif
