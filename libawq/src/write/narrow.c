/* Floats as the type that they are stored as. */
#include "core/convert.h"
#include "write/write.h"

#include <math.h>

awq_status awq__store_narrow(awq_context *ctx, const char *name, awq_dtype dtype,
                             const float *values, int64_t count, void *stored)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(awq__round_to_dtype(dtype, values[i])))
            return awq__fail(ctx, AWQ_ERROR_NUMERIC,
                             "%s: a folded weight of %g does not fit its stored type %s", name,
                             (double)values[i], awq_dtype_name(dtype));
    return awq__narrow(ctx, dtype, values, (size_t)count, stored);
}
