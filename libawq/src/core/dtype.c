/* Names and sizes of element types. */
#include "core/core.h"

#include <string.h>

#define DTYPE_NAME(symbol, name, bits) name,
#define DTYPE_BITS(symbol, name, bits) bits,
static const char *const names[] = {AWQ_DTYPE_LIST(DTYPE_NAME)};
static const int bit_counts[] = {AWQ_DTYPE_LIST(DTYPE_BITS)};

const char *awq_dtype_name(awq_dtype dtype)
{
    return (unsigned)dtype < AWQ_DTYPE_COUNT ? names[dtype] : "?";
}

int awq_dtype_bits(awq_dtype dtype)
{
    return (unsigned)dtype < AWQ_DTYPE_COUNT ? bit_counts[dtype] : 0;
}

awq_dtype awq__dtype_from_name(const char *name)
{
    for (int dtype = 0; dtype < AWQ_DTYPE_COUNT; dtype++)
        if (!strcmp(name, awq_dtype_name((awq_dtype)dtype)))
            return (awq_dtype)dtype;
    return AWQ_DTYPE_COUNT;
}
