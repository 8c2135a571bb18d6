/** The plain numbers of a configuration, as files spell them: one list for both formats. */
#ifndef KL_MODEL_CONFIG_KEYS_H
#define KL_MODEL_CONFIG_KEYS_H

#include "model/config.h"

/** Type of a field of kl_config, and how files write it. */
enum kl__key_kind {
    KL__KEY_INT,
    KL__KEY_INT64,
    KL__KEY_FLOAT,
    KL__KEY_BOOL,
    KL__KEY_NOT, /* a bool that files write the other way round (in GGUF as it is) */
};

/** Which models cannot do without the number. */
enum kl__key_need {
    KL__NEEDED_BY_NONE,
    KL__NEEDED_BY_ALL,
    KL__NEEDED_BY_RECURRENT,
    KL__NEEDED_BY_MLA,
    KL__NEEDED_BY_DENSE,
    KL__NEEDED_BY_MOE,
};

struct kl__config_key {
    size_t field; /* offset in kl_config */
    enum kl__key_kind kind;
    enum kl__key_need need;
    const char *hf;   /* names in config.json with '|' between them; the first is written; a.b: member b of a */
    const char *gguf; /* behind "kimi-linear."; NULL: the number follows from others there */
    double min, max;  /* inclusive */
};

enum {
    KL__N_CONFIG_KEY = 35,
    KL__KEY_NAME_BYTES = 80,
};

/** Static storage. */
extern const struct kl__config_key kl__config_key[KL__N_CONFIG_KEY];

/** Number `i` of the '|'-separated names; false past the last. */
bool kl__key_name(char name[KL__KEY_NAME_BYTES], const char *names, int i);
/** The field as a number, and a number into the field. */
double kl__key_get(const kl_config *c, const struct kl__config_key *key);
void kl__key_set(kl_config *c, const struct kl__config_key *key, double value);
/** True when a model with these layers needs the number. */
bool kl__key_needed(const kl_config *c, const struct kl__config_key *key);

/** The mixer called "kda", "mla" and so on; -1: none. */
int kl__mixer_of_name(struct kl__str name);

/** In a number that the file does not tell, until kl__config_settle gives it the value that follows from tensors or
 *  from other numbers. */
enum {
    KL__UNKNOWN = -2,
};
/** Defaults, with everything unknown that settling knows better. */
kl_config kl__config_unknown(void);

/** Reads the text of a config.json, called `path` in sentences.  Numbers that it does not tell stay unknown.
 *  Errors: as kl__config_read. */
kl_status kl__config_of_json(kl_config *c, struct kl__str text, const char *path, kl_error *err);
/** Reads the metadata of a GGUF file, in the same manner. */
kl_status kl__config_of_gguf(kl_config *c, const struct kl__store *store, kl_error *err);
/** Fills in what is unknown: from tensors where `store` is not NULL, else with defaults.  Checks everything. */
kl_status kl__config_settle(kl_config *c, const struct kl__store *store, const char *path, kl_error *err);

#endif
