/* Pieces of files by threads: any place, any length, the last byte; what is gone gives a sentence. */
#include "base/reader.h"

#include "support/kt_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 9 << 20 | 1234, PIECES = 40 };

static unsigned char *contents(void)
{
    unsigned char *x = malloc(BYTES);
    assert_non_null(x);
    for (size_t i = 0; i < BYTES; i++)
        x[i] = (unsigned char)(i * 2654435761u >> 13);
    return x;
}

static char *aligned(size_t bytes)
{
    void *room = aligned_alloc(KL__READ_ALIGN, kl__read_room(bytes));
    assert_non_null(room);
    return room;
}

static void pieces_of(const char *path, const unsigned char *x)
{
    struct kl__map map;
    struct kl__reader *reader;
    KT_OK(kl__map_open(&map, path, KT_ERR));
    KT_OK(kl__reader_open(&reader, 3, NULL, KT_ERR));
    KT_OK(kl__reader_add(reader, path, &map, KT_ERR));
    struct kl__read read[PIECES], *list[PIECES];
    kt_rng r = {5};
    for (int i = 0; i < PIECES; i++) {
        size_t bytes = (size_t)kt_below(&r, i % 2 ? 200000 : 300) + 1;
        uint64_t at = i < 3 ? BYTES - bytes : (uint64_t)kt_below(&r, (int64_t)(BYTES - bytes));
        read[i] = (struct kl__read){.at = at, .bytes = bytes, .room = aligned(bytes)};
        list[i] = &read[i];
        kl__reader_start(reader, &read[i]);
    }
    KT_OK(kl__reader_await(reader, list, PIECES, KT_ERR));
    for (int i = 0; i < PIECES; i++) {
        kt_assert_same_bits("a piece", kl__read_data(&read[i]), x + read[i].at, read[i].bytes);
        free(read[i].room);
    }
    struct kl__read whole = {.at = 77, .bytes = BYTES - 77, .room = aligned(BYTES)};
    KT_OK(kl__reader_whole(reader, &whole, KT_ERR));
    kt_assert_same_bits("nearly all of it", kl__read_data(&whole), x + 77, BYTES - 77);
    assert_int_equal(truncate(path, BYTES / 2), 0);
    kl_error err = {0};
    KT_ASSERT_FAILED(kl__reader_whole(reader, &whole, &err), KL_ERR_IO, &err, "ends before byte", "9438418");
    struct kl__read first = {.bytes = 100, .room = whole.room};
    KT_OK(kl__reader_whole(reader, &first, KT_ERR));
    free(whole.room);
    kl__reader_close(reader);
    kl__map_close(&map);
}

static void pieces(void **state)
{
    (void)state;
    unsigned char *x = contents();
    pieces_of(kt_write_file("reader", x, BYTES), x);
    /* Where the kernel's cache cannot be passed by. */
    char path[] = "/dev/shm/kl-reader-XXXXXX";
    int fd = access("/dev/shm", W_OK) == 0 ? mkstemp(path) : -1;
    if (fd >= 0) {
        assert_int_equal(write(fd, x, BYTES), BYTES);
        close(fd);
        pieces_of(path, x);
        unlink(path);
    }
    free(x);
}

static void other_file(void **state)
{
    (void)state;
    const char *path = kt_write_file("other", "some bytes", 10);
    struct kl__map map;
    struct kl__reader *reader;
    kl_error err = {0};
    KT_OK(kl__map_open(&map, path, KT_ERR));
    KT_OK(kl__reader_open(&reader, 1, NULL, KT_ERR));
    assert_int_equal(unlink(path), 0);
    KT_ASSERT_FAILED(kl__reader_add(reader, path, &map, &err), KL_ERR_IO, &err, "cannot be opened again");
    path = kt_write_file("other", "some bytes", 10);
    KT_ASSERT_FAILED(kl__reader_add(reader, path, &map, &err), KL_ERR_IO, &err, "another file");
    kl__reader_close(reader);
    kl__reader_close(NULL);
    kl__map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces), cmocka_unit_test(other_file)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_remove_files();
    return failed;
}
