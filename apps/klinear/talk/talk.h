/** A conversation: turns, the tokens that they became, and the places to go back to. */
#ifndef KA_TALK_H
#define KA_TALK_H

#include "speech.h"

/** What a user says about a text or a conversation as a whole. */
struct ka_talk_choice {
    const char *template;
    int64_t n;       /* most tokens to write at a time; 0: until something else ends it */
    int64_t context; /* most tokens of the session; 0: no limit */
};
extern const struct ka_option ka_talk_options[];

enum ka_role {
    KA_SYSTEM,
    KA_USER,
    KA_ASSISTANT,
    KA_N_ROLE,
};

struct ka_message {
    enum ka_role role;
    char *text; /* [bytes] */
    size_t bytes;
};

/** What the conversation was before a turn of the user. */
struct ka_turn {
    kl_checkpoint *there;
    struct ka_ids pending;
    kl_sampler_state state;
    int n_message;
    bool cut;
};

enum { KA_UNDO = 8 }; /* turns that can be taken back: each keeps a copy of the recurrent states */

struct ka_talk {
    struct ka_speech speech;
    kl_template rendering;
    struct ka_message *message; /* [n_message] */
    int n_message, room;
    bool cut; /* the last answer did not come to its end */
    struct ka_turn turn[KA_UNDO];
    int n_turn;
};

/** Errors: as ka_speech_open().  On failure what there is has to be closed as well. */
kl_status ka_talk_open(struct ka_talk *t, struct ka_loaded *l, const struct ka_sampling_choice *choice, int64_t context,
                       kl_template rendering, kl_error *err);
void ka_talk_close(struct ka_talk *t);
/** Forgets every turn; the seed begins anew. */
void ka_talk_reset(struct ka_talk *t);

/** Adds a turn, to be read by ka_speech_read(); behind a turn of the user the answer is opened.
 *  Errors: as kl_chat_render(). */
kl_status ka_talk_add(struct ka_talk *t, enum ka_role role, kl_text text, kl_error *err);
/** Keeps a text as a turn that has been read or written.  Errors: KL_ERR_MEMORY. */
kl_status ka_talk_keep(struct ka_talk *t, enum ka_role role, kl_text text, kl_error *err);
/** Writes the answer: ka_speech_write(), whose text becomes a turn. */
kl_status ka_talk_answer(struct ka_talk *t, int64_t n, ka_text_fn *put, void *user, struct ka_ids *ids, kl_error *err);

/** From here the next turn can be taken back.  Errors: KL_ERR_MEMORY. */
kl_status ka_talk_mark(struct ka_talk *t, kl_error *err);
/** Takes back what came after the last mark.  False: there is none. */
bool ka_talk_undo(struct ka_talk *t, kl_error *err);

/** A second conversation that goes on from the same place; marks stay with the first.  `to` is zero-filled.
 *  On failure what there is has to be closed as well. */
kl_status ka_talk_fork(struct ka_talk *to, const struct ka_talk *t, const struct ka_sampling_choice *choice,
                       kl_error *err);

/** The conversation in a file: the session, and what belongs to it here.  Errors: as kl_session_save(). */
kl_status ka_talk_save(const struct ka_talk *t, const char *path, kl_error *err);
/** Makes `t` the conversation of a file; `t` is as it was when that fails.  Errors: as kl_session_load(). */
kl_status ka_talk_load(struct ka_talk *t, const char *path, kl_error *err);

#endif
