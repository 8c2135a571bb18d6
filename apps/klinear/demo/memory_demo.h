/** A text goes through the operators, byte by byte, and they guess what comes next.  Nothing is trained: every byte and
 *  every context has a random vector, and each head remembers which byte followed its contexts: head h those of the
 *  last h + 1 bytes.  So what an operator guesses is what its memory holds. */
#ifndef KA_MEMORY_DEMO_H
#define KA_MEMORY_DEMO_H

#include "klinear/kl_ops.h"

enum {
    KA_DEMO_HEADS = 3,
    KA_DEMO_DIM = 128,
    KA_DEMO_BYTES = 4096, /* most bytes of a text: what follows is not read */
};

/** One way to compute a memory. */
struct ka_guesses {
    unsigned char *next; /* [T] the byte guessed after each byte */
    float *o;            /* [T][H][D] what it was read from */
    int n_right;         /* of T - 1 */
    double seconds;      /* for the whole text */
};

struct ka_demo {
    const unsigned char *text; /* [T], borrowed */
    int64_t T;
    float *q, *k, *v; /* [T][H][D] */
    float *g;         /* [T][H][D] */
    float *beta;      /* [T][H] */
    float *state;     /* [H][D][D] as the chunkwise pass left it */
    kl_workspace work;
    struct ka_guesses chunk, token, step, softmax; /* KDA chunkwise, by tokens, by calls of one token; attention */
};

/** Reads `text` in all four ways.  false: `err` says why; close either way. */
bool ka_demo_read(struct ka_demo *d, const kl_backend *backend, const unsigned char *text, int64_t T, kl_error *err);
/** Goes on from the state: each byte is drawn from the guesses and is the next one read.  Writes `n` bytes. */
bool ka_demo_go_on(struct ka_demo *d, const kl_backend *backend, unsigned char *out, int64_t n, kl_error *err);
/** RMS(a - b) / RMS(b) of the outputs. */
double ka_demo_distance(const struct ka_demo *d, const struct ka_guesses *a, const struct ka_guesses *b);
/** Bytes that KDA keeps, and that softmax attention keeps after T bytes. */
size_t ka_demo_state_bytes(void);
size_t ka_demo_cache_bytes(int64_t T);
void ka_demo_close(struct ka_demo *d);

#endif
