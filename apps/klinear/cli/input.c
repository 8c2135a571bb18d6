#include "input.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_ROOM = 1 << 16 };

bool ka_input_is_typed(void)
{
    return isatty(STDIN_FILENO);
}

void ka_free_input(struct ka_input *in)
{
    free(in->data);
    *in = (struct ka_input){0};
}

static kl_status out_of_memory(kl_error *err, const char *name, size_t bytes)
{
    return kl__fail(err, KL_ERR_MEMORY, "out of memory: %s needs %zu bytes", name, bytes);
}

/* Makes room for `bytes` and the zero. */
static bool grow(struct ka_input *in, size_t bytes)
{
    if (bytes < in->room)
        return true;
    size_t wanted = in->room ? 2 * in->room : FIRST_ROOM;
    while (wanted <= bytes)
        wanted *= 2;
    char *data = realloc(in->data, wanted);
    if (!data)
        return false;
    in->data = data;
    in->room = wanted;
    return true;
}

static kl_status read_all(struct ka_input *in, FILE *file, const char *name, size_t limit, kl_error *err)
{
    for (;;) {
        if (!grow(in, in->bytes + FIRST_ROOM / 2))
            return out_of_memory(err, name, in->bytes);
        size_t n = fread(in->data + in->bytes, 1, in->room - 1 - in->bytes, file);
        in->bytes += n;
        if (in->bytes > limit)
            return kl__fail(err, KL_ERR_IO, "%s has more than %zu bytes", name, limit);
        if (n == 0)
            break;
    }
    if (ferror(file))
        return kl__fail(err, KL_ERR_IO, "%s cannot be read: %s", name, strerror(errno));
    in->data[in->bytes] = 0;
    return KL_OK;
}

kl_status ka_read_input(struct ka_input *in, const char *path, size_t limit, kl_error *err)
{
    bool standard = !path || strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    *in = (struct ka_input){0};
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (!file)
        return kl__fail(err, KL_ERR_IO, "%s cannot be read: %s", name, strerror(errno));
    kl_status status = read_all(in, file, name, limit, err);
    if (!standard)
        fclose(file);
    if (status != KL_OK)
        ka_free_input(in);
    return status;
}

int ka_read_line(struct ka_input *in, FILE *file, const char *name, size_t limit, kl_error *err)
{
    int c;
    in->bytes = 0;
    while ((c = getc_unlocked(file)) != EOF && c != '\n') {
        if (in->bytes == limit) {
            kl__fail(err, KL_ERR_IO, "%s has a line of more than %zu bytes", name, limit);
            return -1;
        }
        if (!grow(in, in->bytes + 1)) {
            out_of_memory(err, name, in->bytes);
            return -1;
        }
        in->data[in->bytes++] = (char)c;
    }
    if (c == EOF && ferror(file)) {
        kl__fail(err, KL_ERR_IO, "%s cannot be read: %s", name, strerror(errno));
        return -1;
    }
    if (!grow(in, in->bytes)) {
        out_of_memory(err, name, in->bytes);
        return -1;
    }
    in->data[in->bytes] = 0;
    return c != EOF || in->bytes > 0;
}
