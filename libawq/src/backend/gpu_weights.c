/*
 * Stored matrices on a device. They cross once: BF16 and MXFP4 as they are, which BF16 holds
 * exactly, all else as F32.
 */
#include "backend/gpu.h"
#include "core/convert.h"

#include <string.h>

/* ---- the table ---- */

static size_t place_of(const awq__gpu *gpu, const void *key)
{
    size_t at = (size_t)awq__hash(AWQ__HASH_SEED, &key, sizeof key) & (gpu->capacity - 1);
    while (gpu->matrices[at].key && gpu->matrices[at].key != key)
        at = (at + 1) & (gpu->capacity - 1);
    return at;
}

static awq_status make_room(awq_context *ctx, awq__gpu *gpu)
{
    if (2 * (gpu->matrix_count + 1) <= gpu->capacity)
        return AWQ_OK;
    awq__gpu grown = *gpu;
    grown.capacity = gpu->capacity ? 2 * gpu->capacity : 256;
    grown.matrices = awq__alloc(ctx, grown.capacity, sizeof *grown.matrices, "weights of a device");
    AWQ__CHECK_ALLOC(grown.matrices);
    for (size_t i = 0; i < gpu->capacity; i++)
        if (gpu->matrices[i].key)
            grown.matrices[place_of(&grown, gpu->matrices[i].key)] = gpu->matrices[i];
    awq__free(gpu->matrices);
    *gpu = grown;
    return AWQ_OK;
}

/* Those that would not be found any more behind the empty place move up. */
static void close_gap(awq__gpu *gpu, size_t gap)
{
    for (size_t at = (gap + 1) & (gpu->capacity - 1); gpu->matrices[at].key;
         at = (at + 1) & (gpu->capacity - 1)) {
        awq__gpu_matrix moved = gpu->matrices[at];
        gpu->matrices[at].key = NULL;
        gpu->matrices[place_of(gpu, moved.key)] = moved;
    }
}

/* ---- crossing ---- */

typedef struct crossing {
    const awq__weight *weight;
    const awq__compute *compute;
    bool narrow; /* to BF16 */
    char *out;   /* host */
    awq__scratch scratch;
} crossing;

static bool is_mxfp4(const awq__weight *weight)
{
    return weight->scales && weight->scale_dtype == AWQ_F8_E8M0 && weight->bits == 4 &&
           weight->group == 32 && weight->dtype == AWQ_BF16 && !weight->blocks;
}

/* Does BF16 hold its values as they are? */
static bool fits_bf16(const awq__weight *weight)
{
    bool plain = !weight->scales && !weight->blocks && !weight->bits && !weight->fp8.rows;
    return (plain && weight->dtype == AWQ_BF16) || is_mxfp4(weight);
}

/* Stored rows, one after the other, as they are on the device. */
static bool is_straight(const awq__weight *weight)
{
    awq__weight bare = *weight;
    bare.row_scale = bare.col_scale = NULL;
    return awq__weight_is_plain(&bare) && (bare.dtype == AWQ_BF16 || bare.dtype == AWQ_F32);
}

/* A block of rows: a task. */
static awq_status read_block(void *arg, int64_t index, int worker)
{
    crossing *c = arg;
    const awq__weight *weight = c->weight;
    int64_t K = weight->cols, block = awq__weight_block(weight), first = index * block;
    int64_t count = awq__min(block, weight->rows - first);
    if (!c->narrow) {
        weight->read(weight, first, count, (float *)(void *)c->out + first * K);
        return AWQ_OK;
    }
    float *work = awq__scratch_get(&c->scratch, worker, (size_t)awq__weight_work(weight));
    AWQ__CHECK_ALLOC(work);
    weight->read(weight, first, count, work);
    return awq__narrow(NULL, AWQ_BF16, work, (size_t)(count * K), c->out + 2 * first * K);
}

/* Reads the weight without multipliers into host memory of what it is on the device. */
static awq_status read_weight(awq__frame *frame, crossing *c)
{
    awq_status status;
    int64_t blocks = awq__ceil_div(c->weight->rows, awq__weight_block(c->weight));
    AWQ__TRY(awq__scratch_create(frame->ctx, "weights", &c->scratch));
    AWQ__TRY(awq__parallel_scratch(&c->scratch, (size_t)awq__weight_work(c->weight), blocks,
                                   read_block, c));
done:
    awq__scratch_free(&c->scratch);
    return status;
}

static awq_status upload_read(awq__frame *frame, const awq__weight *weight, size_t bytes,
                              void *array)
{
    awq_status status;
    crossing c = {.weight = weight, .narrow = fits_bf16(weight)};
    c.out = awq__alloc_host(frame->ctx, bytes, 1, "weights on their way to a device");
    AWQ__TRY_ALLOC(c.out);
    AWQ__TRY(read_weight(frame, &c));
    frame->run->upload(frame->d, array, c.out, bytes);
done:
    awq__free_aligned(c.out);
    return status;
}

