/* klinear: finds the verb, reads its options, runs it, and makes sure that what it printed has arrived. */
#include "cli/verb.h"

#include "klinear/kl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct ka_verb *const verbs[] = {
#define VERB(name) &ka_verb_##name,
#include "cli/verbs.def"
#undef VERB
    NULL,
};

const struct ka_verb *ka_verb_at(int i)
{
    return verbs[i];
}

const struct ka_verb *ka_find_verb(int n_word, char *const *words, int *n_used)
{
    for (*n_used = n_word < 2 ? n_word : 2; *n_used > 0; --*n_used) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", words[0], *n_used > 1 ? " " : "", *n_used > 1 ? words[1] : "");
        for (int i = 0; verbs[i]; i++)
            if (strcmp(verbs[i]->name, name) == 0)
                return verbs[i];
    }
    return NULL;
}

enum ka_exit ka_conclude(const struct ka_verb *verb, kl_status status, const kl_error *err)
{
    bool told = status == KL_ERR_CANCELLED && !*err->text; /* the reader of standard output has left: output.h */
    if (status != KL_OK && !told)
        ka_complain(verb, "%s", err->text);
    return status == KL_OK || told ? KA_FINE : KA_FAILED;
}

static enum ka_exit run_verb(const struct ka_verb *verb, int argc, char **argv)
{
    void *settings = calloc(1, verb->settings_bytes + 1);
    if (!settings) {
        ka_complain(verb, "out of memory");
        return KA_FAILED;
    }
    if (verb->settings_bytes)
        memcpy(settings, verb->defaults, verb->settings_bytes);
    enum ka_exit code = KA_USAGE;
    int first = 0;
    bool help = false;
    if (ka_read_options(verb, argc, argv, settings, &first, &help)) {
        code = KA_FINE;
        if (help)
            ka_print_help(stdout, verb);
        else
            code = verb->run(settings, argc - first, argv + first);
    }
    free(settings);
    return code;
}

static enum ka_exit run_words(int argc, char **argv)
{
    if (argc < 2) {
        ka_print_help(stderr, NULL);
        return KA_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("klinear %s\n", kl_version());
        return KA_FINE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        ka_print_help(stdout, NULL);
        return KA_FINE;
    }
    int n_used;
    const struct ka_verb *verb = ka_find_verb(argc - 1, argv + 1, &n_used);
    if (!verb) {
        ka_complain(NULL, "there is no verb \"%s\"; \"klinear help\" lists them", argv[1]);
        return KA_USAGE;
    }
    return run_verb(verb, argc - n_used, argv + n_used);
}

/* The other end of a pipe has been closed. */
static bool reader_left(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

/* Whoever closed the pipe has read enough: that is no failure.  A full disk is one. */
static enum ka_exit deliver(enum ka_exit code)
{
    bool failed = ferror(stdout), left = reader_left();
    errno = 0;
    failed |= fflush(stdout) != 0;
    if (!failed || left)
        return code;
    ka_complain(NULL, "standard output cannot be written%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
    return KA_FAILED;
}

/* A standard stream that was closed is opened on something that refuses: otherwise the next file that is opened takes
 * its number, and what is printed lands there. */
static void hold_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(KA_FAILED);
}

/* A mapped file ends before its bytes do: weights would be missing, so nothing can go on.  Only calls that are safe in
 * a handler. */
static void file_was_cut(int number)
{
    static const char said[] = "klinear: a file was cut short, or cannot be read any more, while it was open: expected "
                               "that model files stay as they are\n";
    (void)number;
    ssize_t told = write(STDERR_FILENO, said, sizeof said - 1);
    (void)told; /* or else nobody can be told */
    _exit(KA_FAILED);
}

int main(int argc, char **argv)
{
    hold_streams();
    signal(SIGBUS, file_was_cut);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe shows as a failed write: deliver() */
    return (int)deliver(run_words(argc, argv));
}
