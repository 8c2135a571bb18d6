/** Which build this is. */
#ifndef KL_BASE_BUILD_H
#define KL_BASE_BUILD_H

#include <stdint.h>

/** An identity of the program or library that this code lies in: another compiler, another option or another line of
 *  code give another one.  What the linker has put there (its build ID); where there is none, version and compiler. */
void kl__build_id(uint8_t id[16]);

#endif
