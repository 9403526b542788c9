/*
 * Clip ranges on a device, and what rounding does to a bundle: as cpu_clip.c, cpu_attention.c and
 * cpu_expert_sample.c have it. All bundles are queued before any result is read.
 */
#include "backend/gpu.h"

#include <math.h>

/* Results of a bundle: of an expert, errors of its sample by RTN, folded, and within ranges; of an
   attention, losses within ranges and without. */
enum { RTN, FOLDED, CLIPPED, RESULTS };
enum { WITH, WITHOUT };

/* ---- what folded weights see ---- */

static void rescale(const awq__frame *f, const awq__device_gram *gram, const float *factor)
{
    if (gram->values)
        f->run->rescale_gram(f->d, gram, factor);
}

static awq_status fold_seen(awq__frame *f, const awq__block *block)
{
    for (int64_t i = 0; i < block->seen_count; i++) {
        const awq__input *input = block->seen[i].input;
        const awq__gpu_seen *seen = awq__gpu_seen_of(block, &block->seen[i]);
        size_t kept = f->count;
        const float *factor;
        if (!input->folded)
            continue;
        AWQ__CHECK(awq__frame_vector(f, input->unscale, input->cols, &factor));
        rescale(f, &seen->stats, factor);
        rescale(f, &seen->blocks, factor);
        awq__frame_back(f, kept);
    }
    return AWQ_OK;
}

/* ---- ranges ---- */

static float **ranges_of(const awq__block *block, const awq__reader *reader)
{
    return &block->data->device->ranges[reader - block->readers];
}

/* Blocks of the scheme's groups, in the frame where they are not there already. */
static awq_status blocks_of(awq__frame *f, const awq__block *block, const awq__reader *reader,
                            awq__device_gram *blocks)
{
    const awq__gpu_seen *seen = awq__gpu_seen_of(block, reader->seen);
    const awq__device_gram *known = seen->blocks.values ? &seen->blocks : &seen->stats;
    int64_t group = reader->scheme.group;
    *blocks = *known;
    if (known->group == group && !known->rows)
        return AWQ_OK;
    *blocks = (awq__device_gram){.cols = known->cols, .group = group};
    AWQ__CHECK(awq__frame_floats(f, known->cols * group, "Gram matrices", &blocks->values));
    f->run->gram_blocks(f->d, known, blocks);
    return AWQ_OK;
}

static awq_status search_reader(awq__frame *f, const awq__block *block, const awq__reader *reader)
{
    const awq__device_scheme scheme = awq__gpu_scheme(&reader->scheme);
    const awq__weight *weight = reader->folded;
    size_t kept = f->count, count = (size_t)(weight->rows * (weight->cols / scheme.group));
    awq__device_gram blocks;
    awq__device_matrix matrix;
    AWQ__CHECK(awq__gpu_alloc(f->ctx, f->gpu, count * sizeof(awq__range), "clip ranges",
                              ranges_of(block, reader)));
    AWQ__CHECK(blocks_of(f, block, reader, &blocks));
    AWQ__CHECK(awq__gpu_matrix_of(f, weight, &matrix));
    f->run->clip(f->d, &matrix, &scheme, &blocks, *ranges_of(block, reader));
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status search_ranges(awq__frame *f, const awq__block *block, const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->clips)
            AWQ__CHECK(search_reader(f, block, bundle->readers[i]));
    return AWQ_OK;
}

/* ---- an expert's sample ---- */

/* Room for the sample of any expert. */
typedef struct sample {
    awq__gpu_passed tokens;
    float *expected, *rounded; /* [T,H]; weights of a reader */
} sample;

/* How the readers of a bundle are rounded. */
typedef struct rounding {
    bool folded, clipped;
    const awq__gpu_codes *codes; /* of each reader; NULL: to nearest */
} rounding;

static awq_status create_sample(awq__frame *f, const awq__block *block, sample *s)
{
    const awq__layer *layer = block->layer;
    int64_t most = 1;
    for (int64_t e = 0; e < block->bundle_count; e++)
        most = awq__max(most, block->bundles[e].sampled);
    AWQ__CHECK(awq__gpu_passed_create(f, layer, most, &s->tokens));
    AWQ__CHECK(awq__frame_floats(f, most * layer->hidden, "a sample of tokens", &s->expected));
    return awq__frame_floats(f, layer->hidden * layer->moe.intermediate, "rounded weights",
                             &s->rounded);
}

