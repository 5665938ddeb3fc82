/* The far side of every measurement: answers any POST with 202, costs little CPU, and counts.
 *
 * One thread, edge of the work kept to read, scan, write. It must never be the bottleneck; the report shows its own
 * CPU per request beside the figures. Listens on loopback only. What is sent to /bench/... steers it:
 *
 *   GET /bench/stats          requests answered so far
 *   GET /bench/wait/N         answered once N requests have been answered; body: monotonic nanoseconds of that moment
 *   GET /bench/latency/US     from now on answer US microseconds after a request is complete
 *   GET /bench/refuse/1       from now on answer 503, which does not count as answered; 0 ends it
 *   GET /bench/refuse-in/PATH from now on do so where the request's path begins with PATH
 *   GET /bench/record/1       from now on note when each message arrives (its "seq" number, else the one behind "probe-"
 *                             in path or body, and monotonic nanoseconds)
 *   GET /bench/arrivals       the notes, one "seq nanoseconds" a line, and forget them
 *
 * Usage: sink; prints its port.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 65536, MOST_CONNECTIONS = 65536, EVENTS = 256 };

static const char ACCEPTED[] =
    "HTTP/1.1 202 Accepted\r\n"
    "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    "Server: sink\r\n"
    "Content-Length: 0\r\n"
    "Connection: keep-alive\r\n"
    "Strict-Transport-Security: max-age=15724800; includeSubDomains\r\n"
    "Api-Supported-Versions: 2022-06-01\r\n"
    "\r\n";

static const char REFUSED[] =
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Content-Length: 0\r\n"
    "Connection: keep-alive\r\n"
    "\r\n";

struct connection {
    int descriptor;
    uint32_t generation; /* a pending answer of a connection that has gone must not reach its successor */
    size_t filled;
    char bytes[BUFFER];
};

struct pending {
    int64_t due;
    int descriptor;
    uint32_t generation;
    int refused;
};

struct note {
    long seq;
    int64_t at;
};

static struct connection *connections[MOST_CONNECTIONS];
static uint32_t generations;
static struct pending *ring; /* answers that wait; latency is fixed, so they fall due in the order they came */
static size_t ring_size = 1 << 16, ring_head, ring_count;
static struct note *notes;
static size_t note_count, note_room;
static int recording, refusing, poller, timer, waiter = -1;
static char refused_path[256];
static int64_t latency;
static long answered, wanted;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void drop(int descriptor) {
    if (descriptor == waiter) waiter = -1;
    free(connections[descriptor]);
    connections[descriptor] = NULL;
    close(descriptor);
}

static void put(int descriptor, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t written = write(descriptor, bytes, size);
        if (written < 0 && errno == EAGAIN) { /* only the long /bench/arrivals comes here */
            usleep(200);
            continue;
        }
        if (written <= 0) return; /* the peer has gone: reading says so next */
        bytes += written;
        size -= (size_t)written;
    }
}

static void say(int descriptor, const char *text, size_t size) {
    char head[128];
    int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
    put(descriptor, head, (size_t)length);
    put(descriptor, text, size);
}

static void say_number(int descriptor, int64_t number) {
    char text[32];
    say(descriptor, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number));
}

static void tell_waiter(void) {
    if (waiter >= 0 && answered >= wanted) {
        say_number(waiter, now());
        waiter = -1;
    }
}

static void answer(int descriptor, int refused) {
    if (refusing || refused) {
        put(descriptor, REFUSED, sizeof REFUSED - 1);
        return;
    }
    answered++;
    put(descriptor, ACCEPTED, sizeof ACCEPTED - 1);
    tell_waiter();
}

static void arm(void) {
    struct itimerspec when = {0};
    int64_t due = ring_count ? ring[ring_head].due : 0;
    when.it_value.tv_sec = due / 1000000000LL;
    when.it_value.tv_nsec = due % 1000000000LL;
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void postpone(int descriptor, int refused) {
    if (ring_count == ring_size) {
        struct pending *larger = malloc(2 * ring_size * sizeof *ring);
        for (size_t i = 0; i < ring_count; i++) larger[i] = ring[(ring_head + i) % ring_size];
        free(ring);
        ring = larger;
        ring_head = 0;
        ring_size *= 2;
    }
    ring[(ring_head + ring_count++) % ring_size] =
        (struct pending){now() + latency, descriptor, connections[descriptor]->generation, refused};
    if (ring_count == 1) arm();
}

static void answer_due(void) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0) return;
    int64_t moment = now();
    while (ring_count && ring[ring_head].due <= moment) {
        struct pending next = ring[ring_head];
        ring_head = (ring_head + 1) % ring_size;
        ring_count--;
        struct connection *held = connections[next.descriptor];
        if (held && held->generation == next.generation) answer(next.descriptor, next.refused);
    }
    if (ring_count) arm();
}

