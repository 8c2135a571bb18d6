/* Bytes as what a client sends, in two pieces, the first of which is as long as the first byte says; it waits a little
 * for answers, then it has nothing more to say.  What comes back has to be HTTP, the connection has to be closed, and
 * nobody may be worked for any longer.
 *
 * Nothing waits for anything: there is no port and no thread, connections are pairs of sockets, and the daemon, the
 * scheduler and the client take turns.  So http.c is part of this file: it starts the daemon with its own settings. */
#include "serve/http.c"

#include "fuzz_server.h"
#include "serve/page.h"

#include <signal.h>

const struct ks_page_file ks_page[1] = {{0}};

enum { HEARING_ROUNDS = 8, MOST_ROUNDS = 2000 };

static struct ks_options options = {.host = "127.0.0.1",
                                    .context = 200,
                                    .body_bytes = 4096,
                                    .queue = 64,
                                    .connections = 64,
                                    .header_seconds = 60,
                                    .body_seconds = 60,
                                    .idle_seconds = 60,
                                    .ping_seconds = 60,
                                    .cache = -1};
static struct ks_server server;

static void need(bool holds)
{
    if (!holds)
        abort();
}

static void open_all(void)
{
    struct MHD_OptionItem none = {MHD_OPTION_END, 0, NULL};
    signal(SIGPIPE, SIG_IGN);
    fuzz_open_server(&server, &options);
    fuzz_must(kl_lexicon_open(&server.lexicon, fuzz_loaded.tokenizer, NULL, NULL));
    server.loopback = true;
    server.daemon = start_daemon(&server, MHD_USE_NO_LISTEN_SOCKET, &none);
    need(server.daemon != NULL);
}

/* The client's end. */
static int connect_to_it(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    int fd[2];
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
    need(MHD_add_connection(server.daemon, fd[1], (const struct sockaddr *)(const void *)&a, sizeof a) == MHD_YES);
    return fd[0];
}

/* What has come back: false when the connection is closed. */
struct heard {
    char first[5];
    size_t n_first;
};

static bool hear(struct heard *h, int fd)
{
    char some[4096];
    ssize_t n;
    while ((n = recv(fd, some, sizeof some, MSG_DONTWAIT)) > 0)
        for (ssize_t i = 0; i < n && h->n_first < sizeof h->first; i++)
            h->first[h->n_first++] = some[i];
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Everybody's turn once. */
static bool take_turns(struct heard *h, int fd)
{
    need(MHD_run(server.daemon) == MHD_YES);
    ks_errands_run(&server.errands);
    kl_scheduler_step(server.scheduler, 0, NULL, NULL);
    return hear(h, fd);
}

/* Sends as the other end reads; whoever has been refused may find the connection closed. */
static bool say(struct heard *h, int fd, const uint8_t *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = send(fd, data + done, bytes - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            return false;
        done += n > 0 ? (size_t)n : 0;
        if (!take_turns(h, fd))
            return false;
    }
    return true;
}

static void hear_out(struct heard *h, int fd)
{
    for (int i = 0; i < HEARING_ROUNDS; i++)
        if (!take_turns(h, fd))
            return;
    shutdown(fd, SHUT_WR);
    for (int i = 0; take_turns(h, fd); i++) {
        need(i < MOST_ROUNDS); /* somebody closes */
        ks_http_tick(&server);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (!server.daemon)
        open_all();
    struct heard h = {{0}, 0};
    size_t first = *data < bytes - 1 ? *data : bytes - 1;
    int fd = connect_to_it();
    if (say(&h, fd, data + 1, first) && say(&h, fd, data + 1 + first, bytes - 1 - first))
        hear_out(&h, fd);
    close(fd);
    need(memcmp(h.first, "HTTP/", h.n_first) == 0);
    for (int i = 0; ks_http_open_exchanges(&server) > 0 || kl_scheduler_jobs(server.scheduler, NULL, 0) > 0; i++) {
        need(i < MOST_ROUNDS);
        MHD_run(server.daemon);
        ks_errands_run(&server.errands);
        kl_scheduler_step(server.scheduler, 0, NULL, NULL);
        ks_http_tick(&server);
    }
    return 0;
}
