/** A configuration as the text of a config.json. */
#ifndef KL_MODEL_CONFIG_WRITE_H
#define KL_MODEL_CONFIG_WRITE_H

#include "format/writer_parts.h"
#include "klinear/kl/model.h"
#include "tensor/quant/quant.h"

/** Appends the text; kl__config_of_json reads the same configuration out of it.  `type`: nominal, of the tensors. */
void kl__config_put_json(struct kl__buffer *b, const kl_config *c, enum kl__type type);

#endif
