/** Guessing ahead while a text is written: tokens that followed before are read together with the one that was chosen,
 *  and taken back where they were wrong.  What is written is the same, to the bit. */
#ifndef KA_AHEAD_H
#define KA_AHEAD_H

#include "../cli/ids.h"
#include "klinear/kl.h"

enum { KA_AHEAD_MOST = 16 };

struct ka_ahead {
    int most;         /* tokens of a guess; 0: none are made */
    int64_t n_vocab;
    float *logits;    /* [most + 1][n_vocab] behind each token of the last step */
    int32_t guess[KA_AHEAD_MOST];
    int n_guess, at;  /* that were read; of them, those that were chosen since */
    kl_checkpoint *before; /* the last step; NULL: no guess was made */
    int32_t own;           /* the token that the guess came behind */
    int64_t n_guessed, n_right;
};

/** Errors: KL_ERR_MEMORY. */
kl_status ka_ahead_open(struct ka_ahead *a, int most, int64_t n_vocab, kl_error *err);
void ka_ahead_close(struct ka_ahead *a);
/** Reads the token that was chosen; *logits becomes where those behind it are.  Errors: as kl_step(). */
kl_status ka_ahead_read(struct ka_ahead *a, kl_session *session, int32_t token, float **logits, kl_error *err);
/** The session has read what was chosen, and nothing else.  To be called before it is used otherwise. */
kl_status ka_ahead_settle(struct ka_ahead *a, kl_session *session, kl_error *err);
/** Tokens of the session that were chosen, or read before. */
int64_t ka_ahead_length(const struct ka_ahead *a, const kl_session *session);

#endif