/* The sample, and what the expert gives before anything is rounded. */
static awq_status take_sample(awq__frame *f, const awq__block *block, const awq__bundle *bundle,
                              sample *s)
{
    const awq__expert_state *state = &block->data->states[bundle->expert];
    int64_t H = block->layer->hidden, T = bundle->sampled, stride = awq__sample_stride(state);
    size_t kept = f->count;
    const int32_t *index;
    int32_t host[AWQ__TOKEN_BLOCK];
    for (int64_t i = 0; i < T; i++)
        host[i] = (int32_t)state->tokens[i * stride];
    AWQ__CHECK(awq__frame_copy(f, host, (size_t)T * sizeof *host, &index));
    f->run->gather(f->d, T, H, index, block->states->device->x, s->tokens.x);
    s->tokens.expert = bundle->expert;
    s->tokens.tokens = T;
    AWQ__CHECK(awq__gpu_pass_expert(f, block->layer, true, AWQ__DEVICE_FAST, &s->tokens));
    f->run->copy(f->d, s->expected, s->tokens.z, (size_t)(T * H) * sizeof *s->expected);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

/* *matrix = the reader as it is once it is rounded. The sample is not folded: where a norm takes
   the inverse of the scale, it is taken out of the columns. */
static awq_status round_reader(awq__frame *f, const awq__block *block, const awq__reader *reader,
                               rounding how, float *rounded, awq__device_matrix *matrix)
{
    const awq__gpu_codes *codes = how.codes ? how.codes + awq__reader_place(reader) : NULL;
    const awq__input *input = reader->input;
    awq__weight weight = how.folded ? *reader->folded : *reader->weight;
    bool unscales = how.folded && input->folded && input->site.kind == AWQ__FOLD_NORM;
    const awq__device_scheme scheme = awq__gpu_scheme(&reader->scheme);
    const float *unscale;
    if (unscales && !reader->treatment)
        weight.col_scale = NULL;
    AWQ__CHECK(awq__gpu_matrix_of(f, &weight, matrix));
    if (!reader->treatment)
        return AWQ_OK;
    AWQ__CHECK(awq__frame_vector(f, unscales ? input->unscale : NULL, input->cols, &unscale));
    if (codes)
        f->run->read_codes(f->d, matrix->rows, matrix->cols, &scheme, codes->codes, codes->scales,
                           codes->zeros, unscale, rounded);
    else
        f->run->fake_quantize(f->d, matrix, &scheme, how.clipped ? *ranges_of(block, reader) : NULL,
                              unscale, rounded);
    matrix->type = AWQ__DEVICE_F32;
    matrix->data = rounded;
    matrix->row_scale = matrix->col_scale = NULL;
    return AWQ_OK;
}

static awq_status run_reader(awq__frame *f, const awq__block *block, const awq__reader *reader,
                             rounding how, const sample *s, const float *x, float *y)
{
    awq__device_matrix matrix;
    size_t kept = f->count;
    AWQ__CHECK(round_reader(f, block, reader, how, s->rounded, &matrix));
    f->run->linear(f->d, AWQ__DEVICE_FAST, s->tokens.tokens, x, 1, &matrix, &y);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status add_error(awq__frame *f, const awq__block *block, const awq__bundle *bundle,
                            rounding how, const sample *s, double *error)
{
    const awq__expert *expert = &block->layer->moe.experts[bundle->expert];
    const awq__device_activation a = {expert->activation.alpha, expert->activation.limit,
                                      expert->activation.up_offset};
    const awq__gpu_passed *p = &s->tokens;
    AWQ__CHECK(run_reader(f, block, bundle->readers[AWQ__EXPERT_GATE], how, s, p->x, p->gate));
    AWQ__CHECK(run_reader(f, block, bundle->readers[AWQ__EXPERT_UP], how, s, p->x, p->up));
    f->run->activate(f->d, p->tokens * expert->intermediate, &a, p->gate, p->up, p->inner);
    AWQ__CHECK(run_reader(f, block, bundle->readers[AWQ__EXPERT_DOWN], how, s, p->inner, p->z));
    f->run->add_squared_error(f->d, p->tokens * block->layer->hidden, p->z, s->expected, error);
    return AWQ_OK;
}

static awq_status try_expert(awq__frame *f, const awq__block *block, const awq__bundle *bundle,
                             sample *s, double *results)
{
    if (awq__bundle_clips(bundle))
        AWQ__CHECK(search_ranges(f, block, bundle));
    if (!bundle->sampled)
        return AWQ_OK;
    AWQ__CHECK(take_sample(f, block, bundle, s));
    AWQ__CHECK(add_error(f, block, bundle, (rounding){0}, s, results + RTN));
    AWQ__CHECK(add_error(f, block, bundle, (rounding){.folded = true}, s, results + FOLDED));
    if (awq__bundle_clips(bundle))
        AWQ__CHECK(add_error(f, block, bundle, (rounding){.folded = true, .clipped = true}, s,
                             results + CLIPPED));
    return AWQ_OK;
}

/* Clip ranges stay only if they make the sample's output better. */
static void judge_expert(awq__bundle *bundle, const double *results)
{
    bundle->rtn_error = results[RTN];
    bundle->error = results[FOLDED];
    bundle->clipped = awq__bundle_clips(bundle) && results[CLIPPED] < bundle->error;
    if (bundle->clipped)
        bundle->error = results[CLIPPED];
}

awq_status awq__gpu_codes_error(awq__frame *f, const awq__block *block, const awq__bundle *bundle,
                                const awq__gpu_codes *codes, double *error)
{
    sample s = {0};
    size_t kept = f->count;
    double *sum;
    AWQ__CHECK(awq__frame_bytes(f, sizeof *sum, "an error", &sum));
    f->run->clear(f->d, sum, sizeof *sum);
    AWQ__CHECK(create_sample(f, block, &s));
    if (bundle->sampled) {
        AWQ__CHECK(take_sample(f, block, bundle, &s));
        AWQ__CHECK(
            add_error(f, block, bundle, (rounding){.folded = true, .codes = codes}, &s, sum));
    }
    f->run->download(f->d, error, sum, sizeof *error);
    awq__frame_back(f, kept);
    return awq__gpu_finish(f->ctx, f->gpu);
}

/* ---- the attention ---- */

static awq_status add_loss(awq__frame *f, const awq__block *block, const awq__reader *reader,
                           const float *ranges, double *loss)
{
    const awq__device_scheme scheme = awq__gpu_scheme(&reader->scheme);
    awq__device_matrix matrix;
    size_t kept = f->count;
    AWQ__CHECK(awq__gpu_matrix_of(f, reader->folded, &matrix));
    f->run->losses(f->d, &matrix, &scheme, ranges, &awq__gpu_seen_of(block, reader->seen)->stats,
                   NULL, 1, NULL, NULL, loss);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status try_attention(awq__frame *f, const awq__block *block, const awq__bundle *bundle,
                                double *results)
{
    AWQ__CHECK(search_ranges(f, block, bundle));
    for (int i = 0; i < bundle->count; i++) {
        const awq__reader *reader = bundle->readers[i];
        const float *ranges = *ranges_of(block, reader);
        if (!ranges)
            continue;
        AWQ__CHECK(add_loss(f, block, reader, ranges, results + WITH));
        AWQ__CHECK(add_loss(f, block, reader, NULL, results + WITHOUT));
    }
    return AWQ_OK;
}

/* ---- all bundles ---- */

static awq_status queue_all(awq__frame *f, const awq__block *block, double *results)
{
    sample s = {0};
    bool experts = block->kind == AWQ__BLOCK_EXPERTS;
    if (experts)
        AWQ__CHECK(create_sample(f, block, &s));
    for (int64_t i = 0; i < block->bundle_count; i++) {
        const awq__bundle *bundle = &block->bundles[i];
        AWQ__CHECK(experts ? try_expert(f, block, bundle, &s, results + i * RESULTS)
                           : try_attention(f, block, bundle, results + i * RESULTS));
    }
    return AWQ_OK;
}

static void judge(const awq__block *block, const double *results)
{
    for (int64_t i = 0; i < block->bundle_count; i++) {
        const double *of = results + i * RESULTS;
        if (block->kind == AWQ__BLOCK_EXPERTS)
            judge_expert(&block->bundles[i], of);
        else
            block->bundles[i].clipped = of[WITH] < of[WITHOUT];
    }
}

static awq_status clip(awq__frame *f, awq__block *block, double *results)
{
    size_t bytes = (size_t)(block->bundle_count * RESULTS) * sizeof *results;
    double *there;
    AWQ__CHECK(awq__frame_bytes(f, bytes, "errors", &there));
    f->run->clear(f->d, there, bytes);
    AWQ__CHECK(fold_seen(f, block));
    AWQ__CHECK(queue_all(f, block, there));
    f->run->download(f->d, results, there, bytes);
    return awq__gpu_finish(f->ctx, f->gpu);
}

awq_status awq__gpu_clip(awq__block *block)
{
    awq_status status;
    double *results = NULL;
    if (block->data->device->by_cpu)
        return awq__cpu_clip(block);
    awq__frame f = awq__frame_begin(block->ctx);
    results = awq__alloc(f.ctx, (size_t)(block->bundle_count * RESULTS), sizeof *results, "errors");
    AWQ__TRY_ALLOC(results);
    AWQ__TRY(clip(&f, block, results));
    judge(block, results);
done:
    awq__free(results);
    return awq__frame_end(&f, status);
}
