/* Tensors that all experts of a layer share: each expert writes its slab. */
#include "write/write.h"
#include "core/convert.h"

#include <string.h>

typedef struct fused_job {
    const awq__writer *writer;
    const awq__layer *layer;
    int64_t expert;
    const awq__codes *codes;
    const awq_arch_experts *described;
    awq__fused_spec specs[AWQ__MAX_FUSED];
    int count;
} fused_job;

static size_t slab_bytes(const awq__fused_spec *spec)
{
    size_t bytes = (size_t)awq_dtype_bits(spec->dtype) / 8;
    for (int i = 1; i < spec->rank; i++)
        bytes *= (size_t)spec->shape[i];
    return bytes;
}

static awq_status write_slab(const fused_job *j, int index, const void *slab)
{
    size_t bytes = slab_bytes(&j->specs[index]);
    return awq__output_write_part(j->writer->output, j->specs[index].name,
                                  (size_t)j->expert * bytes, slab, bytes);
}

/* The matrices that share the tensors of gate_up (down false) or of down, and where row n of the
   i-th lies: at first + n * step. */
typedef struct member {
    const awq__module *module;
    const awq__weight *weight;
    int64_t first, step;
} member;

static int members_of(const fused_job *j, bool down, member members[2])
{
    const awq__arch *arch = j->writer->plan->model->arch;
    const awq__expert *expert = &j->layer->moe.experts[j->expert];
    const awq__weight *weights[] = {&expert->gate, &expert->up, &expert->down};
    for (int part = down ? 2 : 0; part < (down ? 3 : 2); part++) {
        member *m = &members[part % 2];
        *m = (member){.module = &arch->modules[awq__arch_index(arch, j->layer->number,
                                                               AWQ__PART_GATE + part, j->expert)],
                      .weight = weights[part],
                      .step = 1};
        if (!down) {
            m->first = part && !j->described->interleaved ? weights[part]->rows : part;
            m->step = j->described->interleaved ? 2 : 1;
        }
    }
    return down ? 1 : 2;
}

/* ---- biases ---- */

static awq_status store_biases(const fused_job *j, bool down, int index)
{
    member members[2];
    const awq__fused_spec *spec = &j->specs[index];
    size_t size = (size_t)awq_dtype_bits(spec->dtype) / 8;
    float *values = awq__alloc(j->writer->ctx, (size_t)spec->shape[1], sizeof *values, spec->name);
    uint8_t *slab = awq__alloc(j->writer->ctx, (size_t)spec->shape[1], size, spec->name);
    awq_status status;
    AWQ__TRY_ALLOC(values && slab);
    int count = members_of(j, down, members);
    for (int i = 0; i < count; i++) {
        const awq__weight *w = members[i].weight;
        for (int64_t n = 0; n < w->rows; n++)
            values[members[i].first + n * members[i].step] = awq__bias_of(w, n);
    }
    AWQ__TRY(
        awq__store_narrow(j->writer->ctx, spec->name, spec->dtype, values, spec->shape[1], slab));
    AWQ__TRY(write_slab(j, index, slab));
done:
    awq__free(values);
    awq__free(slab);
    return status;
}

/* ---- codes ---- */

/* Packs the codes of gate and up, or of down, into slabs with rows in the fused order. */
static awq_status pack_members(const fused_job *j, const member *members, const awq__codes *codes,
                               int count, int index, int part)
{
    awq_context *ctx = j->writer->ctx;
    size_t bytes = slab_bytes(&j->specs[index]);
    size_t row_bytes = bytes / (size_t)j->specs[index].shape[1];
    uint8_t *slab = awq__alloc_host(ctx, bytes, 1, "packed codes");
    uint8_t *packed = awq__alloc_host(ctx, bytes, 1, "packed codes");
    awq_status status;
    AWQ__TRY_ALLOC(slab && packed);
    for (int i = 0; i < count; i++) {
        j->writer->plan->format->pack(&codes[i], part, packed);
        for (int64_t n = 0; n < codes[i].rows; n++)
            memcpy(slab + (size_t)(members[i].first + n * members[i].step) * row_bytes,
                   packed + (size_t)n * row_bytes, row_bytes);
    }
    AWQ__TRY(write_slab(j, index, slab));
done:
    awq__free_aligned(slab);
    awq__free_aligned(packed);
    return status;
}

