/* One JSON string on a line: what comes out is never longer than what went in, and is UTF-8. */
#include "cli/json_line.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *line = malloc(bytes + 1);
    size_t n = 0;
    kl_error err = {0};
    if (!line)
        return 0;
    memcpy(line, data, bytes);
    if (ka_json_line(line, bytes, &n, &err) == KL_OK) {
        if (n + 2 > bytes || !kl__utf8_valid((struct kl__str){line, n}))
            abort();
    } else if (!*err.text)
        abort();
    free(line);
    return 0;
}
