/** Pre-tokenisation: text into pieces, within which byte pairs are merged.
 *
 *  The reference splits by a regular expression (docs/tokenizer.md); this is a scanner written by hand that finds the
 *  same pieces in time linear in the text, whatever the text.  [T: unit/pieces] */
#ifndef KL_TEXT_PIECES_H
#define KL_TEXT_PIECES_H

#include <stddef.h>

enum {
    KL__BLOCK_CHARACTERS = 400000, /* the reference encodes text in blocks of this many characters */
    KL__RUN_CHARACTERS = 25000,    /* and cuts a block where more than this many are all space, or all not */
};

/** The end of the piece that begins at `p` < `end`, in well-formed UTF-8. */
const unsigned char *kl__piece_end(const unsigned char *p, const unsigned char *end);

/** The end of the slice that begins at `p` < `end`, in one block of well-formed UTF-8: pieces do not cross it. */
const unsigned char *kl__slice_end(const unsigned char *p, const unsigned char *end);

/** The next block of a text, of any bytes. */
struct kl__block {
    size_t bytes;    /* of the text that it takes */
    size_t n_broken; /* parts that are not UTF-8; each becomes one U+FFFD */
    size_t whole;    /* bytes that it has as well-formed UTF-8 */
};
struct kl__block kl__block_of(const unsigned char *p, size_t left);
/** Writes the block's b->bytes bytes as well-formed UTF-8.  to [b->whole] */
void kl__block_mend(unsigned char *to, const unsigned char *p, const struct kl__block *b);

#endif
