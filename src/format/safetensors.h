/** safetensors: facts that reader and writer share.
 *
 *      u64 n, little-endian
 *      n bytes of JSON: {"NAME": {"dtype": "BF16", "shape": [..], "data_offsets": [begin, end]}, ..}, which may hold
 *          one entry "__metadata__" with an object of strings, begins with '{' and may end with spaces
 *      the buffer: tensors at their offsets, outermost dimension first; they tile it without hole or overlap */
#ifndef KL_FORMAT_SAFETENSORS_H
#define KL_FORMAT_SAFETENSORS_H

enum {
    KL__SAFETENSORS_HEADER_BYTES = 100000000, /* at most: a rule of the format */
    KL__SAFETENSORS_META_ENTRIES = 4096,      /* at most: a limit of ours; files have a handful */
};

#define KL__SAFETENSORS_META "__metadata__"

#endif
