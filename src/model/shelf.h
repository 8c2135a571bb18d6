/** A shelf of experts: those of all layers that were chosen lately lie in memory, a slot each; the others are read
 *  from the model's files when the router has chosen them.
 *
 *      n = kl__shelf_take(shelf, layer, id, from)     tokens from, from + 1, ..: their experts have slots, reads begin
 *      ... something else is computed ...
 *      kl__shelf_await(shelf, weights)                they have been read
 *      ... the product ...
 *      kl__shelf_done(shelf)
 *
 *  A product reads what lies in the slots: nothing is copied behind the read.  The expert that was used longest ago
 *  makes room.  From take to done the shelf is one thread's; others wait.   [T: engine/lean] */
#ifndef KL_MODEL_SHELF_H
#define KL_MODEL_SHELF_H

#include "base/reader.h"
#include "model/net.h"

enum {
    KL__SHELF_PARTS = 3, /* of an expert: gate, up, down */
};

struct kl__shelf;

/** Bytes of a slot of the shelf that a network needs, and experts of all layers; 0: it has none. */
size_t kl__shelf_slot_bytes(const struct kl__net *net);
int64_t kl__shelf_experts(const struct kl__net *net);

/** Tells where `data` lies: which file, which byte. */
typedef bool kl__place_fn(const void *user, const void *data, int *file, uint64_t *at);

/** A shelf of `n_slot` slots (at least n_expert_used) for all layers of the network, which it borrows, as it does the
 *  reader.   Errors: KL_ERR_MEMORY, KL_ERR_ARGUMENT. */
kl_status kl__shelf_open(struct kl__shelf **shelf, const struct kl__net *net, int64_t n_slot, struct kl__reader *reader,
                         kl__place_fn *place, const void *user, const kl_allocator *alloc, kl_error *err);
/** NULL is allowed. */
void kl__shelf_close(struct kl__shelf *shelf);

/** Gives slots to the experts of as many tokens as the shelf holds at once, at least one: id [T][topk] of the layer,
 *  tokens from `from` on.  Returns their number. */
int64_t kl__shelf_take(struct kl__shelf *shelf, int layer, kl_tensor id, int64_t from);
/** Waits for them.  weight[0 .. 2] become the layer's gate, up and down, whose matrices lie in the slots; those of
 *  experts that were not taken may not be looked at.   Errors: KL_ERR_IO; kl__shelf_done() is due all the same. */
kl_status kl__shelf_await(struct kl__shelf *shelf, struct kl__weight weight[KL__SHELF_PARTS], kl_error *err);
void kl__shelf_done(struct kl__shelf *shelf);

/** What has been asked for so far, and where it was found. */
kl_expert_traffic kl__shelf_traffic(struct kl__shelf *shelf);

#endif
