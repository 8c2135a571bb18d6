#include "places.h"

#include "base/error.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------- bundled model -- */

static bool is_gguf(const char *name)
{
    size_t n = strlen(name);
    return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".gguf") == 0;
}

static bool is_model_folder(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s/config.json", folder, name);
    return name[0] != '.' && n > 0 && (size_t)n < sizeof path && access(path, R_OK) == 0;
}

/* The first model in a folder, by name, files before folders. */
static bool model_in(char *path, size_t bytes, const char *folder)
{
    char best[NAME_MAX + 1] = "";
    bool best_is_file = false;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        bool file = is_gguf(e->d_name);
        if (!file && (best_is_file || !is_model_folder(folder, e->d_name)))
            continue;
        if (!*best || (file && !best_is_file) || strcmp(e->d_name, best) < 0) {
            snprintf(best, sizeof best, "%s", e->d_name);
            best_is_file = file;
        }
    }
    if (d)
        closedir(d);
    int n = *best ? snprintf(path, bytes, "%s/%s", folder, best) : -1;
    return n > 0 && (size_t)n < bytes;
}

/* `up` folders above the one that the program lies in, and then down again. */
static bool beside_program(char *folder, size_t bytes, int up, const char *down)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return false;
    program[n] = 0;
    for (int i = 0; i <= up; i++) {
        char *slash = strrchr(program, '/');
        if (!slash)
            return false;
        *slash = 0;
    }
    int written = snprintf(folder, bytes, "%s/%s", program, down);
    return written > 0 && (size_t)written < bytes;
}

/* The folder of models of the source tree that the program was built in.  Above an installed program may lie another of
 * that name (~/models, for ~/.local/bin), with models for other programs: ours has the notice of our model. */
static bool models_of_source(char *folder, size_t bytes)
{
    char notice[PATH_MAX];
    return beside_program(notice, sizeof notice, 2, "models/NOTICE") && access(notice, R_OK) == 0 &&
           beside_program(folder, bytes, 2, "models");
}

kl_status ka_bundled_model(char *path, size_t bytes, kl_error *err)
{
    char source[PATH_MAX] = "", installed[PATH_MAX] = "";
    const char *told = getenv("KLINEAR_MODELS");
    if (told && *told) {
        if (model_in(path, bytes, told))
            return KL_OK;
        return kl__fail(err, KL_ERR_IO, "no model was named (-m), and there is none in %s", told);
    }
    if (beside_program(installed, sizeof installed, 1, "share/klinear/models") && model_in(path, bytes, installed))
        return KL_OK;
    if (models_of_source(source, sizeof source) && model_in(path, bytes, source))
        return KL_OK;
    return kl__fail(err, KL_ERR_IO, "no model was named (-m), and there is none in %s%s%s", installed,
                    *source ? " or " : "", source);
}

/* --------------------------------------------------------------------------------------------------------- state -- */

/* Makes every folder of a path that is not there, for the user alone. */
static bool make_folders(char *path)
{
    for (char *c = path + 1;; c++) {
        if (*c && *c != '/')
            continue;
        char held = *c;
        *c = 0;
        bool fine = mkdir(path, 0700) == 0 || errno == EEXIST;
        *c = held;
        if (!fine || !held)
            return fine;
    }
}

/* The folder of ours below the one that a variable of the XDG specification names, or below its default at home. */
static kl_status our_folder(char *folder, size_t bytes, const char *variable, const char *below, const char *inner,
                            kl_error *err)
{
    const char *base = getenv(variable), *home = getenv("HOME");
    bool told = base && base[0] == '/';
    if (!told && (!home || home[0] != '/'))
        return kl__fail(err, KL_ERR_IO, "neither %s nor HOME is an absolute path", variable);
    const char *slash = *inner ? "/" : "";
    int n = snprintf(folder, bytes, "%s%s/klinear%s%s", told ? base : home, told ? "" : below, slash, inner);
    if (n < 0 || (size_t)n >= bytes)
        return kl__fail(err, KL_ERR_IO, "the path of %s is too long", variable);
    return make_folders(folder) ? KL_OK
                                : kl__fail(err, KL_ERR_IO, "%s cannot be made: %s", folder, strerror(errno));
}

kl_status ka_state_file(char *path, size_t bytes, const char *name, kl_error *err)
{
    char folder[PATH_MAX];
    KL_TRY(our_folder(folder, sizeof folder, "XDG_STATE_HOME", "/.local/state", "", err));
    int n = snprintf(path, bytes, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= bytes)
        return kl__fail(err, KL_ERR_IO, "the path of the state folder is too long");
    return KL_OK;
}

kl_status ka_cache_folder(char *path, size_t bytes, const char *name, kl_error *err)
{
    return our_folder(path, bytes, "XDG_CACHE_HOME", "/.cache", name, err);
}
