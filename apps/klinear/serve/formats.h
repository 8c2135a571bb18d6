/** What answers may be: JSON, JSON of a schema, a grammar, a regular expression. */
#ifndef KS_FORMATS_H
#define KS_FORMATS_H

#include "generation.h"

/** Reads response_format, json_schema, grammar and regex, of which there may be one.  False: refused in *f->p. */
bool ks_read_formats(struct ks_generation *g, const struct ks_fields *f);
/** {"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", ...} with the schema in `holder`, or in the
 *  format itself where that is NULL. */
bool ks_read_format(struct ks_generation *g, const struct ks_fields *f, const json_t *format, const char *holder,
                    const char *name);
/** The call that was forced: its arguments follow the schema of the tool `name`, or, where the name is empty, it is a
 *  call of one of the tools. */
bool ks_format_call(struct ks_generation *g, const json_t *tools, kl_text name, struct ks_problem *p);

#endif
