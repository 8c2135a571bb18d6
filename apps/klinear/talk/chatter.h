/** klinear chat while it goes on: conversations, the one that is spoken to, and the commands that change them. */
#ifndef KA_CHATTER_H
#define KA_CHATTER_H

#include "editor.h"
#include "talk.h"

enum { KA_TALKS = 16 };

struct ka_chatter {
    struct ka_loaded l;
    const struct ka_sampling_choice *sampling;
    struct ka_talk *talk[KA_TALKS]; /* [n_talk] */
    int n_talk, at;                 /* the one that is spoken to */
    struct ka_editor *editor;
    bool typed; /* somebody is there, who likes to be told things */
    bool over;  /* the chat ends */
    bool failed;
    int64_t n;  /* most tokens of an answer; 0: no limit */
};

/** The conversation that is spoken to. */
static inline struct ka_talk *ka_current(struct ka_chatter *c)
{
    return c->talk[c->at];
}

/** Adds a conversation and speaks to it.  Errors: as ka_talk_open(), KL_ERR_ARGUMENT (there are KA_TALKS). */
kl_status ka_chatter_add(struct ka_chatter *c, struct ka_talk *talk, kl_error *err);

/** Obeys a line that begins with a slash. */
void ka_chat_command(struct ka_chatter *c, const char *line);
/** Commands, for the tab key. */
extern const char *const ka_chat_words[];

/** Says something to whoever types; nothing when nobody does. */
void ka_chat_tell(const struct ka_chatter *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Says that something failed, also when nobody types. */
void ka_chat_complain(struct ka_chatter *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
