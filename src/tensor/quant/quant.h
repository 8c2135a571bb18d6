/** How numbers are encoded in files: plain elements, and blocks that share scales.
 *
 *  A block format stores a row of numbers as blocks of `elements` numbers in `bytes` bytes; rows are whole blocks.
 *  Adding a format: src/tensor/quant/<name>.c and a row in rows.def.
 *
 *  Decoding is exact: every product of scale and integer fits into an f32, so there is at most one rounding, and the
 *  result depends neither on the order of the factors nor on fused multiplication.  (Where subnormal numbers count as
 *  zero, inside tasks of a pool, they do so here.)  [T: unit/quant, unit/half] */
#ifndef KL_TENSOR_QUANT_H
#define KL_TENSOR_QUANT_H

#include "klinear/kl/base.h"

enum kl__type {
#define ROW(name, gguf, st, elements, bytes, fallback, decode, encode) KL__TYPE_##name,
#include "tensor/quant/rows.def"
#undef ROW
    KL__N_TYPE
};

/** x [32 n_block or 256 n_block] <- blocks, which may lie at any address. */
typedef void kl__decode_fn(float *x, const void *blocks, int64_t n_block);
/** blocks <- x, all of it finite. */
typedef void kl__encode_fn(void *blocks, const float *x, int64_t n_block);

struct kl__type_info {
    const char *name;     /* "Q4_K" */
    int gguf_id;          /* -1: none */
    bool in_safetensors;  /* under `name` */
    int elements, bytes;  /* of one block */
    enum kl__type fallback;
    kl__decode_fn *decode; /* NULL: the numbers cannot be read as f32 */
    kl__encode_fn *encode; /* NULL: only read */
};

/** Static storage; `type` is one of the enum. */
const struct kl__type_info *kl__type_info(enum kl__type type);
/** The type of a GGUF id, of a safetensors dtype, of a name in any case; KL__N_TYPE when there is none. */
enum kl__type kl__type_of_gguf(uint32_t id);
enum kl__type kl__type_of_safetensors(const char *name, size_t bytes);
enum kl__type kl__type_of_name(const char *name);

/** Bytes of `n_element` numbers.  False when they are negative, no whole blocks, or more than an int64_t can count. */
bool kl__type_bytes(enum kl__type type, int64_t n_element, size_t *bytes);

/** What to store rows of `row_elements` numbers as when `wanted` is asked for: `wanted` where its blocks divide the
 *  row, else the first of its fallbacks that does (F16 in the end). */
enum kl__type kl__type_for_row(enum kl__type wanted, int64_t row_elements);

/** x [n_element] <- blocks (any alignment).  n_element is whole blocks and the type can be decoded: asserted. */
void kl__decode(enum kl__type type, float *x, const void *blocks, int64_t n_element);

/** blocks <- x [n_element].  Block formats and F16 hold only finite numbers: of any other number, and of one that F16
 *  would round to infinity, the sentence names the place.
 *  Errors: KL_ERR_UNSUPPORTED (the type is only read), KL_ERR_SHAPE (no whole blocks), KL_ERR_NUMERIC. */
kl_status kl__encode(enum kl__type type, void *blocks, const float *x, int64_t n_element, kl_error *err);

#endif
