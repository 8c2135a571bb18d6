/** Session files in memory, for those who look for faults in their reading. */
#ifndef KL_ENGINE_SESSION_FILE_H
#define KL_ENGINE_SESSION_FILE_H

#include "engine/engine.h"

/** kl_session_load() of a file that is in memory. */
kl_status kl__session_load_bytes(kl_session **session, kl_engine *engine, const void *data, size_t bytes,
                                 kl_error *err);

/** Makes the checksum of a file in memory right, whatever it holds; shorter than a header: leaves it alone. */
void kl__session_seal(void *data, size_t bytes);

#endif
