#include "loaded.h"

#include "base/error.h"
#include "budget.h"
#include "interrupt.h"
#include "machine.h"
#include "places.h"

#include <stdio.h>

static const char *const isa_name[] = {"ref", "avx2", "avx512", "native", NULL};
static const char *const cache_name[] = {
    [KL_CACHE_BF16] = "bf16",
    [KL_CACHE_F32] = "f32",
    [KL_CACHE_Q8_0] = "q8_0",
    NULL,
};

static const char *const arithmetic_name[] = {"fast", "exact", NULL};
static const char *const weights_name[] = {"packed", "mapped", "cached", NULL};

const struct ka_option ka_choice_options[] = {
    {.name = "model",
     .letter = 'm',
     .value = "MODEL",
     .kind = KA_TEXT,
     .field = offsetof(struct ka_choice, model),
     .help = "a folder in Hugging Face layout, or a GGUF file;\ndefault: the model that comes with the program"},
    {.name = "threads",
     .letter = 't',
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct ka_choice, threads),
     .min = 0,
     .max = 1024,
     .help = "threads to use; 0, the default: one per core.\nThe results do not depend on it"},
    {.name = "cache-type",
     .value = "TYPE",
     .kind = KA_WORD,
     .field = offsetof(struct ka_choice, cache),
     .words = cache_name,
     .help = "numbers of the latent cache: bf16, f32, q8_0"},
    {.name = "memory",
     .value = "BYTES",
     .kind = KA_NUMBER,
     .field = offsetof(struct ka_choice, memory),
     .min = 0,
     .max = (int64_t)1 << 50,
     .help = "most memory for the whole process; K, M and G count 1024s.\n"
             "Routed experts that find no room are read from the disk when\n"
             "they are chosen.  0, the default: what the machine has"},
    {.name = "cache-memory",
     .value = "BYTES",
     .kind = KA_NUMBER,
     .field = offsetof(struct ka_choice, cache_memory),
     .min = 0,
     .max = (int64_t)1 << 50,
     .help = "most memory for the latent cache; 0, the default: an eighth of\n"
             "--memory, and without that what the machine has"},
    {.name = "isa",
     .value = "SET",
     .kind = KA_WORD,
     .field = offsetof(struct ka_choice, isa),
     .words = isa_name,
     .help = "highest instruction set to use: ref (plain C), avx2, avx512,\nnative (the default)"},
    {.name = "arithmetic",
     .value = "HOW",
     .kind = KA_WORD,
     .field = offsetof(struct ka_choice, arithmetic),
     .words = arithmetic_name,
     .help = "products with quantised weights: fast rounds activations to\n8 or 16 bits, exact keeps them in f32"},
    {.name = "weights",
     .value = "HOW",
     .kind = KA_WORD,
     .field = offsetof(struct ka_choice, weights),
     .words = weights_name,
     .help = "packed (the default, where memory allows): copied once into the\n"
             "layout of the fastest products, while the first tokens are written;\n"
             "mapped: used as they lie in the file;\n"
             "cached: packed, and kept in ~/.cache/klinear/packs for the next time.\n"
             "The results do not depend on it"},
    {.name = "biased-router",
     .kind = KA_FLAG,
     .field = offsetof(struct ka_choice, biased_router),
     .help = "weigh experts with the correction bias, as the remote code of the\nrelease does, to compare with it"},
    {0},
};

static kl_status open_model(struct ka_loaded *l, const struct ka_choice *choice, kl_error *err)
{
    if (choice->model)
        snprintf(l->path, sizeof l->path, "%s", choice->model);
    else
        KL_TRY(ka_bundled_model(l->path, sizeof l->path, err));
    KL_TRY(kl_pool_open(&l->pool, (int)choice->threads, NULL, err));
    KL_TRY(kl_backend_open(&l->backend, &(kl_backend_options){.isa = isa_name[choice->isa], .pool = l->pool}, err));
    kl_model_options model = {.backend = l->backend, .router_weight_biased = choice->biased_router,
                              .exact = choice->arithmetic == 1};
    return kl_model_open(&l->model, l->path, &model, err);
}

