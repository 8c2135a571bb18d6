/** The files of the page that GET / answers with: those of page/, in the program. */
#ifndef KS_PAGE_H
#define KS_PAGE_H

#include <stddef.h>

struct ks_page_file {
    const char *name, *type, *tag; /* tag: quoted, changes with the bytes */
    const unsigned char *data;     /* [bytes] */
    size_t bytes;
};
/** Ends with a name of NULL. */
extern const struct ks_page_file ks_page[];

#endif
