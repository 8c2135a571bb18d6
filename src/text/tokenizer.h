/** What a kl_tokenizer is inside, and where it may come from. */
#ifndef KL_TEXT_TOKENIZER_H
#define KL_TEXT_TOKENIZER_H

#include "text/vocab.h"

struct kl__store;

/** The names that markup has in a vocabulary; the ids are -1 where it lacks them. */
#define KL__MARKS(X)                                                                                                   \
    X(bos, "[BOS]")                                                                                                    \
    X(eos, "[EOS]")                                                                                                    \
    X(eot, "[EOT]")                                                                                                    \
    X(im_end, "<|im_end|>")                                                                                            \
    X(im_user, "<|im_user|>")                                                                                          \
    X(im_assistant, "<|im_assistant|>")                                                                                \
    X(im_system, "<|im_system|>")                                                                                      \
    X(im_middle, "<|im_middle|>")                                                                                      \
    X(calls_begin, "<|tool_calls_section_begin|>")                                                                     \
    X(calls_end, "<|tool_calls_section_end|>")                                                                         \
    X(call_begin, "<|tool_call_begin|>")                                                                               \
    X(call_argument, "<|tool_call_argument_begin|>")                                                                   \
    X(call_end, "<|tool_call_end|>")

struct kl__marks {
#define KL_X(name, text) int32_t name;
    KL__MARKS(KL_X)
#undef KL_X
};

struct kl_tokenizer {
    const kl_allocator *alloc;
    struct kl__vocab vocab;
    struct kl__marks marks;
    char *chat_template; /* NULL: none */
    size_t template_bytes;
};

/** Makes a tokenizer of the metadata of a GGUF file; the store may be closed afterwards.
 *  Errors: KL_ERR_FORMAT, KL_ERR_UNSUPPORTED (another kind of tokenizer), KL_ERR_MEMORY. */
kl_status kl__tokenizer_of_store(kl_tokenizer **tokenizer, const struct kl__store *store, const kl_allocator *alloc,
                                 kl_error *err);

/** The three sources.  Each fills the vocabulary and finishes it, and may set the template. */
kl_status kl__tokenizer_read_tiktoken(kl_tokenizer *t, const char *path, kl_error *err);
kl_status kl__tokenizer_read_store(kl_tokenizer *t, const struct kl__store *store, kl_error *err);

/** Keeps a copy of a chat template.  Errors: KL_ERR_MEMORY, KL_ERR_UNSUPPORTED (too long). */
kl_status kl__tokenizer_keep_template(kl_tokenizer *t, struct kl__str text, const char *path, kl_error *err);

/** The token as a line of tiktoken.model, line [2 KL__TOKEN_BYTES]; returns its length. */
size_t kl__tiktoken_line(char *line, struct kl__str token, int32_t rank);

/** The name of the special token `i` behind the ranks in the released model, or NULL when it is reserved. */
const char *kl__released_name(int32_t i);
/** "<|reserved_token_ID|>" */
struct kl__reserved {
    char text[40];
};
struct kl__reserved kl__reserved_name(int32_t id);

#endif
