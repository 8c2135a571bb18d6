/* Grammars in three notations: what they allow, what is refused, and which tokens may come next. */
#include "support/kt_vocab.h"
#include "support/kt.h"

#include "klinear/kl/grammar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kl_grammar *compile(kl_grammar_kind kind, const char *text)
{
    kl_grammar *g = NULL;
    kl_error err = {0};
    if (kl_grammar_open(&g, kind, kl_text_of(text), NULL, &err) != KL_OK)
        fail_msg("%s: %s", text, err.text);
    return g;
}

static bool accepts(const kl_grammar *g, const char *text)
{
    bool yes;
    kl_error err = {0};
    if (kl_grammar_accepts(&yes, g, kl_text_of(text), &err) != KL_OK)
        fail_msg("%s: %s", text, err.text);
    return yes;
}

/* A grammar, texts that it has, NULL, texts that it has not, NULL. */
struct row {
    kl_grammar_kind kind;
    const char *grammar;
    const char *text[24];
};

static void check_row(const struct row *row)
{
    kl_grammar *g = compile(row->kind, row->grammar);
    bool expected = true;
    for (int i = 0; expected || row->text[i]; i++) {
        if (!row->text[i]) {
            expected = false;
            continue;
        }
        if (accepts(g, row->text[i]) != expected)
            fail_msg("%s: \"%s\" is %s", row->grammar, row->text[i], expected ? "refused" : "accepted");
    }
    kl_grammar_close(g);
}

#define G KL_GRAMMAR_GBNF
#define R KL_GRAMMAR_REGEX
#define S KL_GRAMMAR_JSON_SCHEMA

