/** Speculation without a second model: what followed the last tokens when they stood in the text before is guessed to
 *  follow them again.  Guesses are read together with the last token, in one step; those that the model would have
 *  chosen itself stay, and the states are taken back to what they were before the step when one is wrong, and read what
 *  was right again with the next step.  So the text is the one that comes without guesses. */
#ifndef KL_ENGINE_DRAFT_H
#define KL_ENGINE_DRAFT_H

#include "engine/schedule.h"

enum {
    KL__DRAFT_MOST = 16,  /* tokens of a guess */
    KL__DRAFT_ROWS = 32,  /* tokens of a step beyond one for each request */
};

/** Puts a guess of at most `room` tokens behind the job's tokens and returns its length: 0 where there is none, or
 *  guesses were wrong too often lately. */
int kl__draft_plan(kl_scheduler *s, struct kl__job *job, int room);
/** Of job->n_draft tokens that were guessed, the first `right` were right. */
void kl__draft_judge(kl_scheduler *s, struct kl__job *job, int right);

#endif