static awq_status upload_mxfp4(awq__frame *frame, const awq__weight *weight, void *array)
{
    size_t count = (size_t)(weight->rows * weight->cols), kept = frame->count;
    const uint8_t *blocks, *scales;
    AWQ__CHECK(awq__frame_copy(frame, weight->data, count / 2, &blocks));
    AWQ__CHECK(awq__frame_copy(frame, weight->scales, count / 32, &scales));
    frame->run->decode_mxfp4(frame->d, weight->rows, weight->cols, blocks, scales, array);
    awq__frame_back(frame, kept);
    return AWQ_OK;
}

static size_t bytes_of(const awq__weight *weight)
{
    return (size_t)(weight->rows * weight->cols) * (fits_bf16(weight) ? 2 : 4);
}

static awq_status cross(awq__frame *frame, const awq__weight *weight, void *array)
{
    if (is_straight(weight))
        frame->run->upload(frame->d, array, weight->data, bytes_of(weight));
    else if (is_mxfp4(weight) && weight->row_stride == 1)
        return upload_mxfp4(frame, weight, array);
    else
        return upload_read(frame, weight, bytes_of(weight), array);
    return AWQ_OK;
}

static awq__device_matrix bare_matrix(const awq__weight *weight, const void *data)
{
    return (awq__device_matrix){.rows = weight->rows,
                                .cols = weight->cols,
                                .type = fits_bf16(weight) ? AWQ__DEVICE_BF16 : AWQ__DEVICE_F32,
                                .data = data};
}

/* ---- what others call ---- */

static awq_status add_vectors(awq__frame *frame, const awq__weight *weight,
                              awq__device_matrix *matrix)
{
    AWQ__CHECK(awq__frame_vector(frame, weight->row_scale, weight->rows, &matrix->row_scale));
    AWQ__CHECK(awq__frame_vector(frame, weight->col_scale, weight->cols, &matrix->col_scale));
    AWQ__CHECK(awq__frame_vector(frame, weight->bias, weight->rows, &matrix->bias));
    return awq__frame_vector(frame, weight->bias_scale, weight->rows, &matrix->bias_scale);
}

static awq_status insert(awq__frame *frame, const awq__weight *weight, size_t *at)
{
    awq__gpu *gpu = frame->gpu;
    void *array;
    AWQ__CHECK(make_room(frame->ctx, gpu));
    AWQ__CHECK(awq__gpu_alloc(frame->ctx, gpu, bytes_of(weight), weight->name, &array));
    awq_status status = cross(frame, weight, array);
    if (status != AWQ_OK)
        awq__gpu_free(gpu, array);
    AWQ__CHECK(status);
    *at = place_of(gpu, weight->data);
    gpu->matrices[*at] = (awq__gpu_matrix){weight->data, bare_matrix(weight, array)};
    gpu->matrix_count++;
    return AWQ_OK;
}

awq_status awq__gpu_matrix_of(awq__frame *frame, const awq__weight *weight,
                              awq__device_matrix *matrix)
{
    awq__gpu *gpu = frame->gpu;
    size_t at = 0;
    if (gpu->capacity)
        at = place_of(gpu, weight->data);
    if (!gpu->capacity || !gpu->matrices[at].key)
        AWQ__CHECK(insert(frame, weight, &at));
    *matrix = gpu->matrices[at].matrix;
    return add_vectors(frame, weight, matrix);
}

awq_status awq__gpu_matrix_once(awq__frame *frame, const awq__weight *weight,
                                awq__device_matrix *matrix)
{
    void *array;
    AWQ__CHECK(awq__frame_bytes(frame, bytes_of(weight), weight->name, &array));
    AWQ__CHECK(cross(frame, weight, array));
    *matrix = bare_matrix(weight, array);
    return add_vectors(frame, weight, matrix);
}

void awq__gpu_forget(awq__gpu *gpu, const awq__weight *weight)
{
    size_t at = gpu->capacity && weight->data ? place_of(gpu, weight->data) : 0;
    if (!gpu->capacity || !weight->data || !gpu->matrices[at].key)
        return;
    union {
        const void *given;
        void *array;
    } data = {gpu->matrices[at].matrix.data};
    awq__gpu_free(gpu, data.array);
    gpu->matrices[at].key = NULL;
    gpu->matrix_count--;
    close_gap(gpu, at);
}

void awq__gpu_layer_end(awq_context *ctx, const awq__layer *layer)
{
    awq__gpu *gpu = awq__context_device(ctx);
    const awq__attention *a = &layer->attention;
    const awq__moe *moe = &layer->moe;
    const awq__weight *others[] = {&a->q, &a->k, &a->v, &a->o, &moe->router, &moe->token_gate};
    if (!gpu)
        return;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        awq__gpu_forget(gpu, others[i]);
    for (int64_t e = 0; e < moe->expert_count && moe->experts; e++) {
        awq__gpu_forget(gpu, &moe->experts[e].gate);
        awq__gpu_forget(gpu, &moe->experts[e].up);
        awq__gpu_forget(gpu, &moe->experts[e].down);
    }
}

void awq__gpu_forget_all(awq__gpu *gpu)
{
    awq__free(gpu->matrices);
    gpu->matrices = NULL;
    gpu->matrix_count = gpu->capacity = 0;
}
