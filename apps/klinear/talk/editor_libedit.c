/* Line editing and history by libedit, on a terminal; plain lines otherwise. */
#include "editor.h"

#include "../cli/interrupt.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMEMBERED = 1000 };

struct ka_editor {
    EditLine *el; /* NULL: nobody types */
    History *history;
    char *file; /* of the history; NULL: none */
    ka_words words;
    const char *prompt;
};

const char *ka_editor_library(void)
{
    return "libedit";
}

static struct ka_editor *self(EditLine *el)
{
    struct ka_editor *e = NULL;
    el_get(el, EL_CLIENTDATA, &e);
    return e;
}

static char *prompt_of(EditLine *el)
{
    return (char *)(size_t)self(el)->prompt;
}

/* The tab key: the rest of the only word that begins like the line; otherwise nothing. */
static unsigned char complete(EditLine *el, int key)
{
    (void)key;
    const LineInfo *info = el_line(el);
    size_t n = (size_t)(info->cursor - info->buffer);
    const char *only = NULL;
    for (ka_words w = self(el)->words; w && *w; w++)
        if (strncmp(*w, info->buffer, n) == 0) {
            if (only)
                return CC_ERROR;
            only = *w;
        }
    if (!only || n == 0 || info->cursor != info->lastchar || el_insertstr(el, only + n) < 0)
        return CC_ERROR;
    return CC_REFRESH;
}

/* A Ctrl-D that was typed before the prompt: the terminal, not yet ours, made an end of it, which arrives as a zero.
 * It ends an empty line here too; libedit itself would quote the next key, and so never see another Ctrl-D. */
static unsigned char end(EditLine *el, int key)
{
    (void)key;
    const LineInfo *info = el_line(el);
    return info->lastchar == info->buffer ? CC_EOF : CC_NORM;
}

/* The file exists afterwards, and is nobody else's to read. */
static bool is_private(const char *file)
{
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool fine = fd >= 0 && fchmod(fd, 0600) == 0;
    if (fd >= 0)
        close(fd);
    return fine;
}

static void open_history(struct ka_editor *e, const char *file)
{
    HistEvent event;
    e->history = history_init();
    if (!e->history)
        return;
    history(e->history, &event, H_SETSIZE, REMEMBERED);
    history(e->history, &event, H_SETUNIQUE, 1);
    el_set(e->el, EL_HIST, history, e->history);
    if (file && is_private(file)) {
        history(e->history, &event, H_LOAD, file);
        e->file = strdup(file);
    }
}

struct ka_editor *ka_editor_open(const char *file, ka_words words)
{
    struct ka_editor *e = calloc(1, sizeof *e);
    if (!e || !ka_input_is_typed() || !isatty(STDOUT_FILENO))
        return e;
    setlocale(LC_CTYPE, ""); /* characters of several bytes; numbers stay as they are */
    e->words = words;
    e->prompt = "";
    e->el = el_init("klinear", stdin, stdout, stderr);
    if (!e->el)
        return e;
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_PROMPT, prompt_of);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_SIGNAL, 0);
    /* Names of functions are wide, since of narrow ones libedit makes copies that it never frees. */
    el_wset(e->el, EL_ADDFN, L"klinear-complete", L"complete a command", complete);
    el_wset(e->el, EL_ADDFN, L"klinear-end", L"end what is read, on an empty line", end);
    el_set(e->el, EL_BIND, "^I", "klinear-complete", NULL);
    el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(e->el, EL_BIND, "^@", "klinear-end", NULL);
    open_history(e, file);
    el_source(e->el, NULL); /* what the user prefers: ~/.editrc */
    return e;
}

void ka_editor_close(struct ka_editor *e)
{
    if (!e)
        return;
    if (e->history) {
        HistEvent event;
        if (e->file && is_private(e->file))
            history(e->history, &event, H_SAVE, e->file);
        history_end(e->history);
    }
    if (e->el)
        el_end(e->el);
    free(e->file);
    free(e);
}

int ka_editor_line(struct ka_editor *e, struct ka_input *line, const char *prompt, kl_error *err)
{
    if (!e->el) {
        int got = ka_read_line(line, stdin, "standard input", KA_LINE_LIMIT, err);
        if (got < 0 && ka_interrupted()) {
            clearerr(stdin);
            err->status = KL_OK;
        }
        return got;
    }
    int n = 0;
    e->prompt = prompt;
    errno = 0;
    const char *text = el_gets(e->el, &n);
    if (ka_interrupted()) {
        el_reset(e->el);
        fputc('\n', stdout);
        return -1;
    }
    if (!text || n <= 0)
        return 0;
    n -= text[n - 1] == '\n';
    char *copy = realloc(line->data, (size_t)n + 1);
    if (!copy) {
        kl__fail(err, KL_ERR_MEMORY, "out of memory: a line of %d bytes", n);
        return -1;
    }
    memcpy(copy, text, (size_t)n);
    copy[n] = 0;
    *line = (struct ka_input){copy, (size_t)n, (size_t)n + 1};
    return 1;
}

void ka_editor_remember(struct ka_editor *e, const char *text)
{
    HistEvent event;
    if (e->history && *text)
        history(e->history, &event, H_ENTER, text);
}