static const struct row rows[] = {
    {G, "root ::= \"a\" b* # words\nb ::= [b-d] | \"x\"+", {"a", "ab", "axxcd", NULL, "", "b", "ae", "aa", NULL}},
    {G, "root ::= (\"a\"\n | \"b\")\n  | \"c\"", {"a", "b", "c", NULL, "ab", NULL}},
    {G, "root ::= \"a\"{2} \"b\"{1,} \"c\"{0,2}", {"aab", "aabbbcc", NULL, "ab", "aa", "aabccc", NULL}},
    {G, "root ::= \"(\" root? \")\"", {"()", "(())", "((()))", NULL, "(", "(()", "())", NULL}},
    {G, "root ::= [^a\\]\\x41] .", {"xy", "b\u00e9", "\u20ac\U0001F600", NULL, "ab", "Ab", "]b", "x", NULL}},
    {G, "root ::= [\\u00e0-\\u20ff]+", {"\u00e0", "\u20ff\u0100", NULL, "a", "\u2100", "\xc3", NULL}},
    {G, "root ::= \"\" | a\na ::= (\"\"*)* \"x\" a | \"\"", {"", "x", "xxx", NULL, "y", NULL}},
    {G, "root ::= e\ne ::= t ([-+] t)*\nt ::= [0-9]+ | \"(\" e \")\"", {"1+(2-3)", "7", NULL, "1+", "(1", NULL}},
    {R, "a(b|c)*d?", {"a", "abcbd", "ad", NULL, "", "b", "add", NULL}},
    {R, "^\\d{3}-\\w+$", {"123-ab_9", NULL, "12-a", "123-", "x123-a", NULL}},
    {R, "[^\\d\\s]\\.[a-c-]", {"x.-", "y.b", NULL, "1.a", "x.d", "xya", NULL}},
    {R, "(?:ab)+?|\\u00e9\\x41", {"abab", "\u00e9A", NULL, "aba", NULL}},
    {R, "", {"", NULL, "a", NULL}},
    {R, "\\S\\D\\W", {"ab!", NULL, "a1!", "abc", " b!", NULL}},
    {S, "{}", {"1", "-0.5e3", "\"x\"", "null", "[1, 2]", "{\"a\":{}}", "{}", "[]", "true", NULL,
               "01", "1.", "\"", "nul", "[1,]", "{\"a\"}", "'a'", "+1", NULL}},
    {S, "true", {"1", "{}", NULL, "", NULL}},
    {S, "{\"type\":\"object\"}", {"{}", "{\"a\": [1], \"b\": {\"c\": null}}", NULL, "[]", "1", NULL}},
    {S, "{\"type\":\"string\"}",
     {"\"a\\n\\u0041\\ud83d\\ude00\"", "\"\u00e9\"", NULL, "\"\\ud83d\"", "\"\\x\"", "\"\n\"", "\"\xff\"", NULL}},
    {S, "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"a\\\"c\"", NULL, "\"a\"", "\"abcd\"", NULL}},
    {S, "{\"type\":\"string\",\"pattern\":\"^a\\\"b$\"}", {"\"a\\\"b\"", NULL, "\"a\"b\"", "\"ab\"", NULL}},
    {S, "{\"type\":\"string\",\"pattern\":\"b|^c\"}", {"\"abc\"", "\"cx\"", "\"b\"", NULL, "\"xc\"", "\"\"", NULL}},
    {S, "{\"type\":\"string\",\"format\":\"date-time\"}",
     {"\"2026-02-28T23:59:59Z\"", "\"2026-12-01T00:00:00.25+01:00\"", NULL, "\"2026-13-01T00:00:00Z\"", NULL}},
    {S, "{\"type\":\"string\",\"format\":\"uuid\"}",
     {"\"01234567-89ab-cdef-0123-456789abcdef\"", NULL, "\"01234567\"", NULL}},
    {S, "{\"type\":[\"integer\",\"null\"]}", {"-12", "null", "0", NULL, "1.5", "-", "00", NULL}},
    {S, "{\"type\":\"integer\",\"minimum\":7,\"maximum\":1234}",
     {"7", "9", "10", "99", "100", "999", "1000", "1234", NULL, "6", "0", "-7", "1235", "2000", "07", "9999", NULL}},
    {S, "{\"type\":\"integer\",\"exclusiveMinimum\":-3.5,\"exclusiveMaximum\":2}",
     {"-3", "-1", "0", "1", NULL, "-4", "2", "-0", NULL}},
    {S, "{\"type\":\"integer\",\"minimum\":0}", {"0", "1", "9999999999999999", NULL, "-1", NULL}},
    {S, "{\"type\":\"number\",\"minimum\":0}", {"0", "1.5", "1e9", NULL, "-1", NULL}},
    {S, "{\"enum\":[\"a\",1,null,{\"x\":[2,3]}]}", {"\"a\"", "1", "null", "{\"x\":[2,3]}", NULL, "\"b\"", "2", NULL}},
    {S, "{\"type\":[\"integer\",\"null\"],\"enum\":[\"a\",1,null,1.5,2.0,true]}",
     {"1", "null", "2.0", NULL, "\"a\"", "1.5", "true", NULL}},
    {S, "{\"type\":\"integer\",\"minimum\":9007199254740993,\"maximum\":9007199254740995}",
     {"9007199254740993", "9007199254740995", NULL, "9007199254740992", "9007199254740996", NULL}},
    {S, "{\"type\":\"string\",\"format\":\"date\"}",
     {"\"2026-01-31\"", "\"2026-04-30\"", "\"2023-02-28\"", "\"2024-02-29\"", "\"2000-02-29\"", "\"1996-02-29\"",
      NULL, "\"2026-04-31\"", "\"2026-11-31\"", "\"2023-02-29\"", "\"2024-02-30\"", "\"1900-02-29\"", "\"2026-00-10\"",
      "\"2026-01-00\"", "\"2026-1-1\"", NULL}},
    {S, "{\"const\":\"q\\\"\"}", {"\"q\\\"\"", NULL, "\"q\"", NULL}},
    {S, "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"boolean\"},"
        "\"c\":{\"type\":\"null\"}},\"required\":[\"b\"]}",
     {"{\"b\":true}", "{\"a\":1,\"b\": false}", "{\n  \"a\": 1,\n  \"b\": true,\n  \"c\": null\n}", NULL, "{}",
      "{\"a\":1}", "{\"b\":true,\"a\":1}", "{\"b\":true,\"d\":1}", "{\"a\":1,,\"b\":true}", "{\"b\":true,}", NULL}},
    {S, "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{}}}",
     {"{}", "{\"a\":1}", "{\"b\":1}", "{\"a\":1,\"b\":2}", NULL, "{,}", "{\"a\":1,}", "{\"b\":1,\"a\":2}", NULL}},
    {S, "{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"null\"},\"a\":{\"type\":\"null\"}},"
        "\"additionalProperties\":{\"type\":\"integer\"}}",
     {"{\"ab\":null,\"a\":null,\"abc\":1,\"b\":2,\"\":3}", "{\"x\":1}", "{\"aa\":1}", NULL, "{\"a\":1}",
      "{\"ab\":1}", "{\"\\u0061\":1}", "{\"x\":null}", NULL}},
    {S, "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}",
     {"[1,2]", "[1, 2,3]", NULL, "[]", "[1]", "[1,2,3,4]", "[1,true]", NULL}},
    {S, "{\"type\":\"array\",\"maxItems\":0}", {"[]", NULL, "[1]", NULL}},
    {S, "{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"null\"}],\"items\":{\"type\":\"boolean\"}}",
     {"[1,null]", "[1,null,true,false]", NULL, "[1]", "[1,null,2]", NULL}},
    {S, "{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}",
     {"1", "[1,[2,[]]]", NULL, "[null]", NULL}},
    {S, "{\"type\":\"number\",\"anyOf\":[{\"type\":\"integer\"},{\"const\":2.5}]}", {"7", "2.5", NULL, "3.5", NULL}},
    {S, "{\"type\":[\"object\",\"string\"],\"oneOf\":[{\"$ref\":\"#/$defs/a\"},{\"minLength\":2,\"maxLength\":2}],"
        "\"$defs\":{\"a\":{\"properties\":{\"x\":{\"type\":\"null\"}},\"required\":[\"x\"]}}}",
     {"{\"x\":null}", "\"ab\"", NULL, "\"a\"", "1", NULL}},
    {S, "{\"$ref\":\"#/$defs/a~1b\",\"$defs\":{\"a/b\":{\"type\":\"object\",\"properties\":{\"next\":{\"anyOf\":["
        "{\"type\":\"null\"},{\"$ref\":\"#/$defs/a~1b\"}]}},\"required\":[\"next\"]}}}",
     {"{\"next\":null}", "{\"next\":{\"next\":null}}", NULL, "{}", "null", NULL}},
};

