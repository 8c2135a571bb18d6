#include "filework.h"

#include "../cli/amount.h"
#include "../cli/interrupt.h"
#include "../cli/machine.h"

#include <stdio.h>

const struct ka_option ka_filework_options[] = {
    {.name = "type",
     .value = "TYPE",
     .kind = KA_TEXT,
     .field = offsetof(struct ka_filework_choice, type),
     .help = "type of the matrices: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1\n"
             "q4_k q5_k q6_k, or a mixture, q4_k_m or q5_k_m"},
    {.name = "dtype",
     .value = "TYPE",
     .kind = KA_TEXT,
     .field = offsetof(struct ka_filework_choice, type),
     .help = "the same"},
    {.name = "threads",
     .letter = 't',
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct ka_filework_choice, threads),
     .min = 0,
     .max = 1024,
     .help = "threads to use; 0, the default: one per core.\nThe file does not depend on it"},
    {0},
};

/* Progress in MiB: bytes would be too many digits to read. */
static bool show(void *user, int64_t done, int64_t total)
{
    struct ka_filework *w = user;
    ka_progress_set(&w->progress, done >> 20, total >> 20);
    return !ka_interrupted();
}

kl_status ka_filework_begin(struct ka_filework *w, const struct ka_filework_choice *choice, const char *what,
                            kl_error *err)
{
    *w = (struct ka_filework){.started = ka_seconds()};
    kl_status status = kl_pool_open(&w->pool, (int)choice->threads, NULL, err);
    if (status != KL_OK)
        return status;
    w->options = (kl_file_options){.type = choice->type, .pool = w->pool, .progress = show, .user = w};
    ka_catch_interrupts();
    ka_progress_begin(&w->progress, what, "MiB");
    return KL_OK;
}

void ka_filework_end(struct ka_filework *w, kl_status status, const char *path)
{
    ka_progress_end(&w->progress);
    ka_forget_interrupt();
    kl_pool_close(w->pool);
    if (status == KL_OK && path)
        fprintf(stderr, "wrote %s in %s\n", path, ka_duration(ka_seconds() - w->started).text);
}
