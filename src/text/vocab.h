/** The vocabulary: which bytes a token spells, and which token spells these bytes.
 *
 *  Ordinary tokens are ranked by their ids: of two pairs of neighbours that spell tokens, byte-pair encoding joins the
 *  one with the lower id first.  Special tokens are markup: no text becomes one of them unless the caller wants it. */
#ifndef KL_TEXT_VOCAB_H
#define KL_TEXT_VOCAB_H

#include "base/str.h"
#include "klinear/kl/text.h"

enum {
    KL__VOCAB_TOKENS = 1 << 24, /* most tokens */
    KL__TOKEN_BYTES = 1024,     /* longest token */
    KL__SPECIAL_SLOTS = 256,    /* special tokens behind the ranks of the released model */
};

enum kl__token_kind { KL__TOKEN_UNUSED, KL__TOKEN_ORDINARY, KL__TOKEN_SPECIAL };

/** A special token. */
struct kl__special {
    struct kl__str text;
    int32_t id;
};

/** Where a token is found by its bytes.  Most have at most eight, which stand in the slot itself: then one look at
 *  memory decides, and looking up is most of the work of encoding. */
struct kl__slot {
    uint64_t key; /* up to eight bytes, or the hash of more */
    uint32_t id;  /* + 1; 0: free */
    uint32_t bytes;
};

struct kl__vocab {
    const kl_allocator *alloc;
    const char *path;     /* for sentences, while it is being filled */
    uint32_t *start;      /* [n_token + 1], into `bytes` */
    unsigned char *bytes; /* the tokens, one behind the other */
    unsigned char *kind;  /* [n_token] */
    int32_t n_token, n_ordinary;
    size_t room, longest;  /* bytes reserved; bytes of the longest token */
    struct kl__slot *slot; /* [n_slot] of ordinary tokens */
    uint32_t n_slot;
    uint64_t secret[2];          /* of the hash */
    struct kl__special *special; /* [n_special] by their bytes, prefixes first */
    int32_t n_special;
    bool begins[256];  /* some special token begins with this byte */
    int32_t byte[256]; /* the ordinary token that spells this byte */
};

/** Room for `n_token` tokens of `n_byte` bytes altogether.  Errors: KL_ERR_MEMORY, KL_ERR_UNSUPPORTED. */
kl_status kl__vocab_reserve(struct kl__vocab *v, size_t n_token, size_t n_byte, kl_error *err);
/** Adds the next token; there is room for it.  Errors: KL_ERR_FORMAT (too long; empty, and not unused). */
kl_status kl__vocab_add(struct kl__vocab *v, struct kl__str text, enum kl__token_kind kind, kl_error *err);
/** Once all are added: makes both tables and checks what has to hold: no two ordinary tokens alike, one for each single
 *  byte, no special one twice or like an ordinary one.  Errors: KL_ERR_FORMAT, KL_ERR_MEMORY. */
kl_status kl__vocab_finish(struct kl__vocab *v, kl_error *err);
void kl__vocab_close(struct kl__vocab *v);

/** What a token spells; `id` is one. */
static inline struct kl__str kl__vocab_text(const struct kl__vocab *v, int32_t id)
{
    return (struct kl__str){(const char *)v->bytes + v->start[id], v->start[id + 1] - v->start[id]};
}
/** The ordinary token that spells these bytes, or -1. */
int32_t kl__vocab_find(const struct kl__vocab *v, const unsigned char *p, size_t bytes);
/** The special token of this name, or -1. */
int32_t kl__vocab_special(const struct kl__vocab *v, struct kl__str name);
/** The longest name of a special token that begins at `p` < `end`; false: none does. */
bool kl__vocab_special_at(const struct kl__vocab *v, const unsigned char *p, const unsigned char *end,
                          struct kl__special *found);

#endif
