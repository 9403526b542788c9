/* Group scales that a format stores in F16 although BF16 would hold them with more digits. */
#include "write/write.h"

#include <stdatomic.h>

/* Below this F16, with steps of 2^-24, has fewer digits than BF16. */
#define SMALL_SCALE 0x1p-16f

static size_t count_small(const awq__codes *codes)
{
    size_t count = 0, groups = (size_t)(codes->rows * (codes->cols / codes->scheme.group));
    awq__scale_grid grid = codes->scheme.grid;
    if (grid != AWQ__GRID_F16 && grid != AWQ__GRID_BF16_F16)
        return 0;
    for (size_t i = 0; i < groups; i++)
        count += codes->scales[i] < SMALL_SCALE;
    return count;
}

void awq__note_small_scales(const awq__writer *writer, size_t index, const awq__codes *codes)
{
    awq__small_scales *small = writer->small_scales;
    size_t count = small ? count_small(codes) : 0;
    if (!count)
        return;
    size_t first = atomic_load(&small->first);
    atomic_fetch_add(&small->count, count);
    while ((!first || index + 1 < first) &&
           !atomic_compare_exchange_weak(&small->first, &first, index + 1))
        continue;
}

/* Does compressed-tensors store these scales in BF16? It uses the type of the weights. */
static awq_status helps(const awq__writer *writer, const awq__module *module, bool *better)
{
    awq__found found;
    awq__scheme scheme = {.bits = 4};
    AWQ__CHECK(awq__model_find(writer->plan->model, module, NULL, &found));
    awq__disk_format_compressed.complete(&scheme, found.weight.dtype);
    *better = scheme.grid == AWQ__GRID_BF16;
    return AWQ_OK;
}

awq_status awq__tell_small_scales(const awq__writer *writer, awq__rules *rules)
{
    const awq__small_scales *small = writer->small_scales;
    bool better;
    if (!small || !small->count)
        return AWQ_OK;
    const awq__module *first = &writer->plan->model->arch->modules[small->first - 1];
    AWQ__CHECK(helps(writer, first, &better));
    return awq__rules_warn(
        writer->ctx, rules,
        "%s: is the first with group scales below 2^-16, of which there are %zu, and where the F16 "
        "of the %s format has fewer digits than BF16%s",
        first->name, (size_t)small->count, writer->plan->format->name,
        better ? "; better: format: compressed-tensors, which stores them in BF16" : "");
}
