/* A file is records: length (8 bytes), its masked CRC-32C, an Event in protocol buffers, its masked CRC-32C.
 *      Event    1: wall_time double    2: step int64    3: file_version string    5: summary { 1: value }
 *      value    1: tag string          2: simple_value float */
#include "events.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { ROOM = 1024 };

struct bytes {
    unsigned char at[ROOM];
    size_t n;
};

/* CRC-32C, bit by bit: a few hundred bytes a step. */
static uint32_t masked_crc(const unsigned char *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static void put(struct bytes *b, const void *data, size_t n)
{
    if (b->n + n <= ROOM)
        memcpy(b->at + b->n, data, n);
    b->n += b->n + n <= ROOM ? n : 0;
}

static void put_varint(struct bytes *b, uint64_t x)
{
    do {
        unsigned char byte = (unsigned char)((x & 127) | (x > 127 ? 128 : 0));
        put(b, &byte, 1);
    } while (x >>= 7);
}

/* Wire types: 0 varint, 1 eight bytes, 2 with a length, 5 four bytes. */
static void put_key(struct bytes *b, int field, int wire)
{
    put_varint(b, (uint64_t)(field << 3 | wire));
}

static void put_field(struct bytes *b, int field, const void *data, size_t n)
{
    put_key(b, field, 2);
    put_varint(b, n);
    put(b, data, n);
}

static void write_record(FILE *out, const struct bytes *b)
{
    uint64_t n = b->n;
    uint32_t crc = masked_crc((const unsigned char *)&n, sizeof n);
    fwrite(&n, sizeof n, 1, out);
    fwrite(&crc, sizeof crc, 1, out);
    fwrite(b->at, 1, b->n, out);
    crc = masked_crc(b->at, b->n);
    fwrite(&crc, sizeof crc, 1, out);
}

static struct bytes event_now(void)
{
    struct timespec now;
    struct bytes b = {.n = 0};
    double seconds = clock_gettime(CLOCK_REALTIME, &now) == 0 ? (double)now.tv_sec + 1e-9 * (double)now.tv_nsec : 0;
    put_key(&b, 1, 1);
    put(&b, &seconds, sizeof seconds);
    return b;
}

void ka_events_begin(FILE *out)
{
    static const char version[] = "brain.Event:2";
    struct bytes b = event_now();
    put_field(&b, 3, version, sizeof version - 1);
    write_record(out, &b);
}

void ka_events_put(FILE *out, int64_t step, const struct ka_event *event, int n)
{
    struct bytes b = event_now(), summary = {.n = 0};
    put_key(&b, 2, 0);
    put_varint(&b, (uint64_t)step);
    for (int i = 0; i < n; i++) {
        struct bytes value = {.n = 0};
        float x = (float)event[i].value;
        if (isnan(event[i].value))
            continue;
        put_field(&value, 1, event[i].tag, strlen(event[i].tag));
        put_key(&value, 2, 5);
        put(&value, &x, sizeof x);
        put_field(&summary, 1, value.at, value.n);
    }
    put_field(&b, 5, summary.at, summary.n);
    write_record(out, &b);
}
