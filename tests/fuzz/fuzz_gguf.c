#include "fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    return fuzz_store("fuzz.gguf", data, bytes);
}
