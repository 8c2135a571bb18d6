#define _GNU_SOURCE
#include "http.h"

#include "../cli/input.h"
#include "../cli/machine.h"
#include "base/error.h"
#include "log.h"
#include "routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HTTP_THREADS = 4,
    HEADER_BYTES = 32 << 10,
    STALLED_SECONDS = 60,
    STREAM_BLOCK = 16 << 10,
    PASSED_OVER = 1 << 20
};

/** A connection, for its time limits. */
struct ks_peer {
    struct ks_peer *next, **link;
    int fd;
    double deadline; /* 0: none, an answer is being made or written */
};

/* --------------------------------------------------------------------------------------------------- connections -- */

static void unlink_peer(struct ks_peer *p)
{
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
}

static void on_connection(void *user, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct ks_server *s = user;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        struct ks_peer *p = calloc(1, sizeof *p);
        *context = p;
        if (!p)
            return;
        p->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        p->deadline = ka_seconds() + (double)s->o->header_seconds;
        pthread_mutex_lock(&s->lock);
        p->link = &s->peer;
        p->next = s->peer;
        if (p->next)
            p->next->link = &p->next;
        s->peer = p;
        pthread_mutex_unlock(&s->lock);
    } else if (*context) {
        pthread_mutex_lock(&s->lock);
        unlink_peer(*context);
        pthread_mutex_unlock(&s->lock);
        free(*context);
        *context = NULL;
    }
}

/* `seconds` from now on; 0: no limit. */
static void set_deadline(struct ks_server *s, struct MHD_Connection *c, int64_t seconds)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct ks_peer *p = info ? info->socket_context : NULL;
    if (!p)
        return;
    pthread_mutex_lock(&s->lock);
    p->deadline = seconds ? ka_seconds() + (double)seconds : 0;
    pthread_mutex_unlock(&s->lock);
}

