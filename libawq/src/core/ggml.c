/* Names and sizes of the types in GGUF files. */
#include "core/ggml.h"

#include <string.h>

#define GGML_TYPE(symbol, number, name, block, bytes, dtype) {symbol, name, block, bytes, dtype},
static const awq__ggml_type types[] = {AWQ__GGML_LIST(GGML_TYPE)};
#define TYPES (sizeof types / sizeof *types)

const awq__ggml_type *awq__ggml_type_of(uint32_t id)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].id == id)
            return &types[i];
    return NULL;
}

const awq__ggml_type *awq__ggml_type_by_name(const char *name)
{
    for (size_t i = 0; i < TYPES; i++)
        if (!strcmp(types[i].name, name))
            return &types[i];
    return NULL;
}
