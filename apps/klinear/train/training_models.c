/* The model of a run as others see it: samples of text on the way, and files in the end. */
#include "../cli/loaded.h"
#include "../talk/speech.h"
#include "base/error.h"
#include "lossplot.h"
#include "training.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------------- folders -- */

/* Removes a folder of ours that was written for a moment. */
static void remove_folder(const char *folder)
{
    char path[KA_PATH];
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (ka_path(path, folder, e->d_name, NULL) == KL_OK)
            unlink(path); /* refuses . and .. */
    if (d)
        closedir(d);
    rmdir(folder);
}

/* Files go from one folder to another, in the place of those with the same names; others stay there. */
static kl_status move_files(const char *to, const char *from, kl_error *err)
{
    char old[KA_PATH], new[KA_PATH];
    kl_status status = KL_OK;
    DIR *d = opendir(from);
    for (struct dirent *e; status == KL_OK && d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        status = ka_path(old, from, e->d_name, err);
        if (status == KL_OK)
            status = ka_path(new, to, e->d_name, err);
        if (status == KL_OK && rename(old, new) != 0)
            status = kl__fail(err, KL_ERR_IO, "%s cannot be put in its place: %s", new, strerror(errno));
    }
    if (d)
        closedir(d);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- samples -- */

/* Text that goes on where the prompt ends, by the model as it is now. */
static kl_status write_sample(void *user, const char *text, size_t bytes, kl_error *err)
{
    (void)err;
    fwrite(text, 1, bytes, user);
    return KL_OK;
}

static kl_status add_ids(void *user, const int32_t *ids, size_t n)
{
    return ka_add_ids(user, ids, (int64_t)n, NULL);
}

static kl_status speak(struct ka_training *t, struct ka_loaded *l, FILE *out, kl_error *err)
{
    struct ka_speech s = {0};
    const struct ka_sampling_choice choice = {.temperature = 0.8, .top_p = 0.95, .repetition = 1, .seed = 1};
    KL_TRY(ka_load_tokenizer(l, err));
    kl_status status = ka_speech_open(&s, l, &choice, 0, err);
    if (status == KL_OK)
        status = kl_tokenize_each(add_ids, &s.pending, l->tokenizer, kl_text_of(t->r->prompt), KL_MARKUP_PLAIN, err);
    if (status == KL_OK)
        status = ka_speech_read(&s, err);
    fprintf(out, "--- after step %lld\n%s", (long long)t->step, t->r->prompt);
    if (status == KL_OK)
        status = ka_speech_write(&s, t->r->sample_tokens, write_sample, out, NULL, err);
    if (status == KL_ERR_NUMERIC)
        fprintf(out, " (%s)", err->text);
    fputs("\n\n", out);
    ka_speech_close(&s);
    return status;
}

/* Tokens of a prompt that are read at once: few, since this memory comes on top of the trainer's. */
enum { SAMPLE_BATCH = 64 };

kl_status ka_training_sample(struct ka_training *t, kl_error *err)
{
    char folder[KA_PATH], path[KA_PATH];
    struct ka_loaded l;
    KL_TRY(ka_path(folder, t->r->output, ".sample", err));
    KL_TRY(ka_path(path, t->r->output, "samples.txt", err));
    remove_folder(folder);
    KL_TRY(kl_trainer_export(t->trainer, folder, t->r->tokenizer, NULL, err));
    FILE *out = fopen(path, "a");
    kl_status status = out ? KL_OK : kl__fail(err, KL_ERR_IO, "%s cannot be written: %s", path, strerror(errno));
    if (status == KL_OK)
        status =
            ka_load(&l, &(struct ka_choice){.model = folder, .threads = t->r->threads, .isa = 3}, SAMPLE_BATCH, err);
    if (status == KL_OK) {
        status = speak(t, &l, out, err);
        ka_unload(&l);
    }
    if (out)
        fclose(out);
    remove_folder(folder);
    return status;
}

kl_status ka_training_cut_samples(const struct ka_training *t, kl_error *err)
{
    char path[KA_PATH], line[256];
    long long step;
    long at = 0;
    bool later = false;
    KL_TRY(ka_path(path, t->r->output, "samples.txt", err));
    FILE *in = fopen(path, "r");
    if (!in && errno == ENOENT)
        return KL_OK;
    for (bool begins = true; in && !later && (at = ftell(in)) >= 0 && fgets(line, sizeof line, in);
         begins = strchr(line, '\n') != NULL)
        later = begins && sscanf(line, "--- after step %lld", &step) == 1 && step > t->step;
    bool fine = in && !ferror(in) && (!later || truncate(path, at) == 0);
    if (!fine)
        kl__fail(err, KL_ERR_IO, "%s cannot be cut: %s", path, strerror(errno));
    if (in)
        fclose(in);
    return fine ? KL_OK : KL_ERR_IO;
}

/* ------------------------------------------------------------------------------------------------------- the end -- */

/* The model as it is now, complete before it takes the place of one that an earlier run of as many steps left there. */
static kl_status put_model(const struct ka_training *t, const char *folder, kl_error *err)
{
    char fresh[KA_PATH];
    KL_TRY(ka_path(fresh, t->r->output, ".model", err));
    remove_folder(fresh);
    KL_TRY(kl_trainer_export(t->trainer, fresh, t->r->tokenizer, NULL, err));
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return kl__fail(err, KL_ERR_IO, "%s cannot be made: %s", folder, strerror(errno));
    KL_TRY(move_files(folder, fresh, err));
    remove_folder(fresh);
    return KL_OK;
}

/* WHAT-STEP and WHAT-STEP-TYPE.gguf.  The trainer is closed. */
static kl_status write_model(struct ka_training *t, const char *what, kl_error *err)
{
    char folder[KA_PATH], gguf[KA_PATH], name[64];
    snprintf(name, sizeof name, "%s-%lld", what, (long long)t->step);
    KL_TRY(ka_path(folder, t->r->output, name, err));
    snprintf(name, sizeof name, "%s-%lld-%.16s.gguf", what, (long long)t->step, t->r->type);
    KL_TRY(ka_path(gguf, t->r->output, name, err));
    KL_TRY(put_model(t, folder, err));
    kl_trainer_close(t->trainer); /* converting takes memory of its own: the peak is that of the steps */
    t->trainer = NULL;
    KL_TRY(kl_model_to_gguf(gguf, folder, &(kl_file_options){.type = t->r->type, .pool = t->pool}, err));
    fprintf(stderr, "wrote %s and %s\n", folder, gguf);
    return KL_OK;
}

kl_status ka_training_finish(struct ka_training *t, kl_error *err)
{
    char log[KA_PATH], svg[KA_PATH];
    const char *const logs[] = {log}, *const names[] = {t->r->output};
    KL_TRY(ka_path(log, t->r->output, "log.csv", err));
    KL_TRY(ka_path(svg, t->r->output, "loss.svg", err));
    KL_TRY(ka_loss_plot(svg, logs, names, 1, err));
    fprintf(stderr, "wrote %s\n", svg);
    return write_model(t, "model", err);
}

kl_status ka_training_finish_best(struct ka_training *t, kl_error *err)
{
    return write_model(t, "best", err);
}
