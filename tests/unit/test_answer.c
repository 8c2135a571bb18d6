/* Reading answers: content, calls, and everything that can be wrong with them. */
#include "support/kt_vocab.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"functions", ".f", ":0", "{}"};
enum { N_WORD = sizeof words / sizeof *words, SPECIAL = 256 + N_WORD };
/* Markers by their places. */
enum {
    EOS = SPECIAL + 1,
    END,
    USER,
    EOT = SPECIAL + 9,
    SECTION = SPECIAL + 11,
    SECTION_END,
    CALL,
    ARGUMENTS,
    CALL_END
};

static kl_tokenizer *tokenizer;

static int set_up(void **state)
{
    (void)state;
    tokenizer = kt_tokenizer(words, N_WORD);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kl_tokenizer_close(tokenizer);
    kt_remove_files();
    return 0;
}

/* The answer as one text: content, then "[id|arguments]" for each call, then '.' if it stopped and '!' if it is faulty.
 * -1 ends the ids. */
static void assert_answer(const int32_t *ids, const char *wanted)
{
    const kl_answer *a;
    char found[300];
    size_t n = 0, at;
    while (ids[n] >= 0)
        n++;
    KT_OK(kl_answer_open(&a, tokenizer, ids, n, KT_ERR));
    at = (size_t)snprintf(found, sizeof found, "%.*s", (int)a->content.bytes, a->content.data);
    for (size_t i = 0; i < a->n_call; i++)
        at += (size_t)snprintf(found + at, sizeof found - at, "[%.*s|%.*s]", (int)a->call[i].id.bytes,
                               a->call[i].id.data, (int)a->call[i].arguments.bytes, a->call[i].arguments.data);
    snprintf(found + at, sizeof found - at, "%s%s", a->stopped ? "." : "", a->faulty ? "!" : "");
    kl_answer_close(a);
    assert_string_equal(found, wanted);
}
#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

static void whole_answers(void **state)
{
    (void)state;
    assert_answer(IDS(END), ".");
    assert_answer(IDS('H', 'i', END), "Hi.");
    assert_answer(IDS('H', 'i', EOS, 'x'), "Hi.");
    assert_answer(IDS('H', 'i', EOT, SECTION), "Hi.");
    assert_answer(IDS('H', 'i'), "Hi");
    assert_answer(IDS(SECTION, CALL, 256, 257, 258, ARGUMENTS, 259, CALL_END, SECTION_END, END), "[functions.f:0|{}].");
    assert_answer(
        IDS('a', SECTION, CALL, 'x', ARGUMENTS, '1', CALL_END, CALL, 'y', ARGUMENTS, CALL_END, SECTION_END, END),
        "a[x|1][y|].");
    assert_answer(IDS('a', SECTION, SECTION_END, 'b', SECTION, CALL, 'x', ARGUMENTS, CALL_END, SECTION_END, 'c', END),
                  "abc[x|].");
    assert_answer(IDS(SECTION, '\n', CALL, 'x', ARGUMENTS, CALL_END, ' ', END),
                  "[x|].");                                       /* the section's end is missing */
    assert_answer(IDS('a', USER, SPECIAL + 17, 'b', END), "ab."); /* markers without a meaning here */
}

static void faults(void **state)
{
    (void)state;
    assert_answer(IDS('a', CALL, 'x', END), "a!"); /* no section */
    assert_answer(IDS('a', CALL_END), "a!");
    assert_answer(IDS('a', ARGUMENTS), "a!");
    assert_answer(IDS('a', SECTION_END), "a!");
    assert_answer(IDS(SECTION, CALL, 'x', CALL_END, SECTION_END, END), "!");            /* no arguments */
    assert_answer(IDS(SECTION, CALL, ARGUMENTS, '1', CALL_END, SECTION_END, END), "!"); /* no id */
    assert_answer(IDS(SECTION, CALL, 'x', ARGUMENTS, ARGUMENTS, CALL_END), "!");
    assert_answer(IDS(SECTION, SECTION), "!");
    assert_answer(IDS(SECTION, CALL, 'x', ARGUMENTS, END), "!"); /* stopped inside a call */
    assert_answer(IDS(SECTION, CALL, 'x', ARGUMENTS, USER), "!");
    assert_answer(IDS(SECTION, CALL, 'x', ARGUMENTS, '{'), "!"); /* cut inside a call */
    assert_answer(IDS(SECTION, CALL), "!");
    assert_answer(IDS(SECTION, CALL, 'x', ARGUMENTS, '1', CALL_END, CALL, 'y'), "[x|1]!"); /* the first one stays */
    assert_answer(IDS(SECTION, CALL, 'x', ARGUMENTS, '1', CALL_END), "[x|1]");
}

