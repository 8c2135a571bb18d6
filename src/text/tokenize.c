/* Text -> blocks -> slices -> segments between special tokens -> pieces -> ids: each step as the reference does it. */
#include "base/error.h"
#include "base/memory.h"
#include "text/bpe.h"
#include "text/pieces.h"
#include "text/tokenizer.h"

typedef const unsigned char *cursor;

struct encoding {
    const struct kl__vocab *vocab;
    kl_markup markup;
    struct kl__ids *ids;
    struct kl__bpe_room room;
    unsigned char *mended; /* a block that was not UTF-8 */
    size_t mended_bytes;
    kl_error *err;
};

static kl_status encode_segment(struct encoding *e, cursor p, cursor end)
{
    while (p < end) {
        cursor next = kl__piece_end(p, end);
        KL_TRY(kl__bpe(e->ids, e->vocab, p, (size_t)(next - p), &e->room, e->err));
        p = next;
    }
    return e->ids->status;
}

/* The first special token in [p, end): where it begins; `end` when there is none. */
static cursor find_special(const struct kl__vocab *v, cursor p, cursor end, struct kl__special *found)
{
    for (; p < end; p++)
        if (v->begins[*p] && kl__vocab_special_at(v, p, end, found))
            break;
    return p;
}

static kl_status encode_slice(struct encoding *e, cursor p, cursor end)
{
    struct kl__special special;
    while (e->markup == KL_MARKUP_SPECIAL && p < end) {
        cursor at = find_special(e->vocab, p, end, &special);
        KL_TRY(encode_segment(e, p, at));
        p = at;
        if (at < end) {
            kl__ids_put(e->ids, special.id);
            p += special.text.bytes;
        }
    }
    return encode_segment(e, p, end);
}

static kl_status encode_block(struct encoding *e, cursor p, size_t bytes)
{
    for (cursor end = p + bytes, next; p < end; p = next) {
        next = kl__slice_end(p, end);
        KL_TRY(encode_slice(e, p, next));
    }
    return KL_OK;
}

static kl_status mend(struct encoding *e, cursor p, const struct kl__block *b)
{
    if (b->whole > e->mended_bytes) {
        kl__release(e->room.alloc, e->mended);
        e->mended = kl__alloc(e->room.alloc, b->whole);
        e->mended_bytes = e->mended ? b->whole : 0;
    }
    if (!e->mended)
        return kl__fail(e->err, KL_ERR_MEMORY, "no memory for %zu bytes of text", b->whole);
    kl__block_mend(e->mended, p, b);
    return KL_OK;
}

static kl_status encode_text(struct encoding *e, cursor p, size_t left)
{
    while (left) {
        struct kl__block b = kl__block_of(p, left);
        if (b.n_broken)
            KL_TRY(mend(e, p, &b));
        KL_TRY(encode_block(e, b.n_broken ? e->mended : p, b.whole));
        p += b.bytes;
        left -= b.bytes;
    }
    kl__ids_flush(e->ids);
    return e->ids->status;
}

kl_status kl_tokenize_each(kl_ids_fn *hand_on, void *user, const kl_tokenizer *t, kl_text text, kl_markup markup,
                           kl_error *err)
{
    if (markup != KL_MARKUP_PLAIN && markup != KL_MARKUP_SPECIAL)
        return kl__fail(err, KL_ERR_ARGUMENT, "markup is %d, expected KL_MARKUP_PLAIN or KL_MARKUP_SPECIAL", markup);
    struct kl__ids ids;
    ids.hand_on = hand_on;
    ids.user = user;
    ids.n = 0;
    ids.status = KL_OK;
    struct encoding e = {&t->vocab, markup, &ids, {.alloc = t->alloc}, NULL, 0, err};
    struct kl__recent recent[KL__N_RECENT];
    if (text.bytes > sizeof recent / 4) {
        memset(recent, 0, sizeof recent);
        e.room.recent = recent;
    }
    kl_status status = encode_text(&e, (cursor)text.data, text.bytes);
    kl__release(t->alloc, e.room.memory);
    kl__release(t->alloc, e.mended);
    return status;
}

/* ------------------------------------------------------------------------------------------------- into an array -- */

struct array {
    int32_t *id; /* [room] */
    size_t room, n;
};

static kl_status append(void *user, const int32_t *ids, size_t n)
{
    struct array *a = user;
    size_t fits = a->n < a->room ? a->room - a->n : 0;
    if (fits)
        memcpy(a->id + a->n, ids, (n < fits ? n : fits) * sizeof *ids);
    a->n += n;
    return KL_OK;
}

kl_status kl_tokenize(int32_t *ids, size_t room, size_t *n_id, const kl_tokenizer *t, kl_text text, kl_markup markup,
                      kl_error *err)
{
    struct array a = {ids, room, 0};
    KL_TRY(kl_tokenize_each(append, &a, t, text, markup, err));
    *n_id = a.n;
    return KL_OK;
}
