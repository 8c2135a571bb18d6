/* Bytes as what a client sends to the port, in two pieces, the first of which is as long as the first byte says;
 * then the client has nothing more to say.  What comes back has to be HTTP, the connection has to be closed, and nobody
 * may be worked for any longer. */
#include "fuzz_server.h"
#include "serve/http.h"
#include "serve/page.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

const struct ks_page_file ks_page[1] = {{0}};

enum { TICK_MS = 10, MOST_TICKS = 1000 };

static struct ks_options options = {.host = "127.0.0.1",
                                    .context = 200,
                                    .body_bytes = 4096,
                                    .queue = 64,
                                    .connections = 64,
                                    .header_seconds = 5,
                                    .body_seconds = 5,
                                    .idle_seconds = 5,
                                    .ping_seconds = 1,
                                    .cache = -1};
static struct ks_server server;

static void *step(void *user)
{
    (void)user;
    for (;;) {
        ks_errands_run(&server.errands);
        kl_scheduler_step(server.scheduler, 0.05, NULL, NULL);
    }
    return NULL;
}

static void open_all(void)
{
    signal(SIGPIPE, SIG_IGN);
    fuzz_open_server(&server, &options);
    fuzz_must(kl_lexicon_open(&server.lexicon, fuzz_loaded.tokenizer, NULL, NULL));
    if (pthread_create(&server.stepper, NULL, step, NULL) != 0)
        abort();
    fuzz_must(ks_http_open(&server, NULL));
}

static int connect_to_it(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server.port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (const struct sockaddr *)(const void *)&a, sizeof a) != 0)
        abort();
    return fd;
}

/* Whoever has been refused may find the connection closed. */
static void say(int fd, const uint8_t *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = send(fd, data + done, bytes - done, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

/* All that comes back, to the end; only its beginning is looked at. */
static void listen_to(int fd)
{
    char first[5] = "", some[4096];
    size_t n_first = 0;
    for (int ticks = 0;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, TICK_MS) == 0) {
            ks_http_tick(&server);
            if (++ticks == MOST_TICKS)
                abort(); /* nobody closes */
            continue;
        }
        ssize_t n = recv(fd, some, sizeof some, 0);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n && n_first < sizeof first; i++)
            first[n_first++] = some[i];
    }
    if (n_first && memcmp(first, "HTTP/", n_first) != 0)
        abort();
}

static void wait_for_quiet(void)
{
    for (int ticks = 0; ks_http_open_exchanges(&server) > 0 || kl_scheduler_jobs(server.scheduler, NULL, 0) > 0;
         ticks++) {
        if (ticks == MOST_TICKS)
            abort();
        ks_http_tick(&server);
        usleep(1000 * TICK_MS);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (!server.scheduler)
        open_all();
    size_t first = *data < bytes - 1 ? *data : bytes - 1;
    int fd = connect_to_it();
    say(fd, data + 1, first);
    say(fd, data + 1 + first, bytes - 1 - first);
    shutdown(fd, SHUT_WR);
    listen_to(fd);
    close(fd);
    wait_for_quiet();
    return 0;
}
