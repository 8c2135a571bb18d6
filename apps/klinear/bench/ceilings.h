/** A set of ceilings that are measured together, in rounds, so that noise meets all of them alike. */
#ifndef KA_CEILINGS_H
#define KA_CEILINGS_H

#include "ceiling.h"

struct ka_ceilings {
    struct ka_ceiling *at;
    int n, room;
    size_t memory_bytes; /* the most that one of them goes through */
    void *memory;        /* [allocated_bytes] */
    size_t allocated_bytes;
};

/** The index of a ceiling in the set, put there if need be; -1 when this machine does not have it or memory is out. */
int ka_want_ceiling(struct ka_ceilings *set, enum ka_limit limit, const char *isa, kl_pool *pool, size_t bytes);
/** Wants all that are known for an instruction set: the multiply-adds, reads and updates of every level. */
void ka_want_all_ceilings(struct ka_ceilings *set, const struct ka_machine *machine, const char *isa, kl_pool *pool);
/** Gives back the memory that samples went through; what they found stays. */
void ka_rest_ceilings(struct ka_ceilings *set);
/** One sample of each, of about `seconds`.  false: no memory. */
bool ka_sample_ceilings(struct ka_ceilings *set, double seconds);
/** The median of ceiling `i`; NaN for -1. */
double ka_ceiling_value(const struct ka_ceilings *set, int i);
/** That of the level `level`, or NaN. */
double ka_level_value(const struct ka_ceilings *set, const struct ka_machine *machine, enum ka_limit limit,
                      const char *isa, kl_pool *pool, enum ka_level level);
/** The multiply-adds of a dtype: of f32, and for bf16 the fastest of f32 FMA, bf16 dot and f16 FMA, all of which can
 *  serve 16-bit operands. */
double ka_compute_value(const struct ka_ceilings *set, const char *isa, kl_pool *pool, kl_dtype dtype);
/** Writes one object with all that ka_want_all_ceilings wanted. */
void ka_ceilings_json(struct ka_json *j, const struct ka_ceilings *set, const struct ka_machine *machine,
                      const char *isa, kl_pool *pool);
/** The same as one line of text. */
void ka_ceilings_text(FILE *out, const struct ka_ceilings *set, const struct ka_machine *machine, const char *isa,
                      kl_pool *pool);
void ka_free_ceilings(struct ka_ceilings *set);

#endif