static bool has_left(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* ----------------------------------------------------------------------------------------------------- exchanges -- */

void ks_http_wake(struct ks_exchange *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

static struct ks_exchange *open_exchange(struct ks_server *s, struct MHD_Connection *c, const char *method)
{
    struct ks_exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    pthread_mutex_init(&x->lock, NULL);
    x->server = s;
    x->connection = c;
    x->references = 1;
    x->method = method;
    x->key = -1;
    x->began = ka_seconds();
    pthread_mutex_lock(&s->lock);
    x->link = &s->exchange;
    x->next = s->exchange;
    if (x->next)
        x->next->link = &x->next;
    s->exchange = x;
    pthread_mutex_unlock(&s->lock);
    s->n_request++;
    return x;
}

static void on_completed(void *user, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code)
{
    struct ks_server *s = user;
    struct ks_exchange *x = *context;
    *context = NULL;
    set_deadline(s, c, s->o->idle_seconds);
    if (!x)
        return;
    pthread_mutex_lock(&s->lock);
    *x->link = x->next;
    if (x->next)
        x->next->link = x->link;
    pthread_mutex_unlock(&s->lock);
    bool left = code != MHD_REQUEST_TERMINATED_COMPLETED_OK && code != MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN;
    pthread_mutex_lock(&x->lock);
    s->n_dropped += left && !x->gone;
    x->gone = true;
    x->suspended = false;
    s->n_error += x->status >= 400;
    void (*cancel)(struct ks_exchange *) = x->cancel;
    pthread_mutex_unlock(&x->lock);
    if (cancel)
        cancel(x);
    ks_log_exchange(x, left);
    ks_let_go(x);
}

int ks_http_open_exchanges(struct ks_server *s)
{
    int n = 0;
    pthread_mutex_lock(&s->lock);
    for (struct ks_exchange *x = s->exchange; x; x = x->next) {
        pthread_mutex_lock(&x->lock);
        n += x->state != KS_READING;
        pthread_mutex_unlock(&x->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ------------------------------------------------------------------------------------------------------ who asks -- */

static const char *header(struct ks_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *ks_http_header(struct ks_exchange *x, const char *name)
{
    return header(x, name);
}

/* "Bearer KEY", or KEY in x-api-key. */
static const char *key_of(struct ks_exchange *x)
{
    const char *given = header(x, "Authorization");
    if (given && strncasecmp(given, "Bearer ", 7) == 0)
        return given + 7;
    given = header(x, "x-api-key");
    return given ? given : "";
}

/* A bucket of a minute's requests, filled steadily. */
static bool within_rate(struct ks_server *s, int key, int *retry)
{
    if (!s->o->rate || key < 0)
        return true;
    pthread_mutex_lock(&s->keys_lock);
    struct ks_key *k = &s->keys.key[key];
    double now = ka_seconds(), rate = (double)s->o->rate / 60, most = (double)s->o->rate;
    k->tokens = k->since > 0 ? k->tokens + (now - k->since) * rate : most;
    k->tokens = k->tokens > most ? most : k->tokens;
    k->since = now;
    bool within = k->tokens >= 1;
    k->tokens -= within;
    *retry = within ? 0 : 1 + (int)((1 - k->tokens) / rate);
    pthread_mutex_unlock(&s->keys_lock);
    return within;
}

/* The name in a Host header, without its port. */
static bool host_is(const char *host, const char *name)
{
    size_t n = strlen(name);
    return strncasecmp(host, name, n) == 0 && (host[n] == 0 || host[n] == ':');
}

/* Pages of other sites can make a browser send requests here; without keys the names that they used give them away.
 * Under what names others know an address that they can reach nobody has said: there only the origin is looked at. */
static bool is_from_here(struct ks_exchange *x)
{
    const struct ks_server *s = x->server;
    const char *host = header(x, "Host"), *origin = header(x, "Origin");
    if (s->keys.n)
        return true;
    if (s->loopback && host && !host_is(host, "localhost") && !host_is(host, "127.0.0.1") && !host_is(host, "[::1]") &&
        !host_is(host, s->o->host))
        return false;
    if (!origin || (s->o->cors && (strcmp(s->o->cors, "*") == 0 || strcmp(s->o->cors, origin) == 0)))
        return true;
    const char *name = strstr(origin, "://");
    return name && host && strcasecmp(name + 3, host) == 0;
}

static bool may_ask(struct ks_exchange *x, const char *path, struct ks_problem *p)
{
    struct ks_server *s = x->server;
    bool known;
    x->route = ks_route_of(x->method, path, &x->argument, &known);
    x->anthropic = x->route && x->route->anthropic;
    if (!is_from_here(x))
        return ks_refuse(p, 403, NULL, "forbidden_origin",
                         "requests from pages of other sites are refused; see --cors and --keys");
    bool open = x->route && x->route->open;
    if (s->keys.n && !open) {
        x->key = ks_key_find(&s->keys, key_of(x));
        if (x->key < 0)
            return ks_refuse(p, 401, NULL, "invalid_api_key", "the API key is missing or wrong");
        int retry;
        if (!within_rate(s, x->key, &retry)) {
            ks_refuse(p, 429, NULL, "rate_limit_exceeded", "this key may send %lld requests in a minute",
                      (long long)s->o->rate);
            p->retry_seconds = retry;
            return false;
        }
    }
    if (!x->route)
        return ks_refuse(p, known ? 405 : 404, NULL, known ? "method_not_allowed" : "unknown_url",
                         "%s %.80s is not served here", x->method, path);
    return true;
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static void add_headers(struct ks_exchange *x, struct MHD_Response *r)
{
    const struct ks_options *o = x->server->o;
    MHD_add_response_header(r, "Content-Type", x->type ? x->type : "application/json");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "X-Accel-Buffering", "no");
    MHD_add_response_header(r, "Cache-Control", x->tag ? "no-cache" : "no-store");
    if (x->tag) {
        MHD_add_response_header(r, "ETag", x->tag);
        MHD_add_response_header(r, "Vary", "Accept-Encoding");
    }
    if (x->packed && x->status == 200)
        MHD_add_response_header(r, "Content-Encoding", "gzip");
    if (x->policy) {
        MHD_add_response_header(r, "Content-Security-Policy", x->policy);
        MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    }
    if (x->status == 401)
        MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (x->retry_seconds) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", x->retry_seconds);
        MHD_add_response_header(r, "Retry-After", seconds);
    }
    if (o->cors) {
        MHD_add_response_header(r, "Access-Control-Allow-Origin", o->cors);
        MHD_add_response_header(r, "Access-Control-Allow-Headers", "*, Authorization");
        MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    }
}

static enum MHD_Result queue(struct ks_exchange *x, struct MHD_Response *r)
{
    if (!r)
        return MHD_NO;
    add_headers(x, r);
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return result;
}

/* The next bytes of a stream. */
static ssize_t read_stream(void *user, uint64_t at, char *data, size_t room)
{
    struct ks_exchange *x = user;
    (void)at;
    pthread_mutex_lock(&x->lock);
    ssize_t n = (ssize_t)(x->out.n < room ? x->out.n : room);
    if (x->gone) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n > 0) {
        memcpy(data, x->out.data, (size_t)n);
        ks_take(&x->out, (size_t)n);
    } else if (x->state == KS_STREAMED) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->lock);
    return n;
}

/* What the endpoint, or the generation behind it, has made of the request.  The lock is not held while something is
 * queued: the library has a lock of its own around read_stream(). */
static enum MHD_Result answer(struct ks_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    enum ks_state state = x->state;
    bool gone = x->gone;
    if (state == KS_WAITING && !gone) {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->lock);
    if (state == KS_ANSWERED) /* that is for good */
        return queue(x, MHD_create_response_from_buffer(x->out.n, x->out.data, MHD_RESPMEM_MUST_COPY));
    if (gone)
        return MHD_NO;
    if (state == KS_WAITING)
        return MHD_YES;
    return queue(x, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x, NULL));
}

/* ------------------------------------------------------------------------------------------------------ requests -- */

/* The headers are there. */
static enum MHD_Result begin(struct ks_server *s, struct MHD_Connection *c, const char *path, const char *method,
                             void **context)
{
    struct ks_problem p;
    struct ks_exchange *x = open_exchange(s, c, method);
    *context = x;
    if (!x)
        return MHD_NO;
    set_deadline(s, c, s->o->body_seconds);
    if (s->o->cors && strcmp(method, "OPTIONS") == 0) {
        ks_answer_text(x, 204, "text/plain", "", 0);
        return answer(x);
    }
    const char *declared = header(x, "Content-Length");
    uint64_t n = declared ? strtoull(declared, NULL, 10) : 0, most = (uint64_t)s->o->body_bytes;
    bool fine = may_ask(x, path, &p);
    if (fine && n > most)
        fine = ks_refuse(&p, 413, NULL, "body_too_large", "the body has %llu bytes, expected at most %llu",
                         (unsigned long long)n, (unsigned long long)most);
    if (fine)
        return MHD_YES;
    ks_answer_problem(x, &p);
    /* Who is still sending would not see an answer that comes with a closed connection: so the body is passed over. */
    return n <= most + PASSED_OVER ? MHD_YES : answer(x);
}

static enum MHD_Result take_body(struct ks_exchange *x, const char *data, size_t *n)
{
    struct ks_problem p;
    bool fits = x->body.n + *n <= (size_t)x->server->o->body_bytes;
    if (x->state == KS_ANSWERED) {
        *n = 0; /* refused already */
        return MHD_YES;
    }
    if (!fits || !ks_add(&x->body, data, *n)) {
        ks_free(&x->body);
        ks_refuse(&p, fits ? 503 : 413, NULL, "body_too_large", "the body has more than %lld bytes",
                  (long long)x->server->o->body_bytes);
        ks_answer_problem(x, &p);
    }
    *n = 0;
    return MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *n, void **context)
{
    struct ks_server *s = user;
    struct ks_exchange *x = *context;
    (void)version;
    if (!x)
        return begin(s, c, path, method, context);
    if (*n)
        return take_body(x, data, n);
    pthread_mutex_lock(&x->lock);
    bool fresh = x->state == KS_READING;
    pthread_mutex_unlock(&x->lock);
    set_deadline(s, c, 0);
    if (fresh) {
        x->route->answer(x);
        ks_free(&x->body);
    }
    return answer(x);
}

/* --------------------------------------------------------------------------------------------------------- ticks -- */

static void tick_exchange(struct ks_exchange *x, double now)
{
    const struct ks_options *o = x->server->o;
    pthread_mutex_lock(&x->lock);
    bool live = !x->gone && (x->state == KS_WAITING || x->state == KS_STREAMING);
    bool left = false;
    if (live && x->suspended) {
        left = has_left(MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
        if (left) {
            x->gone = true;
            x->server->n_dropped++;
            ks_http_wake(x);
        } else if (x->state == KS_STREAMING && now - x->spoke > (double)o->ping_seconds &&
                   ks_add_text(&x->out, ": still working\n\n")) {
            x->spoke = now;
            ks_http_wake(x);
        }
    }
    void (*cancel)(struct ks_exchange *) = left ? x->cancel : NULL;
    pthread_mutex_unlock(&x->lock);
    if (cancel)
        cancel(x);
}

void ks_http_tick(struct ks_server *s)
{
    double now = ka_seconds();
    pthread_mutex_lock(&s->lock);
    for (struct ks_exchange *x = s->exchange; x; x = x->next)
        tick_exchange(x, now);
    for (struct ks_peer *p = s->peer; p; p = p->next)
        if (p->deadline > 0 && now > p->deadline) {
            p->deadline = 0;
            shutdown(p->fd, SHUT_RDWR);
        }
    pthread_mutex_unlock(&s->lock);
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static kl_status check_address(struct ks_server *s, kl_error *err)
{
    if (s->loopback || s->keys.n || s->o->public)
        return KL_OK;
    return kl__fail(err, KL_ERR_ARGUMENT,
                    "--host %s can be reached from elsewhere, and there are no --keys: expected 127.0.0.1, "
                    "a file of keys, or --public to let everybody in",
                    s->o->host);
}

static int listen_on(struct ks_server *s, const struct addrinfo *a)
{
    int yes = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 1024) ||
        getsockname(fd, (struct sockaddr *)(void *)&bound, &n)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    s->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&bound)->sin6_port
                                                : ((struct sockaddr_in *)(void *)&bound)->sin_port);
    return fd;
}

static kl_status open_socket(struct ks_server *s, int *fd, kl_error *err)
{
    struct addrinfo how = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *a;
    char port[16];
    snprintf(port, sizeof port, "%d", (int)s->o->port);
    int failed = getaddrinfo(s->o->host, port, &how, &a);
    if (failed)
        return kl__fail(err, KL_ERR_IO, "--host %s: %s", s->o->host, gai_strerror(failed));
    s->loopback = is_loopback(a->ai_addr);
    kl_status status = check_address(s, err);
    if (status == KL_OK && (*fd = listen_on(s, a)) < 0)
        status = kl__fail(err, KL_ERR_IO, "%s port %s: %s", s->o->host, port, strerror(errno));
    freeaddrinfo(a);
    return status;
}

static void be_quiet(void *user, const char *format, va_list arguments)
{
    (void)user, (void)format, (void)arguments;
}

enum { PEM_BYTES = 1 << 20 };

/* Certificate and key, as texts that end with a zero.  Errors: KL_ERR_IO, KL_ERR_UNSUPPORTED. */
static kl_status read_tls(struct ka_input pem[2], const struct ks_options *o, kl_error *err)
{
    if (!o->tls_cert)
        return KL_OK;
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "--tls-cert: this libmicrohttpd was built without TLS");
    KL_TRY(ka_read_input(&pem[0], o->tls_cert, PEM_BYTES, err));
    return ka_read_input(&pem[1], o->tls_key, PEM_BYTES, err);
}

