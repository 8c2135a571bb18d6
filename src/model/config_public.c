/* Reading a configuration alone, from whatever a model may be. */
#include "base/error.h"
#include "model/checkpoint.h"
#include "model/config_keys.h"

static bool ends_in_json(const char *path)
{
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".json") == 0;
}

static kl_status read_json(kl_config *c, const char *path, kl_error *err)
{
    struct kl__map map;
    kl_config new;
    KL_TRY(kl__map_open(&map, path, err));
    kl_status status = kl__config_of_json(&new, (struct kl__str){(const char *)map.data, map.bytes}, path, err);
    kl__map_close(&map);
    KL_TRY(status);
    KL_TRY(kl__config_settle(&new, NULL, path, err));
    *c = new;
    return KL_OK;
}

kl_status kl_config_read(kl_config *config, const char *path, const kl_allocator *alloc, kl_error *err)
{
    struct kl__store *store;
    if (ends_in_json(path))
        return read_json(config, path, err);
    KL_TRY(kl__checkpoint_open(&store, path, alloc, err));
    kl_status status = kl__config_read(config, store, path, err);
    kl__store_close(store);
    return status;
}
