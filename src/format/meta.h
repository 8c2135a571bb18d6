/** What a file says about itself: keys with typed values. */
#ifndef KL_FORMAT_META_H
#define KL_FORMAT_META_H

#include "base/names.h"
#include "base/str.h"
#include "klinear/kl/base.h"

/** Types of values; the numbers are GGUF's. */
enum kl__meta_type {
    KL__META_U8 = 0,
    KL__META_I8 = 1,
    KL__META_U16 = 2,
    KL__META_I16 = 3,
    KL__META_U32 = 4,
    KL__META_I32 = 5,
    KL__META_F32 = 6,
    KL__META_BOOL = 7,
    KL__META_STRING = 8,
    KL__META_ARRAY = 9,
    KL__META_U64 = 10,
    KL__META_I64 = 11,
    KL__META_F64 = 12,
    KL__N_META
};

/** "u32"; "?" for a value that is no type. */
const char *kl__meta_type_name(enum kl__meta_type type);
/** Bytes of one value in a file; 0 for strings, arrays and what is no type. */
size_t kl__meta_type_bytes(enum kl__meta_type type);

struct kl__meta {
    struct kl__str key;
    enum kl__meta_type type;
    enum kl__meta_type element; /* of an array; never an array itself */
    uint64_t n_item;            /* of an array */
    union {
        uint64_t u;                  /* unsigned integers and bool */
        int64_t i;                   /* signed integers */
        double f;                    /* f32 and f64 */
        struct kl__str s;            /* string: any bytes */
        const unsigned char *number; /* array of numbers: as in the file, little-endian, at any address */
        const struct kl__str *text;  /* array of strings */
    };
};

/** The value as an integer: false unless it is one of an integer type, and fits. */
bool kl__meta_int(const struct kl__meta *m, int64_t *value);
/** The value as a number, of any integer or floating-point type. */
bool kl__meta_number(const struct kl__meta *m, double *value);
/** Item `i` of an array, as a value of its own (without a key); i < n_item. */
struct kl__meta kl__meta_item(const struct kl__meta *m, uint64_t i);
/** A number of `type` from its bytes. */
struct kl__meta kl__meta_of_bytes(enum kl__meta_type type, const unsigned char *bytes);

/** Values to write.  They borrow key and text. */
struct kl__meta kl__meta_u32(const char *key, uint32_t value);
struct kl__meta kl__meta_f32(const char *key, float value);
struct kl__meta kl__meta_bool(const char *key, bool value);
struct kl__meta kl__meta_string(const char *key, struct kl__str value);
struct kl__meta kl__meta_numbers(const char *key, enum kl__meta_type element, const void *number, uint64_t n_item);
struct kl__meta kl__meta_strings(const char *key, const struct kl__str *text, uint64_t n_item);

/** All values of a file, and which one has a key. */
struct kl__meta_table {
    struct kl__meta *meta; /* [n_meta], in the order of the file */
    int64_t n_meta;
    struct kl__names names;
};

/** Room for `n_meta` values; the reader fills them in and enters them into `names`.  False: no memory. */
bool kl__meta_table_open(struct kl__meta_table *t, int64_t n_meta, const kl_allocator *alloc);
/** Frees the table and the arrays of strings in it. */
void kl__meta_table_close(struct kl__meta_table *t, const kl_allocator *alloc);
/** NULL when no value has this key. */
const struct kl__meta *kl__meta_find(const struct kl__meta_table *t, const char *key);

#endif
