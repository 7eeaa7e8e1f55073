/* The load generator: all clients of a benchmark in one process that costs far less than a server.
 *
 * It is told what to do over the descriptor that its only argument names, by a line for each command,
 * and answers each with a line. load.py is the other side. It knows HTTP as far as "HTTP/1.1 200 ",
 * and an event by its stamp, "n":NUMBER,"t":TIME with 10 and 19 digits, wherever that stands.
 *
 *   open PORT CONNECTING BYTES   then BYTES of requests, each ended by a NUL: opens a stream with each,
 *                                CONNECTING at a time; answers the seconds until all had an answer
 *   arrived                      answers what has come since the last forget, see below
 *   latency                      answers seconds from TIME to arrival at 0, 1 ... 100 % and 99.9 %
 *   forget                       begins to count anew
 *   close                        resets all connections
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __TINYC__
#include <sys/cdefs.h>
#undef __attribute__ // glibc takes it from compilers that it does not know, and epoll_event is packed
#endif
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REST = 64, READ = 1 << 18, EVENTS = 256, LINE = 200 };
static const int64_t NUMBER = 1000000000, TIME = 1000000000000000000; /* as in pace.py */

struct client {
    int fd;
    int opened;         /* whether the head has come */
    int64_t last;       /* the highest number that has arrived */
    int rest;           /* bytes in `tail` */
    char tail[REST];    /* an event may come in two parts */
};

static struct client **clients;
static size_t open_clients, room_for_clients;
static int64_t *latencies; /* ns, one for each event */
static size_t events, room_for_latencies;
static long repeated, unnumbered, ended;
static int64_t first_at, last_at; /* ns on the monotonic clock */

static int control, poller;
static char *requests, *next_request, *end_of_requests; /* of the open command that is carried out */
static int waiting;                                     /* clients without an answer */
static int port;
static int64_t began;

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *grown(void *memory, size_t *room, size_t size) {
    *room = *room ? *room * 2 : 1024;
    memory = realloc(memory, *room * size);
    if (!memory) fail("realloc");
    return memory;
}

static void answer(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vdprintf(control, format, arguments);
    va_end(arguments);
}

/* --- streams ------------------------------------------------------------------------------------ */

static void drop(struct client *client) {
    struct linger reset = {1, 0}; /* RST leaves no TIME_WAIT, so ports do not run out */
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(client->fd);
    client->fd = -1;
}

static void opening_failed(const char *why, int length) {
    char text[LINE + 1];
    int end = length < LINE ? length : LINE;
    if (!requests) return;
    for (int i = 0; i < end; i++) text[i] = why[i] < ' ' ? ' ' : why[i];
    text[end] = 0;
    answer("error %s\n", text);
    free(requests);
    requests = NULL;
}

static void open_next(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event interest = {.events = EPOLLIN};
    struct client *client = calloc(1, sizeof *client);
    size_t length = strlen(next_request);
    if (!client) fail("calloc");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* On loopback a connection is there at once unless the backlog is full. */
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        write(client->fd, next_request, length) != (ssize_t)length) {
        const char *why = strerror(errno);
        if (client->fd >= 0) close(client->fd);
        free(client);
        opening_failed(why, strlen(why));
        return;
    }
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    if (open_clients == room_for_clients) clients = grown(clients, &room_for_clients, sizeof *clients);
    clients[open_clients++] = client;
    interest.data.ptr = client;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &interest) < 0) fail("epoll_ctl");
    next_request += length + 1;
    waiting++;
}

static void opened(void) {
    waiting--;
    if (!requests) return;
    if (next_request < end_of_requests) {
        open_next();
    } else if (waiting == 0) {
        answer("%.6f\n", (now() - began) / 1e9);
        free(requests);
        requests = NULL;
    }
}

static const char *digits(const char *text, int count, int64_t *value) {
    *value = 0;
    for (int i = 0; i < count; i++, text++) {
        if (*text < '0' || *text > '9') return NULL;
        *value = *value * 10 + *text - '0';
    }
    return text;
}

