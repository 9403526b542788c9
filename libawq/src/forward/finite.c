/* Where numbers overflow is told where it happens, and not where a loss is found to be none. */
#include "forward/layer.h"

#include <float.h>

awq_status awq__check_finite(const awq__forward *forward, const char *module, const char *what,
                             int64_t count, const float *values)
{
    if (forward->compute->largest_difference(count, values, NULL) <= (double)FLT_MAX)
        return AWQ_OK;
    return awq__not_finite(forward->ctx, module, what);
}

awq_status awq__not_finite(awq_context *ctx, const char *module, const char *what)
{
    return awq__fail(
        ctx, AWQ_ERROR_NUMERIC,
        "%s: its %s are not finite on the tokens that it is run on: its weights are too "
        "large, or numbers in config.json are not the model's",
        module, what);
}
