/* Slots that have no checker yet.  Each line is a debt: the row is reported as unchecked. */
#include "kcheck.h"

#define UNCHECKED(slot)                                                                                                \
    void check_##slot(kc *c)                                                                                           \
    {                                                                                                                  \
        kc_unchecked(c);                                                                                               \
    }
UNCHECKED(decay_row)
UNCHECKED(dplr_prep)
UNCHECKED(dplr_slabs)
UNCHECKED(dplr_step)
UNCHECKED(kda_prep)
UNCHECKED(kda_slabs)
UNCHECKED(kda_step)
UNCHECKED(kda_step_vk)
