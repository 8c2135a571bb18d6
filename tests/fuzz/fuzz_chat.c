/* Bytes as all that a chat is made of: a template, tools, contents, arguments, an answer; and as stop strings. */
#include "base/str.h"
#include "fuzz_text.h"

static void check_render(const kl_tokenizer *t, kl_text text)
{
    kl_chat_call call = {text, text, .is_value = text.bytes % 2};
    kl_chat_message message[] = {
        {.role = kl_text_of("user"), .name = text, .content = text, .part = &text, .n_part = 1},
        {.role = kl_text_of("assistant"), .call = &call, .n_call = 1},
        {.role = text, .call_id = text},
    };
    int32_t ids[50];
    char room[50];
    for (size_t n = 1; n <= 3; n++) {
        kl_chat_prompt p = {.ids = ids, .id_room = 50, .text = room, .text_room = 50};
        kl_chat_render(&p, t, &(kl_chat){.message = message, .n_message = n, .tools = n == 1 ? text : (kl_text){0}},
                       NULL);
    }
}

static void check_answer(const kl_tokenizer *t, const uint8_t *data, size_t bytes)
{
    int32_t first = kl_tokenizer_special(t, "[BOS]"), *ids = malloc((bytes + 1) * sizeof *ids);
    const kl_answer *answer;
    for (size_t i = 0; ids && i < bytes; i++)
        ids[i] = data[i] < 0x80 ? data[i] : first + (data[i] - 0x80) % 24;
    if (!ids || kl_answer_open(&answer, t, ids, bytes, NULL) != KL_OK)
        abort();
    for (size_t i = 0; i < answer->n_call; i++)
        if (!kl__utf8_valid((struct kl__str){answer->call[i].id.data, answer->call[i].id.bytes}) ||
            kl_chat_call_name(answer->call[i].id).bytes > answer->call[i].id.bytes)
            abort();
    kl_answer_close(answer);
    free(ids);
}

/* The first half of the bytes is a stop string, all of them the text, in two portions. */
static void check_stop(kl_text text)
{
    kl_text string = {text.data, text.bytes / 2};
    kl_stop *stop;
    if (kl_stop_open(&stop, &string, 1, NULL, NULL) != KL_OK)
        return;
    char *out = malloc(text.bytes + kl_stop_held(stop));
    size_t half = text.bytes / 3, n = kl_stop_put(stop, out, (kl_text){text.data, half});
    n += kl_stop_put(stop, out, (kl_text){text.data + half, text.bytes - half});
    n += kl_stop_end(stop, out);
    if (n != 0 || kl_stop_found(stop) != 0)
        abort();
    kl_stop_close(stop);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const kl_tokenizer *t = fuzz_tokenizer();
    kl_text text = {(const char *)data, bytes};
    kl_error err = {0};
    if (kl_chat_check_template(text, &err) != KL_OK && (!err.text[0] || err.text[sizeof err.text - 1]))
        abort();
    check_render(t, text);
    check_answer(t, data, bytes);
    check_stop(text);
    return 0;
}
