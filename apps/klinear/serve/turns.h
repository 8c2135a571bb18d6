/** Turns of a chat, collected by the endpoints and rendered into a prompt. */
#ifndef KS_TURNS_H
#define KS_TURNS_H

#include "generation.h"

struct ks_turns {
    kl_chat_message *message; /* [n], with room for all that were announced */
    size_t n, room;
    void **kept; /* [n_kept] what messages point to, to be freed */
    size_t n_kept;
    kl_text tools; /* JSON; absent: none */
    kl_chat_call *call; /* those of the last message, where they come one by one */
    int n_call;         /* of the whole conversation so far, likewise */
    json_t *given; /* ids that the client gave to calls: which of `kept` is the kl_text that they are rendered as */
};

/** False: no memory. */
bool ks_turns_open(struct ks_turns *t, size_t n_message, struct ks_problem *p);
void ks_turns_close(struct ks_turns *t);
/** Memory that lives as long as the turns, zeroed; NULL: none. */
void *ks_turns_keep(struct ks_turns *t, size_t bytes);
/** A message more, zeroed.  There must be room. */
kl_chat_message *ks_turns_add(struct ks_turns *t);

/** The id of a call as the model itself would write it: `id` when it names the function, else functions.NAME:I. */
kl_text ks_call_id(struct ks_turns *t, kl_text id, kl_text name, int i);
/** The call that the client knows as `given` is rendered with this id; a later one may have the same name. */
void ks_turns_name(struct ks_turns *t, const char *given, kl_text id);
/** With what id the call was rendered; `given` itself where there was none.  As fast in any conversation. */
kl_text ks_turns_named(const struct ks_turns *t, const char *given);

/** The tools, as the template wants them: an array of {"type": "function", "function": {...}}. */
bool ks_turns_tools(struct ks_turns *t, const json_t *tools, struct ks_problem *p);

/** Renders the turns and makes them the generation's prompt; ids `forced` [n] come behind the opening of the answer. */
bool ks_turns_prompt(struct ks_generation *g, const struct ks_turns *t, const int32_t *forced, int n,
                     struct ks_problem *p);

/** Reads "messages" and "tools" as chats have them, and makes them the prompt.  False: refused in *f->p. */
bool ks_turns_read(struct ks_generation *g, struct ks_turns *t, const struct ks_fields *f);

/** What the answer must begin with, so that it calls a tool: any, or `name`.  *ids is to be freed. */
bool ks_force_call(const struct ks_server *s, int32_t **ids, int *n, kl_text name, struct ks_problem *p);

#endif
