/* Codes of the readers of a bundle: by GPTQ, or to nearest (RTN). */
#include "backend/cpu.h"
#include "quant/gptq.h"

#include <string.h>

static bool has_gptq(const awq__reader *reader)
{
    return reader->treatment && reader->treatment->gptq;
}

static awq_status create_codes(const awq__block *block, const awq__reader *reader,
                               awq__codes *codes)
{
    const awq__weight *weight = reader->weight;
    AWQ__CHECK(awq__codes_create(block->ctx, weight->rows, weight->cols, &reader->scheme, codes));
    codes->dtype = weight->dtype;
    return AWQ_OK;
}

awq_status awq__cpu_round_weight(const awq__block *block, const awq__reader *reader,
                                 const awq__weight *weight, const awq__range *ranges,
                                 awq__codes *codes)
{
    AWQ__CHECK(create_codes(block, reader, codes));
    if (weight == reader->folded)
        codes->importance = reader->seen->data->importance;
    return awq__codes_round(block->ctx, block->data->compute, weight, ranges, codes);
}

/* Those of the readers first .. end-1, which see the same, that GPTQ rounds. */
static awq_status round_by_gptq(awq__block *block, const awq__bundle *bundle, int first, int end,
                                awq__codes *codes)
{
    awq_status status;
    const awq__reader *reader = bundle->readers[first];
    const awq__gptq_effort effort = {.ranges = AWQ__GPTQ_RANGES,
                                     .sweeps = (int)block->settings->quantize.gptq_sweeps};
    awq__stats whole = {0};
    awq__gptq gptq = {0};
    double damping;
    AWQ__TRY(block->data->steps->gram(block, reader, &whole, &damping));
    AWQ__TRY(awq__gptq_create(block->ctx, block->data->compute, reader->module->name, whole.gram,
                              whole.cols, awq__seen_quantized(reader->seen)->scheme.group, damping,
                              &gptq));
    for (int i = first; i < end; i++) {
        if (!has_gptq(bundle->readers[i]))
            continue;
        AWQ__TRY(create_codes(block, bundle->readers[i], &codes[i]));
        AWQ__TRY(awq__gptq_round_all(block->ctx, block->data->compute, &gptq, &effort,
                                     bundle->readers[i]->folded, &codes[i]));
    }
done:
    awq__gptq_free(&gptq);
    awq__stats_free(&whole);
    return status;
}

static awq_status round_all_by_gptq(awq__block *block, const awq__bundle *bundle, awq__codes *codes)
{
    for (int first = 0, end; first < bundle->count; first = end) {
        bool any = false;
        for (end = first;
             end < bundle->count && bundle->readers[end]->seen == bundle->readers[first]->seen;
             end++)
            any |= has_gptq(bundle->readers[end]);
        if (any)
            AWQ__CHECK(round_by_gptq(block, bundle, first, end, codes));
    }
    return AWQ_OK;
}

/* Those that GPTQ has rounded already too, if `all`. */
static awq_status round_to_nearest(const awq__block *block, const awq__bundle *bundle, bool all,
                                   awq__codes *codes)
{
    for (int i = 0; i < bundle->count; i++) {
        const awq__reader *reader = bundle->readers[i];
        if (!reader->treatment || (!all && has_gptq(reader)))
            continue;
        awq__codes_free(&codes[i]);
        AWQ__CHECK(
            awq__cpu_round_weight(block, reader, reader->folded, reader->data->ranges, &codes[i]));
    }
    return AWQ_OK;
}

awq_status awq__cpu_round(awq__block *block, awq__bundle *bundle, awq__codes *codes)
{
    memset(codes, 0, (size_t)bundle->count * sizeof *codes);
    AWQ__CHECK(round_all_by_gptq(block, bundle, codes));
    AWQ__CHECK(round_to_nearest(block, bundle, false, codes));
    bundle->by_gptq = awq__bundle_has_gptq(bundle);
    if (!bundle->by_gptq || !block->data->steps->error)
        return AWQ_OK;
    AWQ__CHECK(block->data->steps->error(block, bundle, codes, &bundle->gptq_error));
    bundle->by_gptq = bundle->gptq_error <= bundle->error;
    return bundle->by_gptq ? AWQ_OK : round_to_nearest(block, bundle, true, codes);
}

awq_status awq__cpu_round_reader(awq__block *block, const awq__reader *reader, awq__codes *codes)
{
    return awq__cpu_round_weight(block, reader, reader->folded, reader->data->ranges, codes);
}
