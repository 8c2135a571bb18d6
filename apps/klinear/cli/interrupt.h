/** Ctrl-C asks to stop; what runs looks here between two pieces of work. */
#ifndef KA_INTERRUPT_H
#define KA_INTERRUPT_H

#include "klinear/kl.h"

/** From now on SIGINT and SIGTERM are noted.  A second one before ka_forget_interrupt() ends the process as if nobody
 *  had asked for them. */
void ka_catch_interrupts(void);
/** SIGINT or SIGTERM came. */
bool ka_interrupted(void);
/** It was SIGTERM: whoever sent it wants the program to end, not only what it is doing. */
bool ka_terminated(void);
void ka_forget_interrupt(void);

/** The status of a step or a prefill, which an interrupt may have ended: cancelled, its sentence is "interrupted". */
kl_status ka_step_status(kl_status status, kl_error *err);

#endif
