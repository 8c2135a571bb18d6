/** Whether and how a prompt is put into the turns of a chat. */
#ifndef KA_RENDERING_H
#define KA_RENDERING_H

#include "klinear/kl.h"

/** What --template says: NULL, the template that came with the model; "kimi"; or a file with a template, which has to
 *  be Kimi Linear's.  Errors: KL_ERR_UNSUPPORTED, KL_ERR_IO. */
kl_status ka_rendering_of(kl_template *to, const char *name, const kl_tokenizer *t, kl_error *err);

#endif