static void what_they_allow(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(&rows[i]);
}

/* Many values have beginnings in common, some are the beginning of others, and one is there again and again. */
static void many_values(void **state)
{
    (void)state;
    enum { N = 5000 };
    size_t room = 32 * N, at;
    char *text = kt_bytes(room), one[16];
    at = (size_t)snprintf(text, room, "{\"enum\":[");
    for (int i = 0; i < N; i++)
        at += (size_t)snprintf(text + at, room - at, "%d,\"v%d\",", 3 * i, i);
    for (int i = 0; i < N; i++)
        at += (size_t)snprintf(text + at, room - at, "0,");
    snprintf(text + at, room - at, "[\"v1\"],\"v1\"]}");
    kl_grammar *g = compile(S, text);
    for (int i = 0; i < 3 * N + 9; i += 7) {
        snprintf(one, sizeof one, "%d", i);
        assert_true(accepts(g, one) == (i % 3 == 0 && i < 3 * N));
        snprintf(one, sizeof one, "\"v%d\"", i);
        assert_true(accepts(g, one) == (i < N));
    }
    assert_true(accepts(g, "[\"v1\"]"));
    assert_false(accepts(g, "\"v\"") || accepts(g, "") || accepts(g, "\"v1"));
    kl_grammar_close(g);
    kt_free_all();
}

/* ------------------------------------------------------------------------------------------------------ refusals -- */

