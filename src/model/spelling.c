#include "model/spelling.h"

#include <stdio.h>

static bool visible(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

unsigned kl__byte_point(unsigned char byte)
{
    unsigned hidden = 0;
    if (visible(byte))
        return byte;
    for (unsigned b = 0; b < byte; b++)
        hidden += !visible(b);
    return 0x100 + hidden;
}

size_t kl__spell(char *to, const void *data, size_t bytes)
{
    const unsigned char *byte = data;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned point = kl__byte_point(byte[i]);
        if (point < 0x80) {
            to[n++] = (char)point;
            continue;
        }
        to[n++] = (char)(0xc0 | point >> 6);
        to[n++] = (char)(0x80 | (point & 0x3f));
    }
    return n;
}

/* The byte that a code point stands for, or -1. */
static int byte_of(unsigned point)
{
    if (point < 0x100)
        return visible(point) ? (int)point : -1;
    for (unsigned b = 0, hidden = 0; b < 256; b++)
        if (!visible(b) && hidden++ == point - 0x100)
            return (int)b;
    return -1;
}

bool kl__unspell(unsigned char *to, size_t *bytes, struct kl__str text)
{
    *bytes = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned point = (unsigned char)text.at[i];
        if (point >= 0x80) {
            if ((point & 0xe0) != 0xc0 || i + 1 == text.bytes || ((unsigned char)text.at[i + 1] & 0xc0) != 0x80)
                return false;
            point = (point & 0x1f) << 6 | ((unsigned char)text.at[++i] & 0x3f);
        }
        int byte = byte_of(point);
        if (byte < 0)
            return false;
        to[(*bytes)++] = (unsigned char)byte;
    }
    return true;
}

void kl__special_name(char name[KL__SPECIAL_NAME_BYTES], int i, int64_t first)
{
    static const char *const known[KL__N_SPECIAL] = {
        [0] = "[BOS]",
        [1] = "[EOS]",
        [2] = "<|im_end|>",
        [3] = "<|im_user|>",
        [4] = "<|im_assistant|>",
        [6] = "<|start_header_id|>",
        [7] = "<|end_header_id|>",
        [9] = "[EOT]",
        [10] = "<|im_system|>",
        [11] = "<|tool_calls_section_begin|>",
        [12] = "<|tool_calls_section_end|>",
        [13] = "<|tool_call_begin|>",
        [14] = "<|tool_call_argument_begin|>",
        [15] = "<|tool_call_end|>",
        [17] = "<|im_middle|>",
        [254] = "[UNK]",
        [255] = "[PAD]",
    };
    if (known[i])
        snprintf(name, KL__SPECIAL_NAME_BYTES, "%s", known[i]);
    else
        snprintf(name, KL__SPECIAL_NAME_BYTES, "<|reserved_token_%lld|>", (long long)first + i);
}
