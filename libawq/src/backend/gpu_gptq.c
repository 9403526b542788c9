/* GPTQ on a device, a bundle at a time: as cpu_round.c and cpu_expert_gram.c have it. */
#include "backend/gpu.h"
#include "quant/gptq.h"

#include <math.h>

static bool has_gptq(const awq__reader *reader)
{
    return reader->treatment && reader->treatment->gptq;
}

/* ---- the whole x^T x of what a folded weight sees ---- */

/* Of an expert's input. */
typedef struct gram_job {
    awq__frame *f;
    const awq__block *block;
    int64_t expert;
    bool inner;         /* of down: tokens pass gate and up */
    int64_t cols, most; /* K; tokens at a time */
    float *gram;
    awq__gpu_passed p;
} gram_job;

static awq_status add_tokens(gram_job *j, int64_t count, const int64_t *tokens,
                             const float *weights)
{
    awq__frame *f = j->f;
    float *rows = j->inner ? j->p.inner : j->p.x;
    for (int64_t first = 0; first < count; first += j->most) {
        size_t kept = f->count;
        const float *weight;
        j->p.tokens = awq__min(j->most, count - first);
        AWQ__CHECK(awq__gpu_gather_tokens(f, j->block, tokens + first, j->p.tokens, j->p.x));
        if (j->inner)
            AWQ__CHECK(awq__gpu_pass_expert(f, j->block->layer, false, AWQ__DEVICE_EXACT, &j->p));
        AWQ__CHECK(awq__frame_vector(f, weights + first, j->p.tokens, &weight));
        f->run->scale_rows(f->d, j->p.tokens, j->cols, weight, rows);
        f->run->gram(f->d, j->p.tokens, j->cols, j->cols, rows, j->gram);
        awq__frame_back(f, kept);
    }
    return AWQ_OK;
}

static awq_status add_pooled(gram_job *j, int64_t count)
{
    awq_status status;
    const awq__routes *routes = j->block->routes;
    int64_t *tokens = awq__alloc(j->f->ctx, (size_t)count, sizeof *tokens, "tokens of the layer");
    float *weights = awq__alloc(j->f->ctx, (size_t)count, sizeof *weights, "tokens of the layer");
    AWQ__TRY_ALLOC(tokens && weights);
    float weight = awq__pooled_weight(j->block, count, j->cols, j->inner);
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = i * routes->tokens / count;
        weights[i] = weight;
    }
    AWQ__TRY(add_tokens(j, count, tokens, weights));
done:
    awq__free(tokens);
    awq__free(weights);
    return status;
}

