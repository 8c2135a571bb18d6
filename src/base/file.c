#define _GNU_SOURCE /* O_TMPFILE, and the strerror_r() that returns the text */

#include "base/file.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* strerror() may answer from memory that it shares between threads. */
static kl_status fail_errno(kl_error *err, const char *path, const char *what)
{
    char text[80];
    return kl__fail(err, KL_ERR_IO, "%s: %s: %s", kl__shown_path(path).text, what,
                    strerror_r(errno, text, sizeof text));
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

static kl_status map_descriptor(struct kl__map *m, int fd, const char *path, kl_error *err)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return fail_errno(err, path, "cannot be examined");
    if (!S_ISREG(s.st_mode))
        return kl__fail(err, KL_ERR_IO, "%s: is no regular file", kl__shown_path(path).text);
    *m = (struct kl__map){.device = (uint64_t)s.st_dev, .number = (uint64_t)s.st_ino};
    m->written_ns = (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
    if (s.st_size == 0)
        return KL_OK;
    void *data = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return fail_errno(err, path, "cannot be mapped into memory");
    m->data = data;
    m->bytes = (size_t)s.st_size;
    return KL_OK;
}

kl_status kl__map_open(struct kl__map *m, const char *path, kl_error *err)
{
    *m = (struct kl__map){0};
    /* O_NONBLOCK: a pipe must not keep us waiting for a writer before it is refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, path, "cannot be opened");
    kl_status status = map_descriptor(m, fd, path, err);
    close(fd);
    return status;
}

void kl__map_close(struct kl__map *m)
{
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->bytes);
    *m = (struct kl__map){0};
}

void kl__map_forget(const struct kl__map *m, const void *data, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)m->data, from = (uintptr_t)data;
    if (from < start || bytes > m->bytes || from - start > m->bytes - bytes)
        return;
    uintptr_t first = (from + page - 1) / page * page, end = (from + bytes) / page * page;
    if (first < end)
        (void)madvise((void *)first, end - first, MADV_DONTNEED); /* a wish */
}

kl_status kl__map_again(const struct kl__map *m, const char *path, int *plain, int *direct, kl_error *err)
{
    struct stat s;
    *direct = -1;
    *plain = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*plain < 0)
        return fail_errno(err, path, "cannot be opened again");
    bool same = fstat(*plain, &s) == 0 && (uint64_t)s.st_dev == m->device && (uint64_t)s.st_ino == m->number;
    if (!same) {
        close(*plain);
        return kl__fail(err, KL_ERR_IO, "%s: is another file than the one that was opened",
                        kl__shown_path(path).text);
    }
    *direct = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------- writing -- */

struct kl__out {
    const kl_allocator *alloc;
    int fd;
    bool nameless;
    char path[PATH_MAX]; /* what it will be */
    char side[PATH_MAX]; /* the hidden neighbour: from the start, or while a nameless file gets its name */
};

/* "DIR/.NAME.PID.N.part" */
static bool name_side(struct kl__out *o, int attempt)
{
    const char *slash = strrchr(o->path, '/');
    int directory = slash ? (int)(slash + 1 - o->path) : 0;
    int n = snprintf(o->side, sizeof o->side, "%.*s.%s.%ld.%d.part", directory, o->path, o->path + directory,
                     (long)getpid(), attempt);
    return n > 0 && (size_t)n < sizeof o->side;
}

static void directory_of(char *directory, const struct kl__out *o)
{
    const char *slash = strrchr(o->path, '/');
    size_t bytes = slash ? (size_t)(slash - o->path) : 0;
    const char *rest = slash ? (bytes ? "" : "/") : ".";
    memcpy(directory, o->path, bytes);
    memcpy(directory + bytes, rest, strlen(rest) + 1);
}

static int open_nameless(const struct kl__out *o)
{
    char directory[PATH_MAX];
    directory_of(directory, o);
    if (access("/proc/self/fd", X_OK) != 0)
        return -1;
    return open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
}

enum { ATTEMPTS = 1000 };

static int open_beside(struct kl__out *o)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        errno = ENAMETOOLONG;
        int fd = name_side(o, i) ? open(o->side, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666) : -1;
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static kl_status check_target(const char *path, kl_error *err)
{
    struct stat s;
    if (strlen(path) >= PATH_MAX)
        return kl__fail(err, KL_ERR_IO, "%s: the path is longer than %d bytes", kl__shown_path(path).text,
                        PATH_MAX - 1);
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode))
        return kl__fail(err, KL_ERR_IO, "%s: exists and is no regular file", kl__shown_path(path).text);
    return KL_OK;
}