static const struct {
    kl_grammar_kind kind;
    const char *grammar, *word;
    kl_status status;
} faults[] = {
    {G, "", "root", KL_ERR_FORMAT},
    {G, "root ::= x", "\"x\"", KL_ERR_FORMAT},
    {G, "root ::= \"a\nroot ::= \"b\"", "byte", KL_ERR_FORMAT},
    {G, "root ::= \"a\"\nroot ::= \"b\"", "twice", KL_ERR_FORMAT},
    {G, "root = \"a\"", "::=", KL_ERR_FORMAT},
    {G, "root ::= (\"a\"", ")", KL_ERR_FORMAT},
    {G, "root ::= \"a\")", "end of the line", KL_ERR_FORMAT},
    {G, "root ::= [b-a]", "goes up", KL_ERR_FORMAT},
    {G, "root ::= [a", "character", KL_ERR_FORMAT},
    {G, "root ::= \"\\q\"", "backslash", KL_ERR_FORMAT},
    {G, "root ::= \"\\ud800\"", "digits", KL_ERR_FORMAT},
    {G, "root ::= \"\xff\"", "UTF-8", KL_ERR_FORMAT},
    {G, "root ::= \"a\"{3,2}", "{m,n}", KL_ERR_FORMAT},
    {G, "root ::= \"a\"{999999999999}", "100000", KL_ERR_UNSUPPORTED},
    {G, "root ::= root \"a\" | \"a\"", "calls itself", KL_ERR_UNSUPPORTED},
    {G, "root ::= a\na ::= b? c\nb ::= \"x\"\nc ::= a \"y\"", "calls itself", KL_ERR_UNSUPPORTED},
    {G, "root ::= (((\"a\"{1000}){1000}){1000}){1000}", "too large", KL_ERR_UNSUPPORTED},
    {G, "root ::= ((((\"\"{9999}){9999}){9999}){9999}){9999}", "too large", KL_ERR_UNSUPPORTED},
    {R, "a)", "bracket", KL_ERR_FORMAT},
    {R, "(a", "without its end", KL_ERR_FORMAT},
    {R, "*a", "repetition", KL_ERR_FORMAT},
    {R, "a**", "repetition", KL_ERR_UNSUPPORTED},
    {R, "[a", "without its end", KL_ERR_FORMAT},
    {R, "[z-a]", "go up", KL_ERR_FORMAT},
    {R, "a\\", "escape", KL_ERR_UNSUPPORTED},
    {R, "(a)\\1", "escape", KL_ERR_UNSUPPORTED},
    {R, "\\bword", "escape", KL_ERR_UNSUPPORTED},
    {R, "(?=a)", "looks around", KL_ERR_UNSUPPORTED},
    {R, "a^b", "at the ends", KL_ERR_UNSUPPORTED},
    {S, "", "JSON", KL_ERR_FORMAT},
    {S, "{", "JSON", KL_ERR_FORMAT},
    {S, "[]", "object", KL_ERR_FORMAT},
    {S, "{\"type\":\"text\"}", "\"text\"", KL_ERR_FORMAT},
    {S, "{\"type\":\"integer\",\"multipleOf\":2}", "multipleOf", KL_ERR_UNSUPPORTED},
    {S, "{\"not\":{}}", "\"not\"", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"object\",\"patternProperties\":{}}", "patternProperties", KL_ERR_UNSUPPORTED},
    {S, "{\"$ref\":\"http://x\"}", "http://x", KL_ERR_UNSUPPORTED},
    {S, "{\"$ref\":\"#/a\"}", "#/a", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"format\":\"email\"}", "email", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"pattern\":\"(?!a)\"}", "looks around", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"object\",\"required\":[\"a\"]}", "\"a\"", KL_ERR_UNSUPPORTED},
    {S, "{\"allOf\":[{},{}]}", "allOf", KL_ERR_UNSUPPORTED},
    {S, "{\"anyOf\":[]}", "anyOf", KL_ERR_FORMAT},
    {S, "{\"anyOf\":[{}],\"enum\":[1]}", "beside", KL_ERR_UNSUPPORTED},
    {S, "{\"anyOf\":[{\"properties\":{\"a\":{}}}],\"required\":[\"a\"]}", "anyOf beside required", KL_ERR_UNSUPPORTED},
    {S, "{\"$ref\":\"#/$defs/a\",\"format\":\"date\",\"$defs\":{\"a\":{}}}", "beside", KL_ERR_UNSUPPORTED},
    {S, "{\"enum\":[1,9],\"exclusiveMaximum\":5}", "beside", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"integer\",\"minimum\":2,\"maximum\":1}", "bounds", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"number\",\"minimum\":0.5}", "minimum", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"array\",\"items\":[{}]}", "prefixItems", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"array\",\"minItems\":-1}", "minItems", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"minLength\":5,\"maxLength\":3}", "above its maxLength", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"pattern\":5}", "expected a string", KL_ERR_FORMAT},
    {S, "{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":true}", "array of names", KL_ERR_FORMAT},
    {S, "{\"type\":\"object\",\"properties\":[\"a\"]}", "expected an object", KL_ERR_FORMAT},
    {S, "{\"type\":\"string\",\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", "beside anyOf",
     KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"anyOf\":[{\"type\":\"integer\",\"minLength\":2}]}", "beside anyOf", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"anyOf\":[{}]}", "beside anyOf", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"oneOf\":[{\"enum\":[\"a\",1]}]}", "beside oneOf", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":[\"integer\",\"null\"],\"anyOf\":[{\"type\":\"number\"}]}", "beside anyOf", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"object\",\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"items\":{}}}}", "beside $ref",
     KL_ERR_UNSUPPORTED},
    {S, "{\"$ref\":\"#/$defs/a\",\"type\":\"object\""
        ",\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]}}}", "beside $ref",
     KL_ERR_UNSUPPORTED},
    {S, "{\"anyOf\":[{\"type\":\"integer\"}],\"exclusiveMinimum\":3}", "beside", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"enum\":[1,null]}", "of its type", KL_ERR_UNSUPPORTED},
    {S, "{\"type\":\"string\",\"const\":1}", "of its type", KL_ERR_UNSUPPORTED},
    {S, "{\"enum\":[]}", "something in it", KL_ERR_FORMAT},
};

