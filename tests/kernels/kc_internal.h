/** What the files of the checker share. */
#ifndef KC_INTERNAL_H
#define KC_INTERNAL_H

#include <stddef.h>

#include "kcheck.h"

enum kc_type { KC_F32, KC_BF16, KC_I32, KC_BYTES };
enum kc_role { KC_ROLE_IN, KC_ROLE_OUT, KC_ROLE_INOUT, KC_ROLE_SCRATCH };
enum kc_placement { KC_PLACE_ALIGNED, KC_PLACE_SHIFTED, KC_PLACE_FLUSH, KC_N_PLACEMENT };

/** One buffer of the next call, inside the region of the same index. */
struct kc_buffer {
    const char *name;
    enum kc_type type;
    enum kc_role role;
    int64_t n;
    size_t bytes;
    double tolerance, magnitude; /* allowed error, relative to at least this magnitude */
    bool each;                   /* ... and not to the root mean square */
    unsigned char *data;
    unsigned char *initial, *want; /* copies: before the call, after plain C */
    size_t border_after;           /* bytes between the end and the unmapped page, as far as they are checked */
};

/** Memory between two unmapped pages, reused from call to call. */
struct kc_region {
    unsigned char *base;
    size_t bytes;
};

enum { KC_MAX_BUFFER = 32, KC_BORDER = 256 };

struct kc {
    const struct kc_row *row;
    struct kc_options options;
    uint64_t rng;
    enum kc_placement placement;
    size_t align; /* at least; never less than the element's */
    struct kc_buffer buffer[KC_MAX_BUFFER];
    struct kc_region region[KC_MAX_BUFFER];
    int n_buffer;
    int64_t n_call;
    bool failed;
    char label[160];
    char verdict[KC_VERDICT_BYTES];
};

size_t kc_element_bytes(enum kc_type type);

/** Records the first failure of the row. */
void kc_fail(kc *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Keeps the contents of all buffers as `initial`; puts them back. */
void kc_keep(kc *c);
void kc_restore(kc *c);
/** After a call by `who`: borders and inputs are as they were.  Fails the row otherwise. */
bool kc_untouched(kc *c, const char *who);
/** Keeps the outputs as `want`; compares the outputs with it. */
void kc_keep_want(kc *c);
void kc_compare(kc *c);
/** Forgets the buffers of the call, keeps their memory. */
void kc_forget(kc *c);
/** Frees all memory. */
void kc_free(kc *c);

/** Makes the call; a fault comes back as its name ("SIGSEGV"), a good end as NULL. */
const char *kc_guarded(kc_call_fn *call, kc_any_fn *fn, const void *args);

/** Times the call of the present buffers and prints a line. */
void kc_bench(kc *c, kc_call_fn *call, const void *args);

#endif
