#include "talk.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

#define AT(x) .field = offsetof(struct ka_talk_choice, x)
const struct ka_option ka_talk_options[] = {
    {.name = "tokens",
     .letter = 'n',
     .value = "N",
     .kind = KA_NUMBER,
     AT(n),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "most tokens to write, in a chat for each turn; 0: until the model ends;\n"
             "default: 256, in a chat 0"},
    {.name = "ctx",
     .letter = 'c',
     .value = "N",
     .kind = KA_NUMBER,
     AT(context),
     .min = 0,
     .max = (int64_t)1 << 40,
     .help = "most tokens to read and write together; 0, the default: no limit"},
    {.name = "template",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(template),
     .help = "kimi, or a file with a chat template, which has to be Kimi Linear's;\ndefault: the one of the model"},
    {0},
};

static const char *const role_name[] = {[KA_SYSTEM] = "system", [KA_USER] = "user", [KA_ASSISTANT] = "assistant"};

kl_status ka_talk_open(struct ka_talk *t, struct ka_loaded *l, const struct ka_sampling_choice *choice, int64_t context,
                       kl_template rendering, kl_error *err)
{
    *t = (struct ka_talk){.rendering = rendering};
    return ka_speech_open(&t->speech, l, choice, context, err);
}

static void drop_turns(struct ka_talk *t, int from)
{
    for (int i = from; i < t->n_turn; i++) {
        kl_checkpoint_drop(t->turn[i].there);
        ka_free_ids(&t->turn[i].pending);
    }
    t->n_turn = from < t->n_turn ? from : t->n_turn;
}

static void drop_messages(struct ka_talk *t, int from)
{
    while (t->n_message > from)
        free(t->message[--t->n_message].text);
}

void ka_talk_close(struct ka_talk *t)
{
    drop_turns(t, 0);
    drop_messages(t, 0);
    free(t->message);
    ka_speech_close(&t->speech);
    *t = (struct ka_talk){0};
}

void ka_talk_reset(struct ka_talk *t)
{
    drop_turns(t, 0);
    drop_messages(t, 0);
    kl_session_reset(t->speech.session);
    t->speech.pending.n = 0;
    t->speech.state = (kl_sampler_state){t->speech.sampling.seed, 0};
    t->cut = false;
}

/* --------------------------------------------------------------------------------------------------------- turns -- */

kl_status ka_talk_keep(struct ka_talk *t, enum ka_role role, kl_text text, kl_error *err)
{
    if (t->n_message == t->room) {
        int room = 2 * t->room + 16;
        struct ka_message *more = realloc(t->message, (size_t)room * sizeof *more);
        if (!more)
            return kl__fail(err, KL_ERR_MEMORY, "out of memory");
        t->message = more;
        t->room = room;
    }
    char *copy = malloc(text.bytes + 1);
    if (!copy)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    memcpy(copy, text.bytes ? text.data : "", text.bytes);
    copy[text.bytes] = 0;
    t->message[t->n_message++] = (struct ka_message){role, copy, text.bytes};
    return KL_OK;
}

/* The answer before ends as the template has it, however the model ended it. */
static kl_status close_answer(struct ka_talk *t, kl_error *err)
{
    struct ka_speech *s = &t->speech;
    int32_t end = kl_tokenizer_special(s->l->tokenizer, "<|im_end|>");
    bool answered = t->n_message && t->message[t->n_message - 1].role == KA_ASSISTANT;
    if (!answered || end < 0)
        return KL_OK;
    if (s->pending.n && !t->cut)
        s->pending.n--; /* what it ended with */
    return ka_add_ids(&s->pending, &end, 1, err);
}

static kl_status render(struct ka_ids *to, const kl_tokenizer *tokenizer, const kl_chat *chat, kl_error *err)
{
    kl_chat_prompt prompt = {0};
    KL_TRY(kl_chat_render(&prompt, tokenizer, chat, err));
    prompt.id_room = prompt.n_id;
    prompt.ids = malloc((prompt.n_id + 1) * sizeof *prompt.ids);
    if (!prompt.ids)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory: %zu tokens", prompt.n_id);
    kl_status status = kl_chat_render(&prompt, tokenizer, chat, err);
    if (status == KL_OK)
        status = ka_add_ids(to, prompt.ids, (int64_t)prompt.n_id, err);
    free(prompt.ids);
    return status;
}