static void what_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        kl_grammar *g = NULL;
        kl_error err = {0};
        kl_status status = kl_grammar_open(&g, faults[i].kind, kl_text_of(faults[i].grammar), NULL, &err);
        if (status != faults[i].status || !strstr(err.text, faults[i].word))
            fail_msg("%s: %d, %s", faults[i].grammar, (int)status, err.text);
    }
}

/* Text `times` times one behind the other, between two others. */
static char *many(const char *first, const char *text, int times, const char *last)
{
    size_t n = strlen(text);
    char *all = kt_bytes(strlen(first) + n * (size_t)times + strlen(last) + 1), *at = all + strlen(first);
    memcpy(all, first, strlen(first));
    for (int i = 0; i < times; i++, at += n)
        memcpy(at, text, n);
    memcpy(at, last, strlen(last) + 1);
    return all;
}

static void assert_refused(kl_grammar_kind kind, const char *text)
{
    kl_grammar *g = NULL;
    kl_error err = {0};
    kl_status status = kl_grammar_open(&g, kind, kl_text_of(text), NULL, &err);
    if (status != KL_ERR_UNSUPPORTED)
        fail_msg("%.60s...: %d, %s", text, (int)status, err.text);
}

/* Grammars that are made to be expensive are refused, or followed within bounds. */
static void large_ones(void **state)
{
    (void)state;
    assert_refused(R, many("", "(", 60000, ""));
    assert_refused(G, many("root ::= ", "(", 60000, "\"a\""));
    assert_refused(S, many("", "{\"items\":", 1000, "{}"));
    assert_refused(G, many("root ::= ", "a", 300000, ""));
    kl_grammar *g = compile(R, many("", "(a)", 60000, ""));
    assert_true(accepts(g, many("", "a", 60000, "")));
    kl_grammar_close(g);
    g = compile(R, "(a|b)*a(a|b){12}"); /* 8192 states */
    assert_true(accepts(g, many("", "ab", 5000, "aaaaaaaaaaaaa")));
    kl_grammar_close(g);
    bool yes;
    kl_error err = {0};
    g = compile(R, "(a|aa|aaa)*(a|b){300}(a?){1000}"); /* whatever comes of it, it comes soon */
    kl_grammar_accepts(&yes, g, kl_text_of(many("", "a", 20000, "")), &err);
    kl_grammar_close(g);
    g = compile(S, "{}"); /* brackets beyond the limit are not written */
    assert_true(accepts(g, many(many("", "[", 100, "1"), "]", 100, "")));
    assert_false(accepts(g, many(many("", "[", 2000, "1"), "]", 2000, "")));
    kl_grammar_close(g);
    kt_free_all();
}

