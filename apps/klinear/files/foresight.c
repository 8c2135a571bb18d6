#include "foresight.h"

#include "../cli/machine.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/reader.h"

enum {
    PIECES = 48,       /* read from the disk, at most */
    READERS = 8,       /* as many as a run has */
    MOST_PIECE = 4 << 20,
    SWEEP_BYTES = 256 << 20, /* gone through in memory */
    SWEEP_TASKS = 64,
};

/* ---------------------------------------------------------------------------------------------------------- disk -- */

/* Pieces at random places of the largest file, all asked for at once. */
static kl_status time_pieces(double *gbps, struct kl__reader *reader, const struct kl__map *map, size_t bytes,
                             char *room, kl_error *err)
{
    struct kl__read read[PIECES], *list[PIECES];
    int64_t n = (int64_t)(map->bytes / bytes / 2);
    n = n < 1 ? 1 : n > PIECES ? PIECES : n;
    double start = ka_seconds();
    for (int64_t i = 0; i < n; i++) {
        uint64_t part = map->bytes / (uint64_t)n, at = part * (uint64_t)i; /* in turn from every part of the file */
        at = at + bytes > map->bytes ? map->bytes - bytes : at;
        read[i] = (struct kl__read){.at = at, .bytes = bytes, .room = room + (size_t)i * kl__read_room(bytes)};
        list[i] = &read[i];
        kl__reader_start(reader, &read[i]);
    }
    KL_TRY(kl__reader_await(reader, list, n, err));
    *gbps = (double)n * (double)bytes / (ka_seconds() - start) * 1e-9;
    return KL_OK;
}

static kl_status measure_disk(double *gbps, const kl_model *m, size_t bytes, kl_error *err)
{
    const char *path = kl_model_file(m, 0);
    struct kl__map map, other;
    for (int i = 1; kl_model_file(m, i); i++) { /* the first may hold little but headers */
        KL_TRY(kl__map_open(&map, path, err));
        KL_TRY(kl__map_open(&other, kl_model_file(m, i), err));
        path = other.bytes > map.bytes ? kl_model_file(m, i) : path;
        kl__map_close(&map);
        kl__map_close(&other);
    }
    KL_TRY(kl__map_open(&map, path, err));
    bytes = bytes < map.bytes ? bytes : map.bytes;
    struct kl__reader *reader = NULL;
    char *room = ka_alloc(PIECES * kl__read_room(bytes) + KL__READ_ALIGN);
    kl_status status = room ? kl__reader_open(&reader, READERS, NULL, err)
                            : kl__fail(err, KL_ERR_MEMORY, "no memory to measure the disk with");
    if (status == KL_OK)
        status = kl__reader_add(reader, path, &map, err);
    if (status == KL_OK) {
        size_t skew = (KL__READ_ALIGN - (uintptr_t)room % KL__READ_ALIGN) % KL__READ_ALIGN;
        status = time_pieces(gbps, reader, &map, bytes, room + skew, err);
    }
    kl__reader_close(reader);
    if (room)
        ka_free(room, PIECES * kl__read_room(bytes) + KL__READ_ALIGN);
    kl__map_close(&map);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- memory -- */

struct sweep {
    const uint64_t *at;
    uint64_t sum[SWEEP_TASKS];
};

static void sweep_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    struct sweep *s = arg;
    const int64_t n = SWEEP_BYTES / SWEEP_TASKS / (int64_t)sizeof *s->at;
    uint64_t sum[8] = {0};
    for (int64_t i = task * n; i < (task + 1) * n; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += s->at[i + j];
    s->sum[task] = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static kl_status measure_memory(double *gbps, kl_pool *pool, kl_error *err)
{
    uint64_t *memory = ka_alloc(SWEEP_BYTES);
    if (!memory)
        return kl__fail(err, KL_ERR_MEMORY, "no memory to measure the memory with");
    for (size_t i = 0; i < SWEEP_BYTES / sizeof *memory; i += 64)
        memory[i] = i;
    struct sweep s = {.at = memory};
    *gbps = 0;
    for (int round = 0; round < 3; round++) {
        double start = ka_seconds();
        kl__pool_run(pool, SWEEP_TASKS, sweep_task, &s);
        double now = SWEEP_BYTES / (ka_seconds() - start) * 1e-9;
        *gbps = now > *gbps ? now : *gbps;
    }
    ka_free(memory, SWEEP_BYTES);
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------------------- foresight -- */

kl_status ka_foresee(struct ka_foresight *f, const struct ka_loaded *l, const struct ka_choice *choice, int batch,
                     kl_error *err)
{
    *f = (struct ka_foresight){0};
    kl_engine_options options = {.max_batch_tokens = batch};
    KL_TRY(ka_divide_memory(&f->budget, l->model, choice, &options, 0, err));
    if (f->budget.total == 0)
        return KL_OK;
    kl_model_split s = kl_model_split_of(l->model);
    kl_token_cost cost = kl_model_token_cost(l->model, (kl_cache_type)choice->cache);
    int64_t fit = s.n_expert ? (f->budget.weights - s.fixed_bytes) / s.expert_bytes : 0;
    f->experts = s.n_expert;
    f->in_memory = f->budget.whole || fit > s.n_expert ? s.n_expert : fit;
    f->hits = s.n_expert ? (double)f->in_memory / (double)s.n_expert : 1;
    f->disk_bytes = (1 - f->hits) * (double)s.token_experts * (double)s.expert_bytes;
    f->memory_bytes = (double)(cost.fixed_bytes + cost.state_bytes) + (double)s.token_experts * (double)s.expert_bytes;
    KL_TRY(measure_memory(&f->memory_gbps, l->pool, err));
    size_t piece = s.n_expert ? (size_t)s.expert_bytes / 3 : MOST_PIECE;
    KL_TRY(measure_disk(&f->disk_gbps, l->model, piece < MOST_PIECE ? piece : MOST_PIECE, err));
    f->tokens_per_second = 1 / (f->disk_bytes / f->disk_gbps * 1e-9 + f->memory_bytes / f->memory_gbps * 1e-9);
    return KL_OK;
}
