/* The table of rows of the kernel checker, with one checker too few: must not link. */
#define check_l2norm_row check_that_nobody_wrote
#include "kernels/rows.c"