static awq_status expert_gram(awq__frame *f, const awq__block *block, const awq__reader *reader,
                              float *gram)
{
    const awq__bundle *bundle = reader->bundle;
    const awq__expert_state *state = &block->data->states[bundle->expert];
    int64_t own = state->routed + state->borrowed;
    bool inner = reader == bundle->readers[AWQ__EXPERT_DOWN];
    int64_t pooled = awq__pooled_tokens(block, bundle->expert, inner);
    gram_job j = {
        .f = f,
        .block = block,
        .expert = bundle->expert,
        .inner = inner,
        .cols = reader->input->cols,
        .most = awq__min(awq__gpu_expert_tokens(block->layer), awq__max(awq__max(own, pooled), 1)),
        .gram = gram};
    size_t kept = f->count;
    f->run->clear(f->d, gram, (size_t)(j.cols * j.cols) * sizeof *gram);
    AWQ__CHECK(awq__gpu_passed_create(f, block->layer, j.most, &j.p));
    j.p.expert = bundle->expert;
    AWQ__CHECK(add_tokens(&j, own, state->tokens, state->weights));
    AWQ__CHECK(add_pooled(&j, pooled));
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status take_gram(awq__frame *f, const awq__block *block, const awq__reader *reader,
                            float *gram)
{
    const awq__input *input = reader->input;
    const awq__device_gram whole = {input->cols, input->cols, 0, gram};
    size_t kept = f->count, bytes = (size_t)(input->cols * input->cols) * sizeof *gram;
    const float *factor;
    if (block->kind != AWQ__BLOCK_EXPERTS) { /* what folded weights see: awq__gpu_clip */
        f->run->copy(f->d, gram, awq__gpu_seen_of(block, reader->seen)->stats.values, bytes);
        return AWQ_OK;
    }
    AWQ__CHECK(expert_gram(f, block, reader, gram));
    if (!input->folded)
        return AWQ_OK;
    AWQ__CHECK(awq__frame_vector(f, input->unscale, input->cols, &factor));
    f->run->rescale_gram(f->d, &whole, factor);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

/* ---- its factors ---- */

/* Columns in the order of rounding. */
typedef struct plan {
    float *diagonal;  /* [K] */
    int64_t *order;   /* [K] */
    int32_t *columns; /* [K] the same */
    double mean;
} plan;

static awq_status create_plan(awq_context *ctx, int64_t K, plan *p)
{
    p->diagonal = awq__alloc(ctx, (size_t)K, sizeof *p->diagonal, "the order of columns");
    p->order = awq__alloc(ctx, (size_t)K, sizeof *p->order, "the order of columns");
    p->columns = awq__alloc(ctx, (size_t)K, sizeof *p->columns, "the order of columns");
    return p->diagonal && p->order && p->columns ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static void free_plan(plan *p)
{
    awq__free(p->diagonal);
    awq__free(p->order);
    awq__free(p->columns);
    *p = (plan){0};
}

static awq_status order_columns(awq__frame *f, int64_t K, int64_t g, float *gram, plan *p)
{
    const awq__device_gram whole = {K, K, 0, gram};
    size_t kept = f->count;
    float *diagonal;
    AWQ__CHECK(awq__frame_floats(f, K, "a diagonal", &diagonal));
    f->run->diagonal(f->d, &whole, diagonal);
    f->run->download(f->d, p->diagonal, diagonal, (size_t)K * sizeof *diagonal);
    AWQ__CHECK(awq__gpu_finish(f->ctx, f->gpu));
    AWQ__CHECK(awq__gptq_order(f->ctx, K, g, p->diagonal, 1, p->order));
    for (int64_t k = 0; k < K; k++) {
        p->columns[k] = (int32_t)p->order[k];
        p->mean += (double)p->diagonal[p->order[k]] / (double)K;
    }
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status factorize(awq__frame *f, const awq__reader *reader, int64_t g, double damping,
                            float *gram, const plan *p, void *hessian)
{
    int64_t K = reader->input->cols;
    bool done = false, sound = p->mean >= 0 && isfinite(p->mean);
    for (int attempt = 0; sound && !done && attempt <= AWQ__GPTQ_RETRIES; attempt++) {
        damping = attempt ? awq__gptq_more_damping(damping) : damping;
        done =
            f->run->factorize(f->d, K, g, p->columns, damping, p->mean, attempt > 0, gram, hessian);
        AWQ__CHECK(awq__gpu_finish(f->ctx, f->gpu));
    }
    if (done)
        return AWQ_OK;
    return awq__fail(f->ctx, AWQ_ERROR_NUMERIC,
                     "%s: the Gram matrix of its input is not positive definite with a "
                     "damping of %g (the mean of its diagonal is %g)",
                     reader->module->name, damping, p->mean);
}

/* *hessian, in the frame, of what the reader sees. */
static awq_status make_hessian(awq__frame *f, const awq__block *block, const awq__reader *reader,
                               void **hessian)
{
    awq_status status;
    int64_t K = reader->input->cols, g = awq__seen_quantized(reader->seen)->scheme.group;
    double damping = block->kind == AWQ__BLOCK_EXPERTS
                         ? awq__expert_damping(&block->data->states[reader->bundle->expert], K)
                         : AWQ__GPTQ_DAMPING;
    plan p = {0};
    float *gram;
    AWQ__TRY(create_plan(f->ctx, K, &p));
    AWQ__TRY(awq__frame_bytes(f, f->run->hessian_bytes(f->d, K, g), "a Hessian", hessian));
    size_t kept = f->count;
    AWQ__TRY(awq__frame_floats(f, K * K, "a Gram matrix", &gram));
    AWQ__TRY(take_gram(f, block, reader, gram));
    AWQ__TRY(order_columns(f, K, g, gram, &p));
    AWQ__TRY(factorize(f, reader, g, damping, gram, &p, *hessian));
    awq__frame_back(f, kept);
done:
    free_plan(&p);
    return status;
}

/* ---- rounding ---- */

static awq_status round_reader(awq__frame *f, const awq__block *block, const awq__reader *reader,
                               const void *hessian, const awq__gpu_codes *c)
{
    const awq__device_scheme scheme = awq__gpu_scheme(&reader->scheme);
    awq__device_matrix matrix;
    size_t kept = f->count;
    AWQ__CHECK(awq__gpu_matrix_of(f, reader->folded, &matrix));
    f->run->gptq(f->d, hessian, &matrix, &scheme, AWQ__GPTQ_RANGES,
                 (int)block->settings->quantize.gptq_sweeps, c->codes, c->scales, c->zeros, c->bad);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

/* Those of the readers first .. end-1, which see the same, that GPTQ rounds. */
static awq_status round_seen(awq__frame *f, const awq__block *block, const awq__bundle *bundle,
                             int first, int end, const awq__gpu_codes *codes)
{
    size_t kept = f->count;
    bool any = false;
    void *hessian;
    for (int i = first; i < end; i++)
        any |= has_gptq(bundle->readers[i]);
    if (!any)
        return AWQ_OK;
    AWQ__CHECK(make_hessian(f, block, bundle->readers[first], &hessian));
    for (int i = first; i < end; i++)
        if (has_gptq(bundle->readers[i]))
            AWQ__CHECK(round_reader(f, block, bundle->readers[i], hessian, &codes[i]));
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status round_by_gptq(awq__frame *f, const awq__block *block, const awq__bundle *bundle,
                                const awq__gpu_codes *codes)
{
    for (int first = 0, end; first < bundle->count; first = end) {
        for (end = first + 1;
             end < bundle->count && bundle->readers[end]->seen == bundle->readers[first]->seen;)
            end++;
        AWQ__CHECK(round_seen(f, block, bundle, first, end, codes));
    }
    return AWQ_OK;
}

/* Those that GPTQ has rounded already too, if `all`. */
static awq_status round_to_nearest(awq__frame *f, const awq__block *block,
                                   const awq__bundle *bundle, bool all, const awq__gpu_codes *codes)
{
    for (int i = 0; i < bundle->count; i++) {
        const awq__reader *reader = bundle->readers[i];
        if (reader->treatment && (all || !has_gptq(reader)))
            AWQ__CHECK(awq__gpu_to_nearest(f, block, reader, &codes[i]));
    }
    return AWQ_OK;
}

/* GPTQ stays where the expert's output is no worse by it. */
static awq_status judge(awq__frame *f, const awq__block *block, awq__bundle *bundle,
                        const awq__gpu_codes *codes)
{
    if (block->kind != AWQ__BLOCK_EXPERTS)
        return AWQ_OK;
    AWQ__CHECK(awq__gpu_codes_error(f, block, bundle, codes, &bundle->gptq_error));
    bundle->by_gptq = bundle->gptq_error <= bundle->error;
    return bundle->by_gptq ? AWQ_OK : round_to_nearest(f, block, bundle, true, codes);
}

awq_status awq__gpu_round_by_gptq(awq__frame *f, awq__block *block, awq__bundle *bundle,
                                  awq__codes *codes)
{
    awq__gpu_codes there[AWQ__MOST_READERS];
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->treatment)
            AWQ__CHECK(awq__gpu_codes_create(f, bundle->readers[i], &there[i]));
    AWQ__CHECK(round_by_gptq(f, block, bundle, there));
    AWQ__CHECK(round_to_nearest(f, block, bundle, false, there));
    AWQ__CHECK(judge(f, block, bundle, there));
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->treatment)
            AWQ__CHECK(awq__gpu_codes_read(f, bundle->readers[i], &there[i], &codes[i]));
    return AWQ_OK;
}
