/** What is known about this machine without measuring. */
#ifndef KA_MACHINE_H
#define KA_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "json.h"

struct ka_machine {
    char processor[160];                    /* as kl_cpu_describe */
    int cores;                              /* that this process may use */
    size_t l1_bytes, l2_bytes, l3_bytes;    /* data caches: of one core, of one core, shared; 0: none or not known */
    size_t dram_bytes;                      /* to go through when DRAM is measured: more than the caches hold */
    size_t memory_bytes, memory_free_bytes; /* what can be had without swapping */
};

/** `dram_mib` as typed by a user; 0: twice the last cache, 256 at least.  Never more than a quarter of what is free. */
struct ka_machine ka_machine(int64_t dram_mib);
/** Writes the members of an object. */
void ka_machine_json(struct ka_json *j, const struct ka_machine *machine);
/** The compiler that built this program. */
const char *ka_compiler(void);

/** Bytes of memory that this process has now; 0: not known. */
double ka_resident_bytes(void);

/** Seconds of a clock that only goes forward. */
double ka_seconds(void);

/** Memory for large tensors: zeroed, aligned to 64 bytes, in large pages where the system has them, so that a
 *  bandwidth is that of the memory and not that of the page tables.  NULL when there is none. */
void *ka_alloc(size_t bytes);
void ka_free(void *memory, size_t bytes);

#endif
