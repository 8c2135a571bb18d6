/** The files of the page that GET / answers with: those of page/, in the program. */
#ifndef KS_PAGE_H
#define KS_PAGE_H

#include <stddef.h>

struct ks_page_file {
    const char *name, *type;
    const char *tag, *packed_tag; /* quoted, change with the bytes; of the plain and of the compressed file */
    const unsigned char *data;    /* [bytes] */
    size_t bytes;
    const unsigned char *packed; /* [packed_bytes] the same, compressed by gzip */
    size_t packed_bytes;
};
/** Ends with a name of NULL. */
extern const struct ks_page_file ks_page[];

#endif