static awq_status store_packed(const fused_job *j, bool down)
{
    member members[2];
    int count = members_of(j, down, members);
    int parts = (j->count - (j->described->bias ? 2 : 0)) / 2;
    for (int part = 0; part < parts; part++)
        AWQ__CHECK(pack_members(j, members, j->codes + 2 * down, count, down * parts + part, part));
    return j->described->bias ? store_biases(j, down, 2 * parts + down) : AWQ_OK;
}

/* ---- the source's own layout ---- */

static bool changed(const awq__weight *w)
{
    return w->col_scale || w->row_scale || w->bias_scale;
}

static awq_status copy_slab(const fused_job *j, int index)
{
    const awq__tensor *tensor =
        awq__checkpoint_find(j->writer->plan->model->arch->checkpoint, j->specs[index].name);
    size_t bytes = slab_bytes(&j->specs[index]), at = (size_t)j->expert * bytes;
    return awq__output_write_from(j->writer->output, tensor->name, at, tensor, at, bytes);
}

/* Scatters rows [count,K] that begin at `first` of a member into its fused slab. */
static awq_status scatter(const fused_job *j, const member *m, const awq__fused_spec *spec,
                          int64_t first, int64_t count, const float *rows, uint8_t *narrow,
                          uint8_t *slab)
{
    size_t size = (size_t)awq_dtype_bits(spec->dtype) / 8;
    int64_t K = m->weight->cols;
    bool transposed = j->described->layout == AWQ_EXPERTS_FUSED_TRANSPOSED;
    int64_t row_stride = transposed ? 1 : K, col_stride = transposed ? spec->shape[2] : 1;
    AWQ__CHECK(
        awq__store_narrow(j->writer->ctx, m->module->name, spec->dtype, rows, count * K, narrow));
    for (int64_t n = 0; n < count; n++)
        for (int64_t k = 0; k < K; k++) {
            int64_t to = (m->first + (first + n) * m->step) * row_stride + k * col_stride;
            memcpy(slab + (size_t)to * size, narrow + (size_t)(n * K + k) * size, size);
        }
    return AWQ_OK;
}

static awq_status store_floats(const fused_job *j, bool down)
{
    awq_context *ctx = j->writer->ctx;
    const awq__fused_spec *spec = &j->specs[down];
    size_t size = (size_t)awq_dtype_bits(spec->dtype) / 8;
    member members[2];
    int count = members_of(j, down, members);
    size_t work = (size_t)awq__weight_work(members[0].weight);
    float *rows = awq__alloc_host(ctx, work, sizeof *rows, "a changed weight");
    uint8_t *narrow = awq__alloc_host(ctx, work, size, "a changed weight");
    uint8_t *slab = awq__alloc_host(ctx, slab_bytes(spec), 1, "a changed weight");
    awq_status status;
    AWQ__TRY_ALLOC(rows && narrow && slab);
    for (int i = 0; i < count; i++) {
        const awq__weight *w = members[i].weight;
        int64_t block = awq__weight_block(w);
        for (int64_t first = 0; first < w->rows; first += block) {
            int64_t n = awq__min(block, w->rows - first);
            awq__weight_read(awq__compute_of(ctx), w, first, n, rows);
            AWQ__TRY(scatter(j, &members[i], spec, first, n, rows, narrow, slab));
        }
    }
    AWQ__TRY(write_slab(j, down, slab));
    if (j->described->bias)
        AWQ__TRY(store_biases(j, down, 2 + down));
done:
    awq__free_aligned(rows);
    awq__free_aligned(narrow);
    awq__free_aligned(slab);
    return status;
}

static awq_status store_as_source(const fused_job *j)
{
    const awq__expert *expert = &j->layer->moe.experts[j->expert];
    if (!changed(&expert->gate) && !changed(&expert->up) && !changed(&expert->down)) {
        for (int i = 0; i < j->count; i++)
            AWQ__CHECK(copy_slab(j, i));
        return AWQ_OK;
    }
    AWQ__CHECK(store_floats(j, false));
    return store_floats(j, true);
}

awq_status awq__store_fused(const awq__writer *writer, const awq__layer *layer, int64_t expert,
                            const awq__codes *codes)
{
    fused_job j = {.writer = writer,
                   .layer = layer,
                   .expert = expert,
                   .codes = codes,
                   .described = &writer->plan->model->arch->layers[layer->number].experts};
    AWQ__CHECK(awq__result_fused(writer->plan, layer->number, j.specs, &j.count));
    if (awq__result_experts(writer->plan, layer->number) == AWQ__EXPERTS_AS_SOURCE)
        return store_as_source(&j);
    AWQ__CHECK(store_packed(&j, false));
    return store_packed(&j, true);
}
