/* Questions that a block answers. */
#include "backend/block.h"

const awq__reader *awq__seen_quantized(const awq__seen *seen)
{
    for (int64_t i = 0; i < seen->reader_count; i++)
        if (seen->readers[i].treatment)
            return &seen->readers[i];
    return NULL;
}

bool awq__bundle_clips(const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->clips)
            return true;
    return false;
}

bool awq__bundle_has_gptq(const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->treatment && bundle->readers[i]->treatment->gptq)
            return true;
    return false;
}
