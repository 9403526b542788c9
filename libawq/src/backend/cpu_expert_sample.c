/* The guard of an expert: what rounding does to its output on a sample of its tokens. */
#include "backend/cpu.h"

/* ---- codes in place of weights ---- */

static void read_codes(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    awq__codes_read((const awq__codes *)(const void *)weight->data, first, count, out);
}

static void read_codes_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                             int64_t cols, float *out)
{
    awq__codes_read_panel((const awq__codes *)(const void *)weight->data, first, count, col, cols,
                          out);
}

/* unscale (or NULL) takes the fold out of their columns. */
static awq__weight weight_of_codes(const awq__codes *codes, const float *unscale,
                                   const awq__weight *source)
{
    return (awq__weight){.rows = codes->rows,
                         .cols = codes->cols,
                         .read = read_codes,
                         .read_panel = read_codes_panel,
                         .data = (const uint8_t *)(const void *)codes,
                         .col_scale = unscale,
                         .bias = source->bias,
                         .bias_scale = source->bias_scale,
                         .name = source->name};
}

/* ---- the sample ---- */

typedef struct sample {
    const awq__block *block;
    const awq__bundle *bundle;
    const awq__expert *expert; /* the source's */
    int64_t T;
    float *x, *y, *up, *expected, *output; /* [T,H], [T,I], [T,I], [T,H], [T,H] */
    float *space;
} sample;

static size_t sample_floats(const awq__layer *layer, int64_t T)
{
    return (size_t)(T * (3 * layer->hidden + 2 * layer->moe.intermediate));
}

static awq_status gather_tokens(const sample *s, const awq__expert_state *state)
{
    const awq__states *states = s->block->states;
    int64_t stride = awq__sample_stride(state);
    int64_t *tokens = awq__alloc(s->block->ctx, (size_t)s->T, sizeof *tokens, "a sample of tokens");
    AWQ__CHECK_ALLOC(tokens);
    for (int64_t i = 0; i < s->T; i++)
        tokens[i] = state->tokens[i * stride];
    awq__gather_inputs(&states->forward, s->block->layer, s->block->routes, s->bundle->expert,
                       &states->normed, s->T, tokens, 1, s->x);
    awq__free(tokens);
    return AWQ_OK;
}

/* y[T,N] of x[T,K]. */
static awq_status multiply(const sample *s, const awq__weight *weight, const float *x, float *y)
{
    return awq__linear_parallel(s->block->ctx, s->block->data->compute, weight, s->T, x,
                                weight->cols, y, weight->rows);
}

static void activate(const sample *s)
{
    awq__expert_activate(&s->block->states->forward, s->block->layer, s->expert,
                         s->T * s->expert->intermediate, s->y, s->up, s->y);
}

/* Takes the sample, and finds what the expert gives before anything is rounded. Free s->space also
   after a failure. */
static awq_status take_sample(const awq__block *block, const awq__bundle *bundle, sample *s)
{
    const awq__expert_state *state = &block->data->states[bundle->expert];
    const awq__expert *expert = &block->layer->moe.experts[bundle->expert];
    int64_t H = block->layer->hidden, T = awq__sample_tokens(state);
    *s = (sample){.block = block, .bundle = bundle, .expert = expert, .T = T};
    s->space = awq__alloc_aligned(block->ctx, sample_floats(block->layer, T), sizeof *s->space,
                                  "a sample of tokens");
    AWQ__CHECK_ALLOC(s->space);
    s->x = s->space;
    s->expected = s->x + T * H;
    s->output = s->expected + T * H;
    s->y = s->output + T * H;
    s->up = s->y + T * expert->intermediate;
    AWQ__CHECK(gather_tokens(s, state));
    AWQ__CHECK(multiply(s, &expert->gate, s->x, s->y));
    AWQ__CHECK(multiply(s, &expert->up, s->x, s->up));
    activate(s);
    return multiply(s, &expert->down, s->y, s->expected);
}

/* ---- errors ---- */

/* How the readers of a bundle are rounded. */
typedef struct rounding {
    bool folded;             /* their weights, or the source's */
    bool clipped;            /* within clip ranges */
    const awq__codes *codes; /* NULL: to nearest, one after the other */
} rounding;