/* Takes the stamps in a text; returns where what may be the beginning of another one starts. */
static const char *take(struct client *client, const char *text, const char *end, int64_t at) {
    enum { STAMP = 4 + 10 + 5 + 19 };
    const char *found;
    while ((found = memmem(text, end - text, "\"n\":", 4)) && end - found >= STAMP) {
        int64_t number, published;
        const char *after = digits(found + 4, 10, &number);
        text = found + 4;
        if (!after || memcmp(after, ",\"t\":", 5) || !digits(after + 5, 19, &published)) continue;
        text = found + STAMP;
        if (!first_at) first_at = at;
        last_at = at;
        number -= NUMBER;
        if (number == 0) {
            unnumbered++;
        } else if (number > client->last) {
            client->last = number;
            if (events == room_for_latencies)
                latencies = grown(latencies, &room_for_latencies, sizeof *latencies);
            latencies[events++] = at - (published - TIME);
        } else {
            repeated++;
        }
    }
    return end - text < REST ? text : end - REST;
}

static void readable(struct client *client) {
    static char buffer[REST + READ];
    char *text = buffer + REST - client->rest, *end;
    ssize_t length = read(client->fd, buffer + REST, READ);
    const char *rest;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        drop(client);
        ended++;
        if (!client->opened) opening_failed("closed before an answer", 23);
        return;
    }
    if (!client->opened) {
        if (length < 13 || memcmp(buffer + REST, "HTTP/1.1 200 ", 13)) {
            opening_failed(buffer + REST, length);
            return;
        }
        client->opened = 1;
        opened();
    }
    memcpy(text, client->tail, client->rest);
    end = buffer + REST + length;
    rest = take(client, text, end, now());
    client->rest = end - rest;
    memcpy(client->tail, rest, client->rest);
}

/* --- commands ----------------------------------------------------------------------------------- */

static void read_exactly(char *into, size_t length) {
    while (length) {
        ssize_t done = read(control, into, length);
        if (done <= 0) exit(0); /* nobody is there any more who could want anything */
        into += done;
        length -= done;
    }
}

static void start_opening(int connecting, size_t bytes) {
    if (!(requests = next_request = malloc(bytes))) fail("malloc");
    read_exactly(requests, bytes);
    end_of_requests = requests + bytes;
    waiting = 0;
    began = now();
    while (requests && next_request < end_of_requests && waiting < connecting) open_next();
}

static void forget(void) {
    events = repeated = unnumbered = ended = 0;
    first_at = last_at = 0;
}

static void close_all(void) {
    for (size_t i = 0; i < open_clients; i++) {
        if (clients[i]->fd >= 0) drop(clients[i]);
        free(clients[i]);
    }
    open_clients = 0;
    forget();
}

static int compared(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void answer_latency(void) {
    qsort(latencies, events, sizeof *latencies, compared);
    for (int i = 0; i <= 101 && events; i++) {
        double share = i == 101 ? 0.999 : i / 100.0;
        answer("%.9f ", latencies[(size_t)(share * (events - 1) + 0.5)] / 1e9);
    }
    answer("\n");
}

static void answer_arrived(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    answer("%zu %ld %ld %ld %.9f %.9f %.6f\n", events, repeated, unnumbered, ended, first_at / 1e9,
           last_at / 1e9,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec +
               (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static void obey(void) {
    char line[LINE];
    int length = 0, connecting;
    size_t bytes;
    do {
        read_exactly(line + length, 1);
    } while (line[length++] != '\n' && length < LINE - 1);
    line[length] = 0;
    if (sscanf(line, "open %d %d %zu", &port, &connecting, &bytes) == 3) {
        start_opening(connecting, bytes);
    } else if (!strcmp(line, "arrived\n")) {
        answer_arrived();
    } else if (!strcmp(line, "latency\n")) {
        answer_latency();
    } else if (!strcmp(line, "forget\n")) {
        forget();
        answer("\n");
    } else if (!strcmp(line, "close\n")) {
        close_all();
        answer("\n");
    } else {
        answer("error no command: %s", line);
    }
}

int main(int count, char **arguments) {
    struct epoll_event happened[EVENTS], interest = {.events = EPOLLIN};
    if (count != 2) {
        fprintf(stderr, "usage: %s DESCRIPTOR\n", arguments[0]);
        return 2;
    }
    control = atoi(arguments[1]);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, control, &interest) < 0) fail("epoll_ctl");
    for (;;) {
        int ready = epoll_wait(poller, happened, EVENTS, -1), told = 0;
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (happened[i].data.ptr) readable(happened[i].data.ptr);
            else told = 1;
        }
        if (told) obey(); /* last: a command may free clients that something has happened to */
    }
}
