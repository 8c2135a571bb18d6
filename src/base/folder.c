#define _GNU_SOURCE /* realpath(), and the strerror_r() that returns the text */

#include "base/folder.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct kl__folder {
    const kl_allocator *alloc;
    char path[PATH_MAX]; /* what it will be */
    char side[PATH_MAX]; /* where it is */
    char file[PATH_MAX];
};

static kl_status fail_errno(kl_error *err, const char *path, const char *what)
{
    char text[80];
    return kl__fail(err, KL_ERR_IO, "%s: %s: %s", kl__shown_path(path).text, what,
                    strerror_r(errno, text, sizeof text));
}

static bool is_empty(const char *path)
{
    DIR *d = opendir(path);
    bool empty = d != NULL;
    for (struct dirent *e; empty && (e = readdir(d));)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (d)
        closedir(d);
    return empty;
}

static kl_status check_target(const char *path, kl_error *err)
{
    struct stat s;
    if (lstat(path, &s) != 0)
        return KL_OK;
    if (stat(path, &s) != 0)
        return fail_errno(err, path, "is a link to what cannot be found");
    if (!S_ISDIR(s.st_mode))
        return kl__fail(err, KL_ERR_IO, "%s: exists and is no folder", kl__shown_path(path).text);
    return is_empty(path) ? KL_OK
                          : kl__fail(err, KL_ERR_IO, "%s: is a folder that holds files, expected none or an empty one",
                                     kl__shown_path(path).text);
}

enum { ATTEMPTS = 1000 };

/* "DIR/.NAME.PID.N.part" */
static bool make_side(struct kl__folder *f)
{
    const char *slash = strrchr(f->path, '/');
    int directory = slash ? (int)(slash + 1 - f->path) : 0;
    for (int i = 0; i < ATTEMPTS; i++) {
        int n = snprintf(f->side, sizeof f->side, "%.*s.%s.%ld.%d.part", directory, f->path, f->path + directory,
                         (long)getpid(), i);
        errno = ENAMETOOLONG;
        if (n > 0 && (size_t)n < sizeof f->side && mkdir(f->side, 0777) == 0)
            return true;
        if (errno != EEXIST)
            return false;
    }
    return false;
}

/* A link to an empty folder stands for that folder. */
static void follow(struct kl__folder *f)
{
    char target[PATH_MAX];
    struct stat s;
    if (lstat(f->path, &s) == 0 && S_ISLNK(s.st_mode) && realpath(f->path, target))
        memcpy(f->path, target, strlen(target) + 1);
}

/* A folder that stands there now can be replaced: that of the process, or one that a file system is mounted on, cannot.
 * Better known before the work than behind it. */
static kl_status try_place(struct kl__folder *f, kl_error *err)
{
    struct stat s;
    if (stat(f->path, &s) != 0)
        return KL_OK;
    if (rename(f->side, f->path) != 0) {
        kl_status status = fail_errno(err, f->path, "is a folder that cannot be replaced, name another one");
        rmdir(f->side);
        return status;
    }
    return make_side(f) ? KL_OK : fail_errno(err, f->path, "cannot be created");
}

kl_status kl__folder_open(struct kl__folder **folder, const char *path, const kl_allocator *alloc, kl_error *err)
{
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    if (bytes == 0 || bytes >= PATH_MAX)
        return kl__fail(err, KL_ERR_IO, "'%s': is no path of a folder", kl__shown_path(path).text);
    struct kl__folder *f = kl__alloc(alloc, sizeof *f);
    if (!f)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory to write it", kl__shown_path(path).text);
    f->alloc = alloc;
    memcpy(f->path, path, bytes);
    follow(f);
    kl_status status = check_target(f->path, err);
    if (status == KL_OK && !make_side(f))
        status = fail_errno(err, path, "cannot be created");
    else if (status == KL_OK)
        status = try_place(f, err);
    if (status == KL_OK)
        *folder = f;
    else
        kl__release(alloc, f);
    return status;
}

const char *kl__folder_file(struct kl__folder *f, const char *name)
{
    int n = snprintf(f->file, sizeof f->file, "%s/%s", f->side, name);
    return n > 0 && (size_t)n < sizeof f->file ? f->file : NULL;
}

kl_status kl__folder_write(struct kl__folder *f, const char *name, const void *data, size_t bytes, kl_error *err)
{
    struct kl__out *out;
    const char *path = kl__folder_file(f, name);
    if (!path)
        return kl__fail(err, KL_ERR_IO, "%s/%s: the path is too long", kl__shown_path(f->path).text, name);
    KL_TRY(kl__out_open(&out, path, f->alloc, err));
    kl_status status = kl__out_write(out, 0, data, bytes, err);
    if (status == KL_OK)
        return kl__out_commit(out, bytes, err);
    kl__out_abandon(out);
    return status;
}

kl_status kl__folder_commit(struct kl__folder *f, kl_error *err)
{
    if (rename(f->side, f->path) != 0) {
        kl_status status = fail_errno(err, f->path, "cannot be put in its place");
        kl__folder_abandon(f);
        return status;
    }
    kl__release(f->alloc, f);
    return KL_OK;
}

static void remove_files(const struct kl__folder *f)
{
    DIR *d = opendir(f->side);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

void kl__folder_abandon(struct kl__folder *f)
{
    if (!f)
        return;
    remove_files(f);
    rmdir(f->side);
    kl__release(f->alloc, f);
}