static kl_status out_open(struct kl__out **out, const char *path, bool nameless, const kl_allocator *alloc,
                          kl_error *err)
{
    KL_TRY(check_target(path, err));
    struct kl__out *o = kl__alloc(alloc, sizeof *o);
    if (!o)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to write it", kl__shown_path(path).text);
    *o = (struct kl__out){.alloc = alloc, .fd = -1, .nameless = nameless};
    memcpy(o->path, path, strlen(path) + 1);
    if (o->nameless) {
        o->fd = open_nameless(o);
        o->nameless = o->fd >= 0;
    }
    if (!o->nameless)
        o->fd = open_beside(o);
    if (o->fd < 0) {
        kl_status status = fail_errno(err, path, "cannot be created");
        kl__release(alloc, o);
        return status;
    }
    struct stat old;
    if (stat(path, &old) == 0) /* who may not read the old file may not read the new one */
        (void)fchmod(o->fd, old.st_mode & 0777);
    *out = o;
    return KL_OK;
}

kl_status kl__out_open(struct kl__out **out, const char *path, const kl_allocator *alloc, kl_error *err)
{
    return out_open(out, path, true, alloc, err);
}

kl_status kl__out_open_beside(struct kl__out **out, const char *path, const kl_allocator *alloc, kl_error *err)
{
    return out_open(out, path, false, alloc, err);
}

kl_status kl__out_write(struct kl__out *o, uint64_t at, const void *data, size_t bytes, kl_error *err)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(o->fd, (const char *)data + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno != EINTR)
            return fail_errno(err, o->path, "cannot be written");
        done += n > 0 ? (size_t)n : 0;
    }
    return KL_OK;
}

/* Gives a nameless file the name of the hidden neighbour: a link cannot replace a file, a renaming can. */
static bool link_beside(struct kl__out *o)
{
    char descriptor[40];
    snprintf(descriptor, sizeof descriptor, "/proc/self/fd/%d", o->fd);
    for (int i = 0; i < ATTEMPTS; i++) {
        errno = ENAMETOOLONG;
        if (name_side(o, i) && linkat(AT_FDCWD, descriptor, AT_FDCWD, o->side, AT_SYMLINK_FOLLOW) == 0) {
            o->nameless = false;
            return true;
        }
        if (errno != EEXIST)
            return false;
    }
    return false;
}

/* The new name is safe once the directory is on the disk.  Where a file system cannot say so, the file is whole. */
static void sync_directory(const struct kl__out *o)
{
    char directory[PATH_MAX];
    directory_of(directory, o);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

kl_status kl__out_commit(struct kl__out *o, uint64_t bytes, kl_error *err)
{
    kl_status status = KL_OK;
    if (ftruncate(o->fd, (off_t)bytes) != 0 || fsync(o->fd) != 0)
        status = fail_errno(err, o->path, "cannot be written");
    else if ((o->nameless && !link_beside(o)) || rename(o->side, o->path) != 0)
        status = fail_errno(err, o->path, "cannot be put in its place");
    if (status != KL_OK) {
        kl__out_abandon(o);
        return status;
    }
    sync_directory(o);
    close(o->fd);
    kl__release(o->alloc, o);
    return KL_OK;
}

void kl__out_abandon(struct kl__out *o)
{
    if (!o)
        return;
    close(o->fd);
    if (!o->nameless)
        unlink(o->side);
    kl__release(o->alloc, o);
}