/* Half characters in front of markers do not leak into what follows. */
static void half_characters(void **state)
{
    (void)state;
    assert_answer(IDS(0xe4, 0xb8, SECTION, CALL, 0xe4, ARGUMENTS, 0xb8, CALL_END, SECTION_END, END),
                  "\xef\xbf\xbd[\xef\xbf\xbd|\xef\xbf\xbd].");
    assert_answer(IDS('a', 0xe4), "a\xef\xbf\xbd");
}

static void events(void **state)
{
    (void)state;
    static const struct {
        int32_t id;
        kl_answer_piece piece;
    } step[] = {
        {'a', {KL_ANSWER_CONTENT, 1, KL_ANSWER_GOES_ON}},
        {SECTION, {KL_ANSWER_CONTENT, 0, KL_ANSWER_GOES_ON}},
        {CALL, {KL_ANSWER_CALLS, 0, KL_ANSWER_CALL_BEGINS}},
        {256, {KL_ANSWER_CALL_ID, 9, KL_ANSWER_GOES_ON}},
        {ARGUMENTS, {KL_ANSWER_CALL_ID, 0, KL_ANSWER_ARGUMENTS_BEGIN}},
        {0xe4, {KL_ANSWER_ARGUMENTS, 0, KL_ANSWER_GOES_ON}},
        {CALL_END, {KL_ANSWER_ARGUMENTS, 3, KL_ANSWER_CALL_ENDS}},
        {SECTION_END, {KL_ANSWER_CALLS, 0, KL_ANSWER_GOES_ON}},
        {END, {KL_ANSWER_CONTENT, 0, KL_ANSWER_STOPS}},
        {'x', {KL_ANSWER_DONE, 0, KL_ANSWER_GOES_ON}},
    };
    kl_answer_reader r = {0};
    char *text = kt_bytes(kl_decoder_room(tokenizer));
    for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
        kl_answer_piece p = kl_answer_put(&r, text, tokenizer, step[i].id);
        assert_true(p.place == step[i].piece.place && p.bytes == step[i].piece.bytes);
        assert_int_equal(p.event, step[i].piece.event);
    }
    assert_int_equal(kl_answer_end(&r, text).event, KL_ANSWER_GOES_ON);
    kt_free_all();
}

/* Whatever the ids: no crash, well-formed text, and a reader that is done stays so. */
static void any_ids(void **state)
{
    (void)state;
    kt_rng r = {5};
    for (int round = 0; round < 5000; round++) {
        int32_t id[20];
        const kl_answer *a;
        for (int i = 0; i < 20; i++)
            id[i] = (int32_t)(kt_below(&r, 2) ? SECTION + kt_below(&r, 5) : kt_below(&r, SPECIAL + 300) - 5);
        KT_OK(kl_answer_open(&a, tokenizer, id, 20, KT_ERR));
        assert_true(kl__utf8_valid((struct kl__str){a->content.data, a->content.bytes}));
        for (size_t i = 0; i < a->n_call; i++) {
            assert_true(a->call[i].id.bytes > 0);
            assert_true(kl__utf8_valid((struct kl__str){a->call[i].arguments.data, a->call[i].arguments.bytes}));
        }
        kl_answer_close(a);
    }
    kl_answer_close(NULL);
}

static void names(void **state)
{
    (void)state;
    static const char *const name[][2] = {
        {"functions.get_weather:0", "get_weather"},
        {"a.b.c:12", "c"},
        {"get:1", "get"},
        {"get", "get"},
        {"x.get", "get"},
        {"f.:3", ""},
        {"", ""},
        {"a:b:1", "a:b"},
        {"f.g:h:1", "g:h"},
    };
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        kl_text found = kl_chat_call_name(kl_text_of(name[i][0]));
        assert_int_equal(found.bytes, strlen(name[i][1]));
        assert_memory_equal(found.data, name[i][1], found.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers), cmocka_unit_test(faults),  cmocka_unit_test(half_characters),
        cmocka_unit_test(events),        cmocka_unit_test(any_ids), cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
