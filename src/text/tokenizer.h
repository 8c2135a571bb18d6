/** What a kl_tokenizer is inside, and where it may come from. */
#ifndef KL_TEXT_TOKENIZER_H
#define KL_TEXT_TOKENIZER_H

#include "text/vocab.h"

struct kl__store;

/** The special tokens that klinear itself writes and reads. */
#define KL__MARKS(X)                                                                                                   \
    X(EOS, "[EOS]")                                                                                                    \
    X(EOT, "[EOT]")                                                                                                    \
    X(END, "<|im_end|>")                                                                                               \
    X(USER, "<|im_user|>")                                                                                             \
    X(ASSISTANT, "<|im_assistant|>")                                                                                   \
    X(SYSTEM, "<|im_system|>")                                                                                         \
    X(MIDDLE, "<|im_middle|>")                                                                                         \
    X(CALLS_BEGIN, "<|tool_calls_section_begin|>")                                                                     \
    X(CALLS_END, "<|tool_calls_section_end|>")                                                                         \
    X(CALL_BEGIN, "<|tool_call_begin|>")                                                                               \
    X(CALL_ARGUMENTS, "<|tool_call_argument_begin|>")                                                                  \
    X(CALL_END, "<|tool_call_end|>")

enum kl__mark {
#define KL_X(name, text) KL__MARK_##name,
    KL__MARKS(KL_X)
#undef KL_X
        KL__N_MARK
};
const char *kl__mark_name(enum kl__mark mark);

struct kl_tokenizer {
    const kl_allocator *alloc;
    struct kl__vocab vocab;
    int32_t mark[KL__N_MARK]; /* ids; -1 where the vocabulary lacks one */
    char *chat_template;      /* NULL: none */
    size_t template_bytes;
};

/** Makes a tokenizer of the metadata of a GGUF file; the store may be closed afterwards.
 *  Errors: KL_ERR_FORMAT, KL_ERR_UNSUPPORTED (another kind of tokenizer), KL_ERR_MEMORY. */
kl_status kl__tokenizer_of_store(kl_tokenizer **tokenizer, const struct kl__store *store, const kl_allocator *alloc,
                                 kl_error *err);

/** A file in memory.  `path` stands in sentences; NULL: there is no such file. */
struct kl__named_text {
    const char *path;
    struct kl__str text;
};

/** A tokenizer in the files of a Hugging Face directory. */
struct kl__tiktoken {
    struct kl__named_text ranks;    /* tiktoken.model */
    struct kl__named_text config;   /* tokenizer_config.json */
    struct kl__named_text template; /* chat_template.jinja */
};
/** Errors: KL_ERR_FORMAT, KL_ERR_UNSUPPORTED, KL_ERR_MEMORY. */
kl_status kl__tokenizer_of_tiktoken(kl_tokenizer **tokenizer, const struct kl__tiktoken *files,
                                    const kl_allocator *alloc, kl_error *err);

/** Both fill the vocabulary and finish it, and may set the template. */
kl_status kl__tokenizer_read_tiktoken(kl_tokenizer *t, const struct kl__tiktoken *files, kl_error *err);
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