/* -------------------------------------------------------------------------------------------------------- guides -- */

static const char *const words[] = {"{\"",  "\":",    "true", "tru",       "e}",     "}}", ", \"", "name", "\"na",
                                    "me\"", "12",     "\xe2\x82", "\xac\"", "[[",     "]]", "ab",   "abc",  "bb"};
enum { N_WORD = sizeof words / sizeof *words, MOST = 30 };

/* What a mask allows is what leads to a text that can go on: asked token by token. */
static void assert_mask(const char *so_far, const kl_grammar *g, const float *logits, const kl_tokenizer *t, int32_t n)
{
    for (int32_t id = 32; id < n; id += id < 256 ? 9 : 1) {
        char text[1100];
        kl_text token = kl_tokenizer_text(t, id);
        if (kl_tokenizer_is_special(t, id))
            continue;
        snprintf(text, sizeof text, "%s%.*s", so_far, (int)token.bytes & 15, token.data);
        if (accepts(g, text) && !isfinite(logits[id]))
            fail_msg("\"%s\" is a text, but its last token may not come", text);
    }
}

/* An answer that chance writes under a guide is one of the grammar's. */
static void write_one(const kl_grammar *g, const kl_lexicon *x, const kl_tokenizer *t, kt_rng *r)
{
    int32_t n = kl_tokenizer_n_vocab(t), stop = kl_tokenizer_special(t, "[EOS]"), id = 0;
    char text[1024] = "";
    kl_guide *guide;
    kl_error err = {0};
    float *logits = kt_floats(n);
    size_t at = 0;
    assert_int_equal(kl_guide_open(&guide, g, x, NULL, NULL, &err), KL_OK);
    for (int i = 0; i < MOST && !kl_guide_ended(guide); i++) {
        for (int32_t k = 0; k < n; k++)
            logits[k] = 0;
        if (kl_guide_mask(guide, logits, n, &stop, 1, &err) != KL_OK)
            fail_msg("behind \"%s\": %s", text, err.text);
        assert_mask(text, g, logits, t, n);
        assert_true(isfinite(logits[stop]) == accepts(g, text));
        do
            id = (int32_t)kt_below(r, n);
        while (!isfinite(logits[id]) || id == 0); /* texts of this test end at a zero */
        assert_int_equal(kl_guide_take(guide, id, &err), KL_OK);
        if (id == stop)
            break;
        kl_text token = kl_tokenizer_text(t, id);
        memcpy(text + at, token.data, token.bytes);
        text[at += token.bytes] = 0;
    }
    if (kl_guide_ended(guide))
        assert_true(accepts(g, text));
    kl_guide_close(guide);
    kt_free_all();
}

static void masks(void **state)
{
    (void)state;
    static const struct {
        kl_grammar_kind kind;
        const char *text;
    } grammars[] = {
        {R, "(ab|abc)*b"},
        {R, "[^x]{0,5}\u20ac?"},
        {S, "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"boolean\"},\"n\":{\"type\":\"integer\"}}}"},
        {S, "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"maxItems\":1}}"},
        {G, "root ::= \"[[\" [0-9]+ \"]]\" | \"true}\""},
    };
    kt_rng r = {5};
    kl_tokenizer *t = kt_tokenizer(words, N_WORD);
    kl_lexicon *x;
    kl_error err = {0};
    assert_int_equal(kl_lexicon_open(&x, t, NULL, &err), KL_OK);
    for (int k = 0; k < 5; k++) {
        kl_grammar *g = compile(grammars[k].kind, grammars[k].text);
        for (int i = 0; i < 5; i++)
            write_one(g, x, t, &r);
        kl_grammar_close(g);
    }
    kl_lexicon_close(x);
    kl_tokenizer_close(t);
}