kl_status ka_talk_add(struct ka_talk *t, enum ka_role role, kl_text text, kl_error *err)
{
    kl_chat_message message = {.role = kl_text_of(role_name[role]), .content = text};
    kl_chat chat = {.message = &message, .n_message = 1, .without_opening = role != KA_USER, .rendering = t->rendering};
    KL_TRY(close_answer(t, err));
    KL_TRY(render(&t->speech.pending, t->speech.l->tokenizer, &chat, err));
    return ka_talk_keep(t, role, text, err);
}

/* Hands text on, and keeps it. */
struct keeper {
    ka_text_fn *put;
    void *user;
    char *text;
    size_t bytes, room;
};

static kl_status keep(void *user, const char *text, size_t bytes, kl_error *err)
{
    struct keeper *k = user;
    if (k->bytes + bytes > k->room) {
        size_t room = 2 * (k->bytes + bytes) + 256;
        char *more = realloc(k->text, room);
        if (!more)
            return kl__fail(err, KL_ERR_MEMORY, "out of memory");
        k->text = more;
        k->room = room;
    }
    memcpy(k->text + k->bytes, text, bytes);
    k->bytes += bytes;
    return k->put(k->user, text, bytes, err);
}

kl_status ka_talk_answer(struct ka_talk *t, int64_t n, ka_text_fn *put, void *user, struct ka_ids *ids, kl_error *err)
{
    struct keeper k = {.put = put, .user = user};
    kl_status status = ka_speech_write(&t->speech, n, keep, &k, ids, err);
    t->cut = t->speech.stats.end != KA_END_TOKEN;
    kl_status kept = ka_talk_keep(t, KA_ASSISTANT, (kl_text){k.text, k.bytes}, status == KL_OK ? err : NULL);
    free(k.text);
    return status == KL_OK ? kept : status;
}

/* --------------------------------------------------------------------------------------------------------- marks -- */

kl_status ka_talk_mark(struct ka_talk *t, kl_error *err)
{
    struct ka_turn turn = {.state = t->speech.state, .n_message = t->n_message, .cut = t->cut};
    KL_TRY(ka_add_ids(&turn.pending, t->speech.pending.at, t->speech.pending.n, err));
    kl_status status = kl_checkpoint_take(&turn.there, t->speech.session, err);
    if (status != KL_OK) {
        ka_free_ids(&turn.pending);
        return status;
    }
    if (t->n_turn == KA_UNDO) { /* the oldest goes */
        kl_checkpoint_drop(t->turn[0].there);
        ka_free_ids(&t->turn[0].pending);
        memmove(t->turn, t->turn + 1, (KA_UNDO - 1) * sizeof *t->turn);
        t->n_turn--;
    }
    t->turn[t->n_turn++] = turn;
    return KL_OK;
}

bool ka_talk_undo(struct ka_talk *t, kl_error *err)
{
    if (!t->n_turn)
        return false;
    struct ka_turn *turn = &t->turn[t->n_turn - 1];
    if (kl_session_resume(t->speech.session, turn->there, err) != KL_OK)
        return false;
    t->speech.pending.n = 0;
    if (ka_add_ids(&t->speech.pending, turn->pending.at, turn->pending.n, err) != KL_OK)
        return false;
    t->speech.state = turn->state;
    t->cut = turn->cut;
    drop_messages(t, turn->n_message);
    drop_turns(t, t->n_turn - 1);
    return true;
}

kl_status ka_talk_fork(struct ka_talk *to, const struct ka_talk *t, const struct ka_sampling_choice *choice,
                       kl_error *err)
{
    const struct ka_speech *s = &t->speech;
    KL_TRY(ka_talk_open(to, s->l, choice, s->context, t->rendering, err));
    kl_session_close(to->speech.session);
    to->speech.session = NULL;
    KL_TRY(kl_session_fork(&to->speech.session, s->session, err));
    KL_TRY(ka_add_ids(&to->speech.pending, s->pending.at, s->pending.n, err));
    to->speech.sampling.seed = s->sampling.seed;
    to->speech.state = s->state;
    to->speech.n_prompt = s->n_prompt;
    to->cut = t->cut;
    for (int i = 0; i < t->n_message; i++)
        KL_TRY(ka_talk_keep(to, t->message[i].role, (kl_text){t->message[i].text, t->message[i].bytes}, err));
    return KL_OK;
}