/* A disk that is full is no reason to stop: the model is packed all the same. */
static kl_status pack_in_cache(struct ka_loaded *l, kl_error *err)
{
    char folder[4096];
    bool found;
    KL_TRY(ka_cache_folder(folder, sizeof folder, "packs", err));
    kl_status status = kl_model_pack_in(l->model, folder, &found, err);
    if (status != KL_ERR_IO)
        return status;
    fprintf(stderr, "klinear: packed weights are not kept: %s\n", err->text);
    return KL_OK;
}

/* A copy of the weights has to leave room for everything else. */
static kl_status pack(struct ka_loaded *l, const struct ka_choice *choice, kl_error *err)
{
    size_t free_bytes = ka_machine(0).memory_free_bytes;
    if (choice->weights == KA_WEIGHTS_MAPPED ||
        (size_t)kl_model_packed_bytes(l->model) > free_bytes - free_bytes / 4)
        return KL_OK;
    if (choice->weights == KA_WEIGHTS_CACHED)
        return pack_in_cache(l, err);
    l->more_to_pack = choice->packs_later;
    return choice->packs_later ? KL_OK : kl_model_pack(l->model, err);
}

void ka_pack_more(struct ka_loaded *l, double seconds)
{
    l->pack_seconds += seconds;
    while (l->more_to_pack && l->pack_seconds > 0) {
        double start = ka_seconds();
        if (kl_model_pack_some(l->model, 1, &l->more_to_pack, NULL) != KL_OK)
            l->more_to_pack = false;
        l->pack_seconds -= ka_seconds() - start;
    }
}

static kl_status open_engine(struct ka_loaded *l, const struct ka_choice *choice, kl_engine_options *options,
                             int64_t beside, kl_error *err)
{
    struct ka_budget b;
    options->cache_type = (kl_cache_type)choice->cache;
    KL_TRY(ka_divide_memory(&b, l->model, choice, options, beside, err));
    KL_TRY(b.whole ? pack(l, choice, err) : kl_model_limit(l->model, b.weights, err));
    options->cache_bytes = b.cache;
    return kl_engine_open(&l->engine, l->model, options, err);
}

kl_status ka_load_model(struct ka_loaded *l, const struct ka_choice *choice, kl_error *err)
{
    double start = ka_seconds();
    *l = (struct ka_loaded){0};
    kl_status status = open_model(l, choice, err);
    l->seconds = ka_seconds() - start;
    if (status != KL_OK)
        ka_unload(l);
    return status;
}

kl_status ka_load(struct ka_loaded *l, const struct ka_choice *choice, int batch, kl_error *err)
{
    double start = ka_seconds();
    kl_status status = ka_load_model(l, choice, err);
    if (status == KL_OK)
        status = ka_load_engine(l, choice, &(kl_engine_options){.max_batch_tokens = batch}, 0, err);
    l->seconds = ka_seconds() - start;
    return status;
}

kl_status ka_load_engine(struct ka_loaded *l, const struct ka_choice *choice, kl_engine_options *options,
                         int64_t beside, kl_error *err)
{
    double start = ka_seconds();
    kl_status status = open_engine(l, choice, options, beside, err);
    l->seconds += ka_seconds() - start;
    if (status != KL_OK)
        ka_unload(l);
    return status;
}

kl_status ka_load_tokenizer(struct ka_loaded *l, kl_error *err)
{
    double start = ka_seconds();
    KL_TRY(kl_tokenizer_open(&l->tokenizer, l->path, NULL, err));
    int64_t tokens = kl_tokenizer_n_vocab(l->tokenizer), rows = kl_model_config(l->model)->n_vocab;
    if (tokens > rows)
        return kl__fail(err, KL_ERR_FORMAT, "%s: the tokenizer has %lld tokens, expected at most the %lld of the model",
                        l->path, (long long)tokens, (long long)rows);
    l->seconds += ka_seconds() - start;
    return KL_OK;
}

static bool interrupted(void *user)
{
    (void)user;
    return ka_interrupted();
}

void ka_stop_when_interrupted(struct ka_loaded *l)
{
    kl_engine_stop_when(l->engine, interrupted, NULL);
}

void ka_unload(struct ka_loaded *l)
{
    kl_tokenizer_close(l->tokenizer);
    kl_engine_close(l->engine);
    kl_model_close(l->model);
    kl_backend_close(l->backend);
    kl_pool_close(l->pool);
    l->tokenizer = NULL;
    l->engine = NULL;
    l->model = NULL;
    l->backend = NULL;
    l->pool = NULL;
}
