/** JSON on its way in: one string on a line. */
#ifndef KA_JSON_LINE_H
#define KA_JSON_LINE_H

#include "klinear/kl.h"

/** Reads `line` [bytes], which must be one JSON string and nothing else but white space, in place: afterwards its first
 *  *n bytes are the text, in UTF-8.  \ud800 without its other half becomes U+FFFD, as other readers of such text do.
 *  Errors: KL_ERR_FORMAT, with the column. */
kl_status ka_json_line(char *line, size_t bytes, size_t *n, kl_error *err);

#endif
