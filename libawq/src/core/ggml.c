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

bool awq__ggml_stored(const awq__ggml_type *type, int rank, const int64_t *shape, awq_dtype *dtype,
                      int64_t *stored)
{
    *dtype = type->dtype;
    for (int i = 0; i < rank; i++)
        stored[i] = shape[i];
    if (type->dtype != AWQ_DTYPE_COUNT)
        return true;
    *dtype = AWQ_U8;
    return !__builtin_mul_overflow(stored[rank - 1] / type->block, type->block_bytes,
                                   &stored[rank - 1]);
}