/* y = what the i-th reader gives for x once it is rounded. The sample is not folded: where a norm
   takes the inverse of the scale, it is taken out of the columns. */
static awq_status run_reader(const sample *s, int i, const rounding *how, const float *x, float *y)
{
    awq_status status;
    const awq__reader *reader = s->bundle->readers[i];
    const awq__input *input = reader->input;
    const awq__weight *weight = how->folded ? reader->folded : reader->weight;
    bool unscales = how->folded && input->folded && input->site.kind == AWQ__FOLD_NORM;
    awq__codes rounded = {0};
    awq__weight used = *weight;
    if (unscales)
        used.col_scale = NULL;
    if (reader->treatment) {
        if (!how->codes)
            AWQ__TRY(awq__cpu_round_weight(s->block, reader, weight,
                                           how->clipped ? reader->data->ranges : NULL, &rounded));
        used = weight_of_codes(how->codes ? &how->codes[i] : &rounded,
                               unscales ? input->unscale : NULL, weight);
    }
    AWQ__TRY(multiply(s, &used, x, y));
done:
    awq__codes_free(&rounded);
    return status;
}

static awq_status sample_error(const sample *s, rounding how, double *error)
{
    AWQ__CHECK(run_reader(s, AWQ__EXPERT_GATE, &how, s->x, s->y));
    AWQ__CHECK(run_reader(s, AWQ__EXPERT_UP, &how, s->x, s->up));
    activate(s);
    AWQ__CHECK(run_reader(s, AWQ__EXPERT_DOWN, &how, s->y, s->output));
    *error = s->block->data->compute->squared_error(s->T, s->block->layer->hidden, s->output,
                                                    s->expected, NULL);
    return AWQ_OK;
}

awq_status awq__cpu_expert_error(awq__block *block, const awq__bundle *bundle,
                                 const awq__codes *codes, double *error)
{
    awq_status status;
    sample s;
    AWQ__TRY(take_sample(block, bundle, &s));
    AWQ__TRY(sample_error(&s, (rounding){.folded = true, .codes = codes}, error));
done:
    awq__free_aligned(s.space);
    return status;
}

/* Clip ranges stay only if they make the sample's output better. */
static awq_status try_ranges(const sample *s, awq__bundle *bundle)
{
    double error;
    if (!awq__bundle_clips(bundle))
        return AWQ_OK;
    AWQ__CHECK(awq__cpu_fold_seen(s->block, bundle));
    AWQ__CHECK(awq__cpu_search_ranges(s->block, bundle));
    AWQ__CHECK(sample_error(s, (rounding){.folded = true, .clipped = true}, &error));
    bundle->clipped = error < bundle->error;
    if (bundle->clipped)
        bundle->error = error;
    else
        awq__cpu_drop_ranges(bundle);
    return AWQ_OK;
}

awq_status awq__cpu_expert_clip(awq__block *block, awq__bundle *bundle)
{
    awq_status status;
    sample s;
    AWQ__TRY(take_sample(block, bundle, &s));
    if (!awq__bundle_clips(bundle))
        AWQ__TRY(awq__cpu_fold_seen(block, bundle));
    AWQ__TRY(sample_error(&s, (rounding){0}, &bundle->rtn_error));
    AWQ__TRY(sample_error(&s, (rounding){.folded = true}, &bundle->error));
    AWQ__TRY(try_ranges(&s, bundle));
done:
    awq__free_aligned(s.space);
    return status;
}

/* The sample, and beside it the codes of one part with their scales and a block of its weights, or
   the three blocks of a part's rows that awq__search_clip works on. */
size_t awq__cpu_clip_bytes(const awq__layer *layer)
{
    size_t weights = (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    size_t block = (size_t)awq__expert_work(layer) * sizeof(float);
    size_t codes = weights + weights / 4 + block, blocks = 3 * block;
    return sample_floats(layer, AWQ__TOKEN_BLOCK) * sizeof(float) +
           (codes > blocks ? codes : blocks);
}
