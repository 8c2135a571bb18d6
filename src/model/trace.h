/** What a walk tells of single sequences, when somebody watches (klinear/kl/trace.h).  It only reads what the walk has
 *  computed, and writes to memory of its own. */
#ifndef KL_MODEL_TRACE_H
#define KL_MODEL_TRACE_H

#include "klinear/kl/trace.h"
#include "model/net.h"

/** Of one layer; pointers to what it has not are NULL. */
struct kl__trace_layer {
    float *beta;   /* [max_tokens][HV] ring */
    double *sum;   /* [HV][n_channel] */
    uint64_t *bin; /* [HV][KL_TRACE_BINS] */
    int n_channel;
    float *weight;       /* [max_tokens] of the last query */
    kl_trace_place *top; /* [max_tokens][KL_TRACE_TOP] ring */
    float before;
    int64_t query;
    uint64_t *count;       /* [n_expert] */
    double *expert_weight; /* [n_expert] */
};

struct kl_trace {
    const kl_allocator *alloc; /* NULL, or &alloc_copy */
    kl_allocator alloc_copy;
    kl_config c;
    int64_t max_tokens;
    int64_t end;                   /* one behind the last position seen */
    int64_t count_from;            /* positions before it have been counted in an earlier step */
    int64_t n_token;               /* that were counted */
    int64_t *position;             /* [max_tokens] ring: which position an entry is of; -1: none */
    int32_t *token;                /* [max_tokens] ring */
    struct kl__trace_layer *layer; /* [n_layer] */
    float *score;                  /* [n_head][max_tokens]; what follows is room for one query */
    float *query;                  /* [n_head][R + DR] absorbed */
    float *row;                    /* [R + DR] */
    double *most, *sum;            /* [n_head] of the scores of positions before the window */
    void *memory;                  /* all of it */
    size_t bytes;
};

/** A walk begins in which the sequence reads its tokens. */
void kl__trace_begin(kl_trace *t, const struct kl__seq *q, const int32_t *token);
/** Inputs of the decay gate [n][HV n_channel] and of beta [n][HV], rows of `q` alone, each with its pitch; n_dim 0:
 *  absent.  `written`: beta is what is written, no input of a sigmoid. */
void kl__trace_recurrent(kl_trace *t, const struct kl__seq *q, int layer, const struct kl__layer *l, kl_tensor decay,
                         kl_tensor beta, bool written);
/** Token `from` of the sequence's part of the step has the query q [H][DN + DR], turned where the model turns. */
void kl__trace_attend(kl_trace *t, const struct kl__batch *b, const struct kl__seq *q, int layer, int index,
                      const struct kl__layer *l, const float *query, int from);
/** ids and weights of all rows of the step, [T][topk]. */
void kl__trace_route(kl_trace *t, const struct kl__seq *q, int layer, const int32_t *id, const float *weight);

#endif