static void note(const char *request, size_t head, size_t size) {
    const char *found = memmem(request + head, size - head, "\"seq\":", 6);
    if (!found) found = memmem(request, size, "probe-", 6);
    if (!found) return;
    if (note_count == note_room) {
        note_room = note_room ? 2 * note_room : 4096;
        notes = realloc(notes, note_room * sizeof *notes);
    }
    notes[note_count++] = (struct note){atol(found + 6), now()};
}

static void say_notes(int descriptor) {
    char *text = malloc(48 * note_count + 1);
    size_t size = 0;
    for (size_t i = 0; i < note_count; i++)
        size += (size_t)sprintf(text + size, "%ld %lld\n", notes[i].seq, (long long)notes[i].at);
    say(descriptor, text, size);
    free(text);
    note_count = 0;
}

static void steer(int descriptor, const char *command) {
    if (!strncmp(command, "stats", 5)) {
        say_number(descriptor, answered);
    } else if (!strncmp(command, "wait/", 5)) {
        wanted = atol(command + 5);
        waiter = descriptor;
        tell_waiter();
    } else if (!strncmp(command, "latency/", 8)) {
        latency = atol(command + 8) * 1000LL;
        say_number(descriptor, latency);
    } else if (!strncmp(command, "refuse/", 7)) {
        refusing = atoi(command + 7);
        say_number(descriptor, refusing);
    } else if (!strncmp(command, "refuse-in/", 10)) {
        size_t length = strcspn(command + 9, " ");
        if (length >= sizeof refused_path) length = sizeof refused_path - 1;
        memcpy(refused_path, command + 9, length);
        refused_path[length] = 0;
        say_number(descriptor, (long)length);
    } else if (!strncmp(command, "record/", 7)) {
        recording = atoi(command + 7);
        note_count = 0;
        say_number(descriptor, recording);
    } else {
        say_notes(descriptor);
    }
}

/* The size of the first whole request among `size` bytes, 0 when it is not whole yet. */
static size_t request_size(const char *bytes, size_t size, size_t *head) {
    const char *end = memmem(bytes, size, "\r\n\r\n", 4);
    if (!end) return 0;
    *head = (size_t)(end - bytes) + 4;
    size_t body = 0;
    for (const char *line = bytes; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
        if (*line == '\n') line++;
        if ((*line | 32) == 'c' && !strncasecmp(line, "content-length:", 15)) {
            body = (size_t)strtoul(line + 15, NULL, 10);
            break;
        }
    }
    return *head + body <= size ? *head + body : 0;
}

static int is_refused(const char *bytes, size_t size) {
    size_t length = strlen(refused_path);
    const char *path = memchr(bytes, ' ', size);
    return length && path && path + 1 + length <= bytes + size && !memcmp(path + 1, refused_path, length);
}

static void take(struct connection *from, size_t head, size_t size) {
    if (!strncmp(from->bytes, "GET /bench/", 11)) {
        steer(from->descriptor, from->bytes + 11);
        return;
    }
    if (!strncmp(from->bytes, "HEAD ", 5)) { /* a process asks at its start whether its key is accepted */
        put(from->descriptor, ACCEPTED, sizeof ACCEPTED - 1);
        return;
    }
    if (recording) note(from->bytes, head, size);
    int refused = is_refused(from->bytes, size);
    if (latency)
        postpone(from->descriptor, refused);
    else
        answer(from->descriptor, refused);
}

static void receive(struct connection *from) {
    ssize_t got = read(from->descriptor, from->bytes + from->filled, BUFFER - from->filled);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(from->descriptor);
        return;
    }
    from->filled += (size_t)got;
    size_t head, size;
    while ((size = request_size(from->bytes, from->filled, &head))) {
        take(from, head, size);
        from->filled -= size;
        memmove(from->bytes, from->bytes + size, from->filled);
    }
    if (from->filled == BUFFER) drop(from->descriptor); /* larger than anything measured here */
}

static void watch(int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event);
}

static void welcome(int listener) {
    int one = 1;
    int descriptor;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (descriptor >= MOST_CONNECTIONS) {
            close(descriptor);
            continue;
        }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *fresh = malloc(sizeof *fresh);
        fresh->descriptor = descriptor;
        fresh->generation = ++generations;
        fresh->filled = 0;
        connections[descriptor] = fresh;
        watch(descriptor);
    }
}

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) {
        perror("sink");
        exit(1);
    }
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(void) {
    struct epoll_event events[EVENTS];
    int listener = listen_on_loopback();
    ring = malloc(ring_size * sizeof *ring);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    watch(listener);
    watch(timer);
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor == listener)
                welcome(listener);
            else if (descriptor == timer)
                answer_due();
            else if (connections[descriptor])
                receive(connections[descriptor]);
        }
    }
}
