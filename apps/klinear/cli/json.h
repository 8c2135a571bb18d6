/** JSON on its way out: calls in the order of the text; commas and quotes are seen to. */
#ifndef KA_JSON_H
#define KA_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct ka_json {
    FILE *out;
    bool compact; /* all on one line */
    int digits;   /* of numbers; 0: 6 */
    int depth;
    bool filled[16]; /* a value has been written at this depth */
};

/** In all of these `key` is NULL inside an array and at the top. */
void ka_json_open(struct ka_json *j, const char *key, char bracket); /* '{' or '[' */
void ka_json_close(struct ka_json *j, char bracket);                 /* '}' or ']' */
void ka_json_text(struct ka_json *j, const char *key, const char *text);
void ka_json_bytes(struct ka_json *j, const char *key, const char *text, size_t bytes);
void ka_json_integer(struct ka_json *j, const char *key, int64_t n);
void ka_json_number(struct ka_json *j, const char *key, double x); /* null when not finite */
void ka_json_flag(struct ka_json *j, const char *key, bool value);

#endif
