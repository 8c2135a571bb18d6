/** GGUF, version 3: facts that reader and writer share.
 *
 *      "GGUF"  u32 version  i64 n_tensor  i64 n_kv
 *      n_kv times      string key, i32 value type, value
 *      n_tensor times  string name, u32 n_dims, i64 dims[n_dims] innermost first, i32 type, u64 offset
 *      zeros up to a multiple of the alignment, then the tensors in the same order, each at a multiple of it
 *
 *  All little-endian.  A string is u64 bytes and the bytes; a bool one byte, 0 or 1; an array i32 element type, u64
 *  count, elements.  The alignment is the u32 value of general.alignment, a power of two, or 32. */
#ifndef KL_FORMAT_GGUF_H
#define KL_FORMAT_GGUF_H

enum {
    KL__GGUF_VERSION = 3,
    KL__GGUF_ALIGNMENT = 32,
    KL__GGUF_DIMS = 4,
    KL__GGUF_NAME_BYTES = 63, /* of a tensor: other readers keep names in 64 bytes, with a closing zero */
    KL__GGUF_KEY_BYTES = 65535,
    KL__GGUF_KEYS = 1 << 16,    /* at most: limits of ours, against heads that lie */
    KL__GGUF_TENSORS = 1 << 20, /* of a file */
};

#define KL__GGUF_MAGIC "GGUF"
#define KL__GGUF_ALIGNMENT_KEY "general.alignment"

#endif
