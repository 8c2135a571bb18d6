#include "support/tiny.h"

#include <stdio.h>
#include <unistd.h>

const char *kt_made(const char *name, const kl_config *config, const char *type)
{
    const char *p = kt_path(name);
    if (access(p, R_OK) != 0)
        KT_OK(kl_model_init(p, config, 1, &(kl_file_options){.type = type}, KT_ERR));
    return p;
}

const char *kt_tiny(const char *type)
{
    char name[32];
    snprintf(name, sizeof name, "tiny-%s.gguf", type);
    kl_config c;
    KT_OK(kl_config_preset(&c, "tiny", KT_ERR));
    return kt_made(name, &c, type);
}

const char *kt_best_level(void)
{
    int i = 0;
    while (kt_level(i + 1))
        i++;
    return kt_level(i);
}

struct kt_engine kt_open_engine(const char *p, int n_thread, const kl_engine_options *options)
{
    return kt_open_engine_at(kt_best_level(), p, n_thread, options);
}

struct kt_engine kt_open_engine_at(const char *level, const char *p, int n_thread, const kl_engine_options *options)
{
    struct kt_engine e;
    KT_OK(kl_model_open(&e.model, p, &(kl_model_options){.backend = kt_backend(level, n_thread)}, KT_ERR));
    KT_OK(kl_engine_open(&e.engine, e.model, options, KT_ERR));
    e.n_vocab = kl_model_config(e.model)->n_vocab;
    return e;
}

void kt_close_engine(struct kt_engine *e)
{
    kl_engine_close(e->engine);
    kl_model_close(e->model);
    *e = (struct kt_engine){0};
}

int32_t *kt_tokens(kt_rng *r, int64_t n, int n_vocab)
{
    int32_t *token = kt_bytes((size_t)n * sizeof *token);
    for (int64_t i = 0; i < n; i++)
        token[i] = (int32_t)kt_below(r, n_vocab);
    return token;
}
