/* The proof on a device: as cpu_proof.c has it. */
#include "backend/gpu.h"

#include <math.h>

/* ---- the sample ---- */

awq_status awq__gpu_proof_sample(awq__frame *f, awq__block *block)
{
    awq_status status;
    const awq__states *states = block->states;
    struct awq__gpu_block *device = block->data->device;
    int64_t T = states->tokens, stride = awq__ceil_div(T, AWQ__SAMPLE_TOKENS);
    int64_t count = awq__ceil_div(T, stride), H = states->width;
    const int32_t *index;
    int32_t *host = awq__alloc(f->ctx, (size_t)count, sizeof *host, "the proof");
    AWQ__TRY_ALLOC(host);
    for (int64_t i = 0; i < count; i++)
        host[i] = (int32_t)(i * stride);
    AWQ__TRY(awq__frame_copy(f, host, (size_t)count * sizeof *host, &index));
    AWQ__TRY(awq__gpu_alloc(f->ctx, f->gpu, (size_t)(count * H) * sizeof(float), "the proof",
                            &device->sample));
    f->run->gather(f->d, count, H, index, states->device->hidden, device->sample);
    device->sampled = count;
done:
    awq__free(host);
    return status;
}

/* ---- the experts ---- */

static awq_status run_experts(awq__frame *f, const awq__block *block, const awq__layer *layer,
                              awq__proof_output *o)
{
    const struct awq__gpu_block *device = block->data->device;
    int64_t T = device->sampled, floats = T * layer->hidden;
    size_t bytes = (size_t)floats * sizeof(float), kept = f->count;
    float *x, *out;
    o->out = awq__alloc_aligned(f->ctx, (size_t)floats, sizeof *o->out, "the proof");
    AWQ__CHECK_ALLOC(o->out);
    AWQ__CHECK(awq__frame_floats(f, floats, "the proof", &x));
    AWQ__CHECK(awq__frame_floats(f, floats, "the proof", &out));
    f->run->clear(f->d, out, bytes);
    AWQ__CHECK(awq__gpu_moe_input(f, layer, T, device->sample, x));
    AWQ__CHECK(awq__gpu_moe_route(f, &block->states->forward, layer, T, x, &o->routes));
    AWQ__CHECK(awq__gpu_moe_experts(f, layer, x, &o->routes, out, NULL));
    f->run->download(f->d, o->out, out, bytes);
    awq__frame_back(f, kept);
    return awq__gpu_finish(f->ctx, f->gpu);
}

/* Of the sample, with norm and router as they will be stored. */
static awq_status route_stored(awq__frame *f, const awq__block *block, const awq__layer *stored,
                               const awq__routes *before, double *agreement)
{
    const struct awq__gpu_block *device = block->data->device;
    awq__routes after = {0};
    float *x;
    AWQ__CHECK(awq__frame_floats(f, device->sampled * stored->hidden, "the proof", &x));
    AWQ__CHECK(awq__gpu_moe_input(f, stored, device->sampled, device->sample, x));
    AWQ__CHECK(awq__gpu_moe_route(f, &block->states->forward, stored, device->sampled, x, &after));
    *agreement = (double)awq__routes_same_count(before, &after) / (double)before->tokens;
    awq__routes_free(&after);
    return AWQ_OK;
}

static awq_status stored_agreement(awq__frame *f, const awq__block *block,
                                   const awq__routes *before, double *agreement)
{
    awq_status status;
    const awq__layer *folded = &block->folded;
    const awq__weight *router = &folded->moe.router;
    int64_t H = folded->hidden, E = router->rows;
    awq__layer stored = *folded;
    float *norm = awq__alloc_aligned(f->ctx, (size_t)H, sizeof *norm, "the proof");
    float *values = awq__alloc_aligned(f->ctx, (size_t)(E * H), sizeof *values, "the proof");
    AWQ__TRY_ALLOC(norm && values);
    awq__round_stored(block->data->compute, folded, norm, values);
    stored.moe.norm = norm;
    stored.moe.router = awq__weight_plain(router->name, AWQ_F32, values, E, H);
    stored.moe.router.bias = router->bias;
    AWQ__TRY(route_stored(f, block, &stored, before, agreement));
done:
    awq__free_aligned(norm);
    awq__free_aligned(values);
    return status;
}

static awq_status prove_experts(awq__frame *f, const awq__block *block, awq__proof *proof)
{
    awq_status status;
    awq__proof_output before = {0}, after = {0};
    AWQ__TRY(run_experts(f, block, block->layer, &before));
    AWQ__TRY(run_experts(f, block, &block->folded, &after));
    AWQ__TRY(awq__proof_compare(&block->states->forward, block->layer, &before, &after, proof));
    if (block->layer->moe.routed_count)
        AWQ__TRY(stored_agreement(f, block, &before.routes, &proof->stored_agreement));
done:
    awq__proof_output_free(&before);
    awq__proof_output_free(&after);
    return status;
}

/* ---- the attention ---- */

static awq_status compare_attention(awq__frame *f, const awq__block *block,
                                    const awq__sequences *sequences, double *error)
{
    int64_t count = sequences->offsets[sequences->count] * block->layer->hidden;
    float *before, *after, *largest, found[2];
    AWQ__CHECK(awq__frame_floats(f, count, "the proof", &before));
    AWQ__CHECK(awq__frame_floats(f, count, "the proof", &after));
    AWQ__CHECK(awq__frame_floats(f, 2, "the proof", &largest));
    f->run->clear(f->d, before, (size_t)count * sizeof *before);
    f->run->clear(f->d, after, (size_t)count * sizeof *after);
    AWQ__CHECK(awq__gpu_attend(f, block->states, sequences, block->layer, before, NULL));
    AWQ__CHECK(awq__gpu_attend(f, block->states, sequences, &block->folded, after, NULL));
    f->run->largest_difference(f->d, count, before, after, largest);
    f->run->largest_difference(f->d, count, before, NULL, largest + 1);
    f->run->download(f->d, found, largest, sizeof found);
    *error = (double)found[0] / (found[1] > 0 ? (double)found[1] : 1e-30);
    return awq__gpu_finish(f->ctx, f->gpu);
}

static awq_status prove_attention(awq__frame *f, const awq__block *block, awq__proof *proof)
{
    const awq__sequences sequences =
        awq__some_sequences(block->states->forward.sequences, 0, AWQ__SAMPLE_TOKENS);
    *proof = (awq__proof){.tokens = awq__token_count(&sequences)};
    AWQ__CHECK(compare_attention(f, block, &sequences, &proof->largest_error));
    return awq__proof_check_attention(f->ctx, block->layer->number, proof);
}

awq_status awq__gpu_prove(awq__block *block, awq__proof *proof)
{
    awq_status status;
    if (block->data->device->by_cpu)
        return awq__backend_cpu.prove(block, proof);
    awq__frame f = awq__frame_begin(block->ctx);
    AWQ__TRY(block->kind == AWQ__BLOCK_EXPERTS ? prove_experts(&f, block, proof)
                                               : prove_attention(&f, block, proof));
done:
    return awq__frame_end(&f, status);
}
