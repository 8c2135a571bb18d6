#include "rendering.h"

#include "../cli/input.h"
#include "base/error.h"

#include <string.h>

enum { TEMPLATE_LIMIT = 1 << 20 };

kl_status ka_rendering_of(kl_template *to, const char *name, const kl_tokenizer *t, kl_error *err)
{
    *to = name ? KL_TEMPLATE_KIMI : KL_TEMPLATE_MODEL;
    if (name && strcmp(name, "kimi") != 0) {
        struct ka_input in;
        KL_TRY(ka_read_input(&in, name, TEMPLATE_LIMIT, err));
        kl_status status = kl_chat_check_template((kl_text){in.data, in.bytes}, err);
        ka_free_input(&in);
        KL_TRY(status);
    }
    return kl_chat_check(t, *to, err);
}
