/* Codes on a device, and rounding to nearest (RTN). */
#include "backend/gpu.h"

static size_t count_of(const awq__reader *reader)
{
    return (size_t)(reader->weight->rows * reader->weight->cols);
}

static size_t groups_of(const awq__reader *reader)
{
    return count_of(reader) / (size_t)reader->scheme.group;
}

awq_status awq__gpu_codes_create(awq__frame *f, const awq__reader *reader, awq__gpu_codes *c)
{
    size_t groups = groups_of(reader);
    AWQ__CHECK(awq__frame_bytes(f, count_of(reader), "codes", &c->codes));
    AWQ__CHECK(awq__frame_bytes(f, groups, "zero points", &c->zeros));
    AWQ__CHECK(awq__frame_bytes(f, groups * sizeof *c->scales, "scales", &c->scales));
    AWQ__CHECK(awq__frame_bytes(f, sizeof *c->bad, "a count", &c->bad));
    f->run->clear(f->d, c->bad, sizeof *c->bad);
    return AWQ_OK;
}

awq_status awq__gpu_to_nearest(awq__frame *f, const awq__block *block, const awq__reader *reader,
                               const awq__gpu_codes *c)
{
    const awq__device_scheme scheme = awq__gpu_scheme(&reader->scheme);
    const float *ranges = block->data->device->ranges[reader - block->readers];
    awq__device_matrix matrix;
    size_t kept = f->count;
    AWQ__CHECK(awq__gpu_matrix_of(f, reader->folded, &matrix));
    f->run->quantize(f->d, &matrix, &scheme, reader->bundle->clipped ? ranges : NULL, c->codes,
                     c->scales, c->zeros, c->bad);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

awq_status awq__gpu_codes_read(awq__frame *f, const awq__reader *reader, const awq__gpu_codes *from,
                               awq__codes *codes)
{
    size_t groups = groups_of(reader);
    int32_t bad = 0;
    f->run->download(f->d, codes->codes, from->codes, count_of(reader));
    f->run->download(f->d, codes->scales, from->scales, groups * sizeof *codes->scales);
    f->run->download(f->d, codes->zeros, from->zeros, groups);
    f->run->download(f->d, &bad, from->bad, sizeof bad);
    AWQ__CHECK(awq__gpu_finish(f->ctx, f->gpu));
    return bad ? awq__fail(f->ctx, AWQ_ERROR_NUMERIC,
                           "%s: a group scale does not fit its stored type, %s",
                           reader->weight->name, awq__scale_type(&reader->scheme))
               : AWQ_OK;
}
