/* Files, sockets and frames of gss_peer. */
#include "peer.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* A silent other end must not hold a test for longer than this. */
#define SOCKET_TIMEOUT_SECONDS 30

void die(int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(exit_code);
}

void *allocate(size_t length)
{
    void *bytes = malloc(length ? length : 1);
    if (bytes == NULL)
        die(EXIT_USAGE, "out of memory");
    return bytes;
}

gss_buffer_desc copy_of(const void *bytes, size_t length)
{
    gss_buffer_desc copy = { length, allocate(length) };
    memcpy(copy.value, bytes, length);
    return copy;
}

gss_buffer_desc from_hex(const char *text)
{
    gss_buffer_desc bytes = { strlen(text) / 2, allocate(strlen(text) / 2) };
    for (size_t i = 0; i < bytes.length; i++)
        if (sscanf(text + 2 * i, "%2hhx", (unsigned char *)bytes.value + i) != 1)
            die(EXIT_USAGE, "usage: '%s' is not hexadecimal", text);
    if (strlen(text) % 2 != 0)
        die(EXIT_USAGE, "usage: '%s' has half a byte too much", text);
    return bytes;
}

gss_buffer_desc random_bytes(size_t length)
{
    gss_buffer_desc bytes = { length, allocate(length) };
    FILE *source = fopen("/dev/urandom", "rb");
    if (source == NULL || fread(bytes.value, 1, length, source) != length)
        die(EXIT_USAGE, "cannot read /dev/urandom");
    fclose(source);
    return bytes;
}

gss_buffer_desc read_file(const char *path)
{
    gss_buffer_desc bytes = { 0, allocate(MAX_FRAME) };
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        die(EXIT_USAGE, "usage: cannot read %s", path);
    bytes.length = fread(bytes.value, 1, MAX_FRAME, file);
    fclose(file);
    return bytes;
}

void write_file(const char *path, gss_buffer_desc bytes)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes.value, 1, bytes.length, file) != bytes.length || fclose(file) != 0)
        die(EXIT_USAGE, "usage: cannot write %s", path);
}

void record_token(const char *path, char side, gss_buffer_desc token)
{
    const unsigned char *bytes = token.value;
    FILE *file = fopen(path, "a");
    if (file == NULL)
        die(EXIT_USAGE, "usage: cannot write %s", path);
    fprintf(file, "%c = ", side);
    for (size_t i = 0; i < token.length; i++)
        fprintf(file, "%02x", bytes[i]);
    fputc('\n', file);
    if (fclose(file) != 0)
        die(EXIT_USAGE, "usage: cannot write %s", path);
}

void record_end(const char *path)
{
    FILE *file = fopen(path, "a");
    if (file == NULL || fputc('\n', file) == EOF || fclose(file) != 0)
        die(EXIT_USAGE, "usage: cannot write %s", path);
}

static void prepare(int fd)
{
    struct timeval timeout = { .tv_sec = SOCKET_TIMEOUT_SECONDS };
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int connect_to(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        die(EXIT_USAGE, "usage: no address for %s port %s", host, port);
    for (struct addrinfo *each = found; each != NULL; each = each->ai_next) {
        int fd = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) == 0) {
            freeaddrinfo(found);
            prepare(fd);
            return fd;
        }
        if (fd >= 0)
            close(fd);
    }
    die(EXIT_NETWORK, "network: cannot connect to %s port %s", host, port);
}

int listen_on_loopback(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 128) != 0
        || getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die(EXIT_NETWORK, "network: cannot listen on 127.0.0.1 port %s", port);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    return fd;
}

int accept_on(int listener)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die(EXIT_NETWORK, "network: accept failed");
    prepare(fd);
    return fd;
}

static int send_all(int fd, const unsigned char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

int send_frame(int fd, gss_buffer_desc frame)
{
    unsigned char header[4];
    for (int i = 0; i < 4; i++)
        header[i] = (unsigned char)(frame.length >> (8 * i));
    return send_all(fd, header, sizeof header) == 0 ? send_all(fd, frame.value, frame.length) : -1;
}

/* How many bytes came before the end, or -1 if reading failed. */
static ssize_t receive_all(int fd, unsigned char *bytes, size_t length)
{
    size_t have = 0;
    while (have < length) {
        ssize_t came = recv(fd, bytes + have, length - have, 0);
        if (came < 0)
            return -1;
        if (came == 0)
            break;
        have += (size_t)came;
    }
    return (ssize_t)have;
}

int receive_frame(int fd, gss_buffer_desc *frame)
{
    unsigned char header[4];
    ssize_t came = receive_all(fd, header, sizeof header);
    if (came == 0)
        return 0;
    if (came != sizeof header)
        return -1;
    frame->length = header[0] | header[1] << 8 | header[2] << 16 | (size_t)header[3] << 24;
    if (frame->length == 0 || frame->length > MAX_FRAME)
        return -1;
    frame->value = allocate(frame->length);
    if (receive_all(fd, frame->value, frame->length) == (ssize_t)frame->length)
        return 1;
    free(frame->value);
    return -1;
}