/* The library's own limit holds for all that our deadlines are for, too: it may not come before any of them. */
static unsigned stalled_seconds(const struct ks_options *o)
{
    int64_t most = o->body_seconds > o->idle_seconds ? o->body_seconds : o->idle_seconds;
    most = most > o->header_seconds ? most : o->header_seconds;
    return (unsigned)(most > STALLED_SECONDS ? most + 1 : STALLED_SECONDS);
}

/* What does not depend on where connections come from. */
static struct MHD_Daemon *start_daemon(struct ks_server *s, unsigned flags, struct MHD_OptionItem *more)
{
    return MHD_start_daemon(
        flags | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
        be_quiet, NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o->connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, stalled_seconds(s->o), MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_ARRAY, more, MHD_OPTION_END);
}

static kl_status start(struct ks_server *s, const struct ka_input pem[2], kl_error *err)
{
    int fd = -1;
    s->closing = -1;
    KL_TRY(open_socket(s, &fd, err));
    bool tls = pem[0].data != NULL;
    struct MHD_OptionItem more[] = {{MHD_OPTION_LISTEN_SOCKET, fd, NULL},
                                    {MHD_OPTION_THREAD_POOL_SIZE, HTTP_THREADS, NULL},
                                    {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, pem[0].data},
                                    {MHD_OPTION_HTTPS_MEM_KEY, 0, pem[1].data},
                                    {MHD_OPTION_END, 0, NULL}};
    s->daemon = start_daemon(s, MHD_USE_EPOLL_INTERNAL_THREAD | (tls ? (unsigned)MHD_USE_TLS : 0), more);
    if (s->daemon)
        return KL_OK;
    close(fd);
    if (tls)
        return kl__fail(err, KL_ERR_FORMAT,
                        "--tls-cert %.120s and --tls-key %.120s: expected a certificate and its key, as PEM",
                        s->o->tls_cert, s->o->tls_key);
    return kl__fail(err, KL_ERR_IO, "libmicrohttpd does not start: %s", strerror(errno));
}

kl_status ks_http_open(struct ks_server *s, kl_error *err)
{
    struct ka_input pem[2] = {{0}, {0}};
    kl_status status = read_tls(pem, s->o, err);
    if (status == KL_OK)
        status = start(s, pem, err);
    ka_free_input(&pem[0]);
    ka_free_input(&pem[1]);
    return status;
}

void ks_http_quiesce(struct ks_server *s)
{
    int fd = MHD_quiesce_daemon(s->daemon);
    if (fd < 0)
        return;
    shutdown(fd, SHUT_RDWR); /* nobody can connect any more; threads of the daemon may still look at it */
    s->closing = fd;
}

void ks_http_close(struct ks_server *s)
{
    if (!s->daemon)
        return;
    MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
    if (s->closing >= 0)
        close(s->closing);
}
