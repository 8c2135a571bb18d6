/** Text that comes in: files and pipes, read whole. */
#ifndef KA_INPUT_H
#define KA_INPUT_H

#include "klinear/kl.h"

#include <stdio.h>

/** Bytes, with a zero behind them that is not counted. */
struct ka_input {
    char *data; /* to be given to ka_free_input */
    size_t bytes;
    size_t room; /* of `data` */
};

/** Reads `path`, or standard input when it is NULL or "-", to its end.
 *  Errors: KL_ERR_IO (cannot be read, or holds more than `limit` bytes), KL_ERR_MEMORY. */
kl_status ka_read_input(struct ka_input *in, const char *path, size_t limit, kl_error *err);
void ka_free_input(struct ka_input *in);

/** True when somebody types at standard input. */
bool ka_input_is_typed(void);

/** Reads one line of at most `limit` bytes, without its end, into `in`, whose memory is used again each time.
 *  1: a line; 0: the end; -1: `err` says why not (KL_ERR_IO, KL_ERR_MEMORY). */
int ka_read_line(struct ka_input *in, FILE *file, const char *name, size_t limit, kl_error *err);

#endif
