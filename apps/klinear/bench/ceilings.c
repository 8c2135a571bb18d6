#include "ceilings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int find(const struct ka_ceilings *set, enum ka_limit limit, const char *isa, kl_pool *pool, size_t bytes)
{
    for (int i = 0; i < set->n; i++)
        if (set->at[i].limit == limit && strcmp(set->at[i].isa, isa) == 0 && set->at[i].pool == pool &&
            set->at[i].bytes == bytes)
            return i;
    return -1;
}

int ka_want_ceiling(struct ka_ceilings *set, enum ka_limit limit, const char *isa, kl_pool *pool, size_t bytes)
{
    int i = find(set, limit, isa, pool, bytes);
    if (i >= 0 || !ka_ceiling_exists(limit, isa))
        return i;
    if (set->n == set->room) {
        int room = 2 * set->room + 16;
        struct ka_ceiling *more = realloc(set->at, (size_t)room * sizeof *more);
        if (!more)
            return -1;
        set->at = more;
        set->room = room;
    }
    set->at[set->n] = (struct ka_ceiling){.limit = limit, .isa = isa, .pool = pool, .bytes = bytes};
    if (bytes > set->memory_bytes)
        set->memory_bytes = bytes;
    return set->n++;
}

void ka_want_all_ceilings(struct ka_ceilings *set, const struct ka_machine *m, const char *isa, kl_pool *pool)
{
    ka_want_ceiling(set, KA_FMA_F32, isa, pool, 0);
    ka_want_ceiling(set, KA_DOT_BF16, isa, pool, 0);
    ka_want_ceiling(set, KA_FMA_F16, isa, pool, 0);
    for (enum ka_level level = KA_L1; level < KA_LEVELS; level++) {
        size_t bytes = ka_level_bytes(m, level, kl_pool_threads(pool));
        if (bytes == 0)
            continue;
        ka_want_ceiling(set, KA_READ, isa, pool, bytes);
        ka_want_ceiling(set, KA_UPDATE, isa, pool, bytes);
    }
}

bool ka_sample_ceilings(struct ka_ceilings *set, double seconds)
{
    if (set->memory_bytes > set->allocated_bytes) {
        ka_free(set->memory, set->allocated_bytes);
        set->memory = ka_alloc(set->memory_bytes);
        set->allocated_bytes = set->memory ? set->memory_bytes : 0;
        if (!set->memory)
            return false;
    }
    for (int i = 0; i < set->n; i++) {
        /* A pass through DRAM takes long and varies little. */
        if (set->at[i].bytes >= KA_NO_CACHE && set->at[i].n_sample >= 3)
            continue;
        ka_ceiling_sample(&set->at[i], set->memory, seconds);
    }
    return true;
}

double ka_ceiling_value(const struct ka_ceilings *set, int i)
{
    if (i < 0)
        return NAN;
    double copy[KA_SAMPLES];
    memcpy(copy, set->at[i].sample, sizeof copy);
    return ka_median(copy, set->at[i].n_sample);
}

double ka_level_value(const struct ka_ceilings *set, const struct ka_machine *m, enum ka_limit limit, const char *isa,
                      kl_pool *pool, enum ka_level level)
{
    return ka_ceiling_value(set, find(set, limit, isa, pool, ka_level_bytes(m, level, kl_pool_threads(pool))));
}

double ka_compute_value(const struct ka_ceilings *set, const char *isa, kl_pool *pool, kl_dtype dtype)
{
    double f32 = ka_ceiling_value(set, find(set, KA_FMA_F32, isa, pool, 0));
    double dot = ka_ceiling_value(set, find(set, KA_DOT_BF16, isa, pool, 0));
    double f16 = ka_ceiling_value(set, find(set, KA_FMA_F16, isa, pool, 0));
    return dtype == KL_BF16 ? fmax(f32, fmax(dot, f16)) : f32; /* fmax passes over what is not there: NaN */
}

void ka_ceilings_json(struct ka_json *j, const struct ka_ceilings *set, const struct ka_machine *m, const char *isa,
                      kl_pool *pool)
{
    ka_json_open(j, NULL, '{');
    ka_json_text(j, "isa", isa);
    ka_json_integer(j, "threads", kl_pool_threads(pool));
    ka_json_number(j, "fma_f32_gflops", ka_ceiling_value(set, find(set, KA_FMA_F32, isa, pool, 0)));
    ka_json_number(j, "dot_bf16_gflops", ka_ceiling_value(set, find(set, KA_DOT_BF16, isa, pool, 0)));
    ka_json_number(j, "fma_f16_gflops", ka_ceiling_value(set, find(set, KA_FMA_F16, isa, pool, 0)));
    for (enum ka_limit limit = KA_READ; limit <= KA_UPDATE; limit++) {
        ka_json_open(j, limit == KA_READ ? "read_gbps" : "update_gbps", '{');
        for (enum ka_level level = KA_L1; level < KA_LEVELS; level++)
            ka_json_number(j, ka_level_name[level], ka_level_value(set, m, limit, isa, pool, level));
        ka_json_close(j, '}');
    }
    ka_json_close(j, '}');
}

static void print_value(FILE *out, const char *name, double value)
{
    if (isfinite(value))
        fprintf(out, " %s %.*f", name, value < 100 ? 1 : 0, value);
}

void ka_ceilings_text(FILE *out, const struct ka_ceilings *set, const struct ka_machine *m, const char *isa,
                      kl_pool *pool)
{
    int threads = kl_pool_threads(pool);
    fprintf(out, "ceilings of %s on %d thread%s: GFLOP/s", isa, threads, threads == 1 ? "" : "s");
    print_value(out, "f32 FMA", ka_ceiling_value(set, find(set, KA_FMA_F32, isa, pool, 0)));
    print_value(out, "bf16 dot", ka_ceiling_value(set, find(set, KA_DOT_BF16, isa, pool, 0)));
    print_value(out, "f16 FMA", ka_ceiling_value(set, find(set, KA_FMA_F16, isa, pool, 0)));
    for (enum ka_limit limit = KA_READ; limit <= KA_UPDATE; limit++) {
        fprintf(out, "; GB/s %s", limit == KA_READ ? "read" : "update");
        for (enum ka_level level = KA_L1; level < KA_LEVELS; level++)
            print_value(out, ka_level_name[level], ka_level_value(set, m, limit, isa, pool, level));
    }
    fputc('\n', out);
}

void ka_rest_ceilings(struct ka_ceilings *set)
{
    ka_free(set->memory, set->allocated_bytes);
    set->memory = NULL;
    set->allocated_bytes = 0;
}

void ka_free_ceilings(struct ka_ceilings *set)
{
    free(set->at);
    ka_free(set->memory, set->allocated_bytes);
}
