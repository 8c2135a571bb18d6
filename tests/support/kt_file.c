#define _GNU_SOURCE /* nftw() */

#include "support/kt_file.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[256];

/* One path is used while the next is made: a few at a time are valid. */
static char *next_path(void)
{
    static char path[8][512];
    static int next;
    return path[next++ % 8];
}

const char *kt_path(const char *name)
{
    if (name[0] == '/')
        return name;
    if (!directory[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(directory, sizeof directory, "%s/kt-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(directory));
    }
    char *path = next_path();
    snprintf(path, 512, "%s/%s", directory, name);
    return path;
}

const char *kt_write_file(const char *name, const void *data, size_t bytes)
{
    const char *path = kt_path(name);
    FILE *f = fopen(path, "wb");
    if (!f)
        fail_msg("%s cannot be created", path);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    return path;
}

unsigned char *kt_read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be opened", path);
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = kt_bytes(*bytes);
    assert_int_equal(fread(data, 1, *bytes, f), *bytes);
    fclose(f);
    return data;
}

const char *kt_make_directory(const char *name)
{
    const char *path = kt_path(name);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

int kt_count_files(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *walk)
{
    (void)s;
    (void)kind;
    (void)walk;
    return remove(path);
}

void kt_remove_files(void)
{
    if (directory[0])
        nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    directory[0] = 0;
}

void kt_put(struct kt_image *b, const void *data, size_t bytes)
{
    assert_true(bytes <= sizeof b->data - b->n);
    memcpy(b->data + b->n, data, bytes);
    b->n += bytes;
}

void kt_put_text(struct kt_image *b, const char *text)
{
    kt_put(b, text, strlen(text));
}

void kt_put_u32(struct kt_image *b, uint32_t v)
{
    kt_put(b, &v, sizeof v);
}

void kt_put_u64(struct kt_image *b, uint64_t v)
{
    kt_put(b, &v, sizeof v);
}

static void *heap_alloc(void *user, size_t bytes)
{
    struct kt_heap *h = user;
    if (++h->n_call == h->fail_at)
        return NULL;
    h->n_out++;
    return aligned_alloc(64, bytes);
}

static void heap_release(void *user, void *memory)
{
    struct kt_heap *h = user;
    h->n_out--;
    free(memory);
}

void kt_heap_init(struct kt_heap *h, int64_t fail_at)
{
    *h = (struct kt_heap){.alloc = {heap_alloc, heap_release, h}, .fail_at = fail_at};
}
