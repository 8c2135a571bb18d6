/* Without libedit: the terminal's own line editing. */
#include "editor.h"

#include "../cli/interrupt.h"

#include <stdio.h>
#include <stdlib.h>

struct ka_editor {
    bool typed;
};

const char *ka_editor_library(void)
{
    return NULL;
}

struct ka_editor *ka_editor_open(const char *history, ka_words words)
{
    (void)history, (void)words;
    struct ka_editor *e = calloc(1, sizeof *e);
    if (e)
        e->typed = ka_input_is_typed();
    return e;
}

void ka_editor_close(struct ka_editor *e)
{
    free(e);
}

int ka_editor_line(struct ka_editor *e, struct ka_input *line, const char *prompt, kl_error *err)
{
    if (e->typed) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    int got = ka_read_line(line, stdin, "standard input", KA_LINE_LIMIT, err);
    if (got < 0 && ka_interrupted()) {
        clearerr(stdin);
        err->status = KL_OK;
    }
    return got;
}

void ka_editor_remember(struct ka_editor *e, const char *text)
{
    (void)e, (void)text;
}
