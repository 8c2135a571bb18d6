#include "rows.h"

const struct ka_field ka_row_fields[] = {
#define FIELD(name, kind, heading, width) {#name, KA_FIELD_##kind, heading, width, offsetof(struct ka_row, name)},
#include "rows.def"
#undef FIELD
    {0},
};