static void assert_only(kl_guide *guide, int32_t n, const int32_t *stop, int32_t id)
{
    float *logits = kt_zeros(n);
    kl_error err = {0};
    assert_int_equal(kl_guide_mask(guide, logits, n, stop, 1, &err), KL_OK);
    for (int32_t i = 0; i < n; i++)
        assert_true(isfinite(logits[i]) == (i == id));
}

/* Where no text comes to an end nobody is led, whatever notation leads there. */
static void dead_ends(void **state)
{
    (void)state;
    static const struct {
        kl_grammar_kind kind;
        const char *text;
    } grammars[] = {
        {G, "root ::= \"a\" x | \"b\"\nx ::= \"c\" y\ny ::= \"d\" x"},
        {G, "root ::= \"a\" x \"b\" | \"b\"\nx ::= \"(\" x \")\""},
        {R, "a[^\\s\\S]*[^\\s\\S]|b"},
    };
    kl_tokenizer *t = kt_tokenizer(words, N_WORD);
    int32_t n = kl_tokenizer_n_vocab(t), stop = kl_tokenizer_special(t, "[EOS]");
    kl_lexicon *x;
    kl_error err = {0};
    assert_int_equal(kl_lexicon_open(&x, t, NULL, &err), KL_OK);
    for (int i = 0; i < 3; i++) {
        kl_guide *guide;
        kl_grammar *g = compile(grammars[i].kind, grammars[i].text);
        assert_int_equal(kl_guide_open(&guide, g, x, NULL, NULL, &err), KL_OK);
        assert_only(guide, n, &stop, 'b');
        kl_guide_close(guide);
        kl_grammar_close(g);
    }
    kl_guide *guide;
    kl_grammar *g = compile(S, "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}");
    KT_ASSERT_FAILED(kl_guide_open(&guide, g, x, NULL, NULL, &err), KL_ERR_UNSUPPORTED, &err, "no text");
    kl_grammar_close(g);
    kl_lexicon_close(x);
    kl_tokenizer_close(t);
    kt_free_all();
}

static void tails(void **state)
{
    (void)state;
    kl_tokenizer *t = kt_tokenizer(words, N_WORD);
    int32_t n = kl_tokenizer_n_vocab(t), stop = kl_tokenizer_special(t, "[EOS]");
    int32_t tail[2] = {kl_tokenizer_special(t, "<|im_end|>"), kl_tokenizer_special(t, "<|im_user|>")};
    kl_lexicon *x;
    kl_error err = {0};
    assert_int_equal(kl_lexicon_open(&x, t, NULL, &err), KL_OK);
    kl_grammar *g = compile(R, "b"), *never = compile(R, "a[^\\s\\S]");
    for (int free_after = 0; free_after < 2; free_after++) {
        kl_guide *guide;
        kl_guide_options options = {tail, 2, free_after};
        assert_int_equal(kl_guide_open(&guide, g, x, &options, NULL, &err), KL_OK);
        assert_int_equal(kl_guide_take(guide, tail[0], &err), KL_ERR_ARGUMENT);
        assert_int_equal(kl_guide_take(guide, 'a', &err), KL_ERR_ARGUMENT);
        assert_int_equal(kl_guide_take(guide, 'b', &err), KL_OK);
        for (int i = 0; i < 2; i++) {
            assert_false(kl_guide_ended(guide));
            assert_only(guide, n, &stop, tail[i]);
            assert_int_equal(kl_guide_take(guide, tail[i], &err), KL_OK);
        }
        assert_int_equal(kl_guide_ended(guide), !free_after);
        if (free_after)
            assert_int_equal(kl_guide_take(guide, 'z', &err), KL_OK);
        kl_guide_close(guide);
    }
    kl_guide *guide;
    KT_ASSERT_FAILED(kl_guide_open(&guide, never, x, NULL, NULL, &err), KL_ERR_UNSUPPORTED, &err, "no text");
    kl_grammar_close(never);
    kl_grammar_close(g);
    kl_lexicon_close(x);
    kl_tokenizer_close(t);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_they_allow), cmocka_unit_test(many_values),
        cmocka_unit_test(what_is_refused), cmocka_unit_test(large_ones),
        cmocka_unit_test(masks),           cmocka_unit_test(dead_ends),       cmocka_unit_test(tails),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_remove_files();
    return failed;
}
