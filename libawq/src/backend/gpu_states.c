/* Hidden states on a device. */
#include "backend/gpu.h"

static size_t bytes_of(const awq__states *states)
{
    return (size_t)(states->tokens * states->width) * sizeof(float);
}

void awq__gpu_states_free(awq__states *states)
{
    if (!states)
        return;
    struct awq__gpu_states *device = states->device;
    if (device) {
        awq__gpu_free(device->gpu, device->hidden);
        awq__gpu_free(device->gpu, device->x);
        awq__gpu_free(device->gpu, device->position);
        awq__gpu_free(device->gpu, device->cos_sin);
        awq__free(device);
        states->device = NULL;
    }
    awq__cpu_states_free(states);
}

void awq__gpu_free_host(awq__states *states)
{
    awq__free_aligned(states->hidden);
    awq__free_aligned(states->normed.x);
    awq__free_aligned(states->normed.shared);
    states->hidden = NULL;
    states->normed = (awq__normed){0};
}

/* ---- positions ---- */

static awq_status upload_positions(awq__states *states)
{
    awq_context *ctx = states->forward.ctx;
    const awq__sequences *s = states->forward.sequences;
    struct awq__gpu_states *device = states->device;
    size_t bytes = (size_t)states->tokens * sizeof(int32_t);
    AWQ__CHECK(awq__gpu_alloc(ctx, device->gpu, bytes, "positions", &device->position));
    int32_t *position = awq__alloc(ctx, (size_t)states->tokens, sizeof *position, "positions");
    AWQ__CHECK_ALLOC(position);
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t t = s->offsets[i]; t < s->offsets[i + 1]; t++)
            position[t] = (int32_t)(t - s->offsets[i]);
    device->gpu->run->upload(device->gpu->d, device->position, position, bytes);
    awq__free(position);
    return AWQ_OK;
}

static awq_status upload_rotary(awq__states *states)
{
    struct awq__gpu_states *device = states->device;
    const awq__rotary *rotary = &states->rotary[0];
    size_t bytes = (size_t)(rotary->length * 2 * rotary->pairs) * sizeof(float);
    AWQ__CHECK(awq__gpu_alloc(states->forward.ctx, device->gpu, bytes, "the rotary table",
                              &device->cos_sin));
    if (bytes)
        device->gpu->run->upload(device->gpu->d, device->cos_sin, rotary->cos_sin, bytes);
    return AWQ_OK;
}

/* ---- between host and device ---- */

static awq_status make_host(awq__states *states, float **array)
{
    if (!*array)
        *array = awq__alloc_aligned(states->forward.ctx, bytes_of(states), 1, "hidden states");
    return *array ? AWQ_OK : AWQ_ERROR_MEMORY;
}

awq_status awq__gpu_to_host(awq__states *states)
{
    const struct awq__gpu_states *device = states->device;
    const awq__gpu *gpu = device->gpu;
    AWQ__CHECK(make_host(states, &states->hidden));
    gpu->run->download(gpu->d, states->hidden, device->hidden, bytes_of(states));
    if (device->x_is_latest) {
        AWQ__CHECK(make_host(states, &states->normed.x));
        gpu->run->download(gpu->d, states->normed.x, device->x, bytes_of(states));
    }
    return awq__gpu_finish(states->forward.ctx, gpu);
}

awq_status awq__gpu_make_x(awq__states *states)
{
    struct awq__gpu_states *device = states->device;
    if (device->x)
        return AWQ_OK;
    return awq__gpu_alloc(states->forward.ctx, device->gpu, bytes_of(states), "hidden states",
                          &device->x);
}

awq_status awq__gpu_put_hidden(awq__states *states)
{
    const awq__gpu *gpu = states->device->gpu;
    gpu->run->upload(gpu->d, states->device->hidden, states->hidden, bytes_of(states));
    return awq__gpu_finish(states->forward.ctx, gpu);
}

awq_status awq__gpu_to_device(awq__states *states)
{
    awq_status status = awq__gpu_put_hidden(states);
    awq__gpu_free_host(states);
    return status;
}

/* ---- operations ---- */

static awq_status take_over(awq_context *ctx, awq__states *states)
{
    awq__gpu *gpu = awq__context_device(ctx);
    states->device = awq__alloc(ctx, 1, sizeof *states->device, "hidden states");
    AWQ__CHECK_ALLOC(states->device);
    states->device->gpu = gpu;
    AWQ__CHECK(
        awq__gpu_alloc(ctx, gpu, bytes_of(states), "hidden states", &states->device->hidden));
    AWQ__CHECK(upload_positions(states));
    AWQ__CHECK(upload_rotary(states));
    return awq__gpu_to_device(states);
}

/* The host reads the rows of the embedding that the ids name: few of many. */
awq_status awq__gpu_states_create(awq_context *ctx, const awq_arch_model *model,
                                  const awq__sequences *sequences, const awq__weight *embedding,
                                  awq__states **states)
{
    AWQ__CHECK(awq__cpu_states_create(ctx, model, sequences, embedding, states));
    awq_status status = take_over(ctx, *states);
    if (status == AWQ_OK)
        return AWQ_OK;
    awq__gpu_states_free(*states);
    *states = NULL;
    return status;
}

awq_status awq__gpu_sum_squares(awq__states *states, double *sum)
{
    awq_status status;
    awq__frame f = awq__frame_begin(states->forward.ctx);
    double *total;
    AWQ__TRY(awq__frame_bytes(&f, sizeof *total, "a sum", &total));
    f.run->clear(f.d, total, sizeof *total);
    f.run->add_squared_error(f.d, states->tokens * states->width, states->device->hidden, NULL,
                             total);
    f.run->download(f.d, sum, total, sizeof *total);
done:
    return awq__frame_end(&f, status);
}
