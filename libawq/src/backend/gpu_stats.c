/* Statistics on a device: as cpu_attention.c and cpu_expert_stats.c take them. */
#include "backend/gpu.h"

#include <string.h>

/* ---- room for statistics ---- */

static awq_status make_cleared(const awq__block *block, int64_t count, size_t size, void *array)
{
    awq__gpu *gpu = block->data->device->gpu;
    void *made;
    AWQ__CHECK(
        awq__gpu_alloc(block->ctx, gpu, (size_t)count * size, "statistics of a device", &made));
    gpu->run->clear(gpu->d, made, (size_t)count * size);
    memcpy(array, &made, sizeof made);
    return AWQ_OK;
}

static awq_status create_gram(const awq__block *block, int64_t cols, int64_t group, int64_t rows,
                              awq__device_gram *gram)
{
    *gram = (awq__device_gram){.cols = cols, .group = group, .rows = rows};
    return make_cleared(block, rows ? rows * cols : cols * group, sizeof *gram->values,
                        &gram->values);
}

/* Whole, or a sketch and, for clip ranges, exact blocks. */
static awq_status create_seen(const awq__block *block, const awq__seen *seen, int64_t tokens)
{
    awq__gpu_seen *there = awq__gpu_seen_of(block, seen);
    const awq__reader *first = awq__seen_quantized(seen);
    int64_t cols = seen->input->cols, group = first ? first->scheme.group : cols;
    int64_t rows = block->settings->quantize.sketch_rows;
    bool attention = block->kind == AWQ__BLOCK_ATTENTION;
    AWQ__CHECK(make_cleared(block, cols, sizeof *there->abs_sums, &there->abs_sums));
    if (attention || !rows || cols <= rows)
        return create_gram(block, cols, cols, 0, &there->stats);
    rows = awq__max(1, awq__min(rows, tokens));
    AWQ__CHECK(create_gram(block, cols, cols, rows, &there->stats));
    if (first && first->clips && group < cols)
        AWQ__CHECK(create_gram(block, cols, group, 0, &there->blocks));
    return AWQ_OK;
}

/* Adds x[T,K], the expert's tokens from `first` on, of so many. A sketch that has as many rows as
   there are tokens gives each its own. */
static void add_tokens(const awq__frame *f, awq__gpu_seen *seen, int64_t tokens, int64_t first,
                       int64_t T, const float *x)
{
    const awq__device_gram *stats = &seen->stats;
    int64_t K = stats->cols;
    seen->tokens += T;
    f->run->add_abs(f->d, T, K, x, seen->abs_sums);
    if (seen->blocks.values)
        f->run->gram(f->d, T, K, seen->blocks.group, x, seen->blocks.values);
    if (!stats->rows)
        f->run->gram(f->d, T, K, K, x, stats->values);
    else if (stats->rows >= tokens)
        f->run->copy(f->d, stats->values + first * K, x, (size_t)(T * K) * sizeof *x);
    else
        f->run->sketch(f->d, T, K, x, (uint64_t)first, stats->rows, stats->values);
}

/* ---- tokens of experts ---- */

static const awq__seen *seen_of(const awq__block *block, int64_t e, awq__expert_part part)
{
    return awq__expert_reader(block, e, part)->seen;
}

/* Takes tokens into the statistics of their expert. */
static awq_status take(void *user, awq__frame *f, const awq__gpu_passed *p)
{
    const awq__block *block = user;
    const awq__expert_state *state = &block->data->states[p->expert];
    const awq__expert *expert = &block->layer->moe.experts[p->expert];
    const awq__device_activation a = {expert->activation.alpha, expert->activation.limit,
                                      expert->activation.up_offset};
    double *slopes = block->data->device->slopes;
    int64_t H = block->layer->hidden, I = expert->intermediate, T = p->tokens;
    int64_t all = state->routed + state->borrowed;
    const float *weight;
    size_t kept = f->count;
    AWQ__CHECK(awq__frame_vector(f, state->weights + p->first, T, &weight));
    if (slopes)
        f->run->add_slopes(f->d, T, I, &a, AWQ__SLOPE_STEP, p->gate, p->up, weight,
                           slopes + 2 * p->expert * block->layer->moe.intermediate);
    f->run->scale_rows(f->d, T, H, weight, p->x);
    f->run->scale_rows(f->d, T, I, weight, p->inner);
    add_tokens(f, awq__gpu_seen_of(block, seen_of(block, p->expert, AWQ__EXPERT_GATE)), all,
               p->first, T, p->x);
    add_tokens(f, awq__gpu_seen_of(block, seen_of(block, p->expert, AWQ__EXPERT_DOWN)), all,
               p->first, T, p->inner);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

/* ---- the pass ---- */

static awq_status list_expert(void *arg, int64_t e, int worker)
{
    (void)worker;
    return awq__cpu_list_tokens(arg, e);
}

static awq_status begin_experts(awq__block *block)
{
    struct awq__gpu_block *device = block->data->device;
    int64_t E = block->bundle_count, I = block->layer->moe.intermediate;
    AWQ__CHECK(awq__parallel_for(block->ctx, E, list_expert, block));
    for (int64_t e = 0; e < E; e++) {
        const awq__expert_state *state = &block->data->states[e];
        int64_t tokens = state->routed + state->borrowed;
        AWQ__CHECK(create_seen(block, seen_of(block, e, AWQ__EXPERT_GATE), tokens));
        AWQ__CHECK(create_seen(block, seen_of(block, e, AWQ__EXPERT_DOWN), tokens));
    }
    if (block->row_weights)
        AWQ__CHECK(make_cleared(block, 2 * E * I, sizeof *device->slopes, &device->slopes));
    return AWQ_OK;
}

static awq_status pass_experts(awq__block *block)
{
    awq_status status;
    const awq__states *states = block->states;
    awq__frame frame = awq__frame_begin(block->ctx);
    const awq__gpu_expert_tap tap = {take, block};
    AWQ__TRY(awq__gpu_proof_sample(&frame, block));
    AWQ__TRY(begin_experts(block));
    AWQ__TRY(awq__gpu_moe_experts(&frame, block->layer, states->device->x, block->routes,
                                  states->device->hidden, &tap));
done:
    return awq__frame_end(&frame, status);
}

awq_status awq__gpu_pass(awq__block *block)
{
    if (block->data->device->by_cpu) {
        AWQ__CHECK(awq__backend_cpu.pass(block));
        return block->kind == AWQ__BLOCK_EXPERTS ? awq__gpu_put_hidden(block->states) : AWQ_OK;
    }
    return block->kind == AWQ__BLOCK_EXPERTS ? pass_experts(block) : AWQ_OK;
}

/* ---- tokens that an expert borrows ---- */

awq_status awq__gpu_gather_tokens(awq__frame *f, const awq__block *block, const int64_t *tokens,
                                  int64_t T, float *x)
{
    const int32_t *index;
    size_t kept = f->count;
    int32_t *host = awq__alloc(f->ctx, (size_t)T, sizeof *host, "tokens of an expert");
    AWQ__CHECK_ALLOC(host);
    for (int64_t t = 0; t < T; t++)
        host[t] = (int32_t)tokens[t];
    awq_status status = awq__frame_copy(f, host, (size_t)T * sizeof *host, &index);
    awq__free(host);
    AWQ__CHECK(status);
    f->run->gather(f->d, T, block->layer->hidden, index, block->states->device->x, x);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status pass_borrowed(awq__frame *f, awq__block *block, int64_t e,
                                const awq__gpu_passed *space, int64_t B)
{
    const awq__expert_state *state = &block->data->states[e];
    awq__gpu_passed p = *space;
    int64_t end = state->routed + state->borrowed;
    p.expert = e;
    for (p.first = state->routed; p.first < end; p.first += B) {
        p.tokens = awq__min(B, end - p.first);
        AWQ__CHECK(awq__gpu_gather_tokens(f, block, state->tokens + p.first, p.tokens, p.x));
        AWQ__CHECK(awq__gpu_pass_expert(f, block->layer, false, AWQ__DEVICE_EXACT, &p));
        AWQ__CHECK(take(block, f, &p));
    }
    return AWQ_OK;
}

static awq_status pass_all_borrowed(awq__frame *f, awq__block *block)
{
    int64_t most = 0, B = awq__gpu_expert_tokens(block->layer);
    awq__gpu_passed space = {0};
    size_t kept = f->count;
    for (int64_t e = 0; e < block->bundle_count; e++)
        most = awq__max(most, block->data->states[e].borrowed);
    if (!most)
        return AWQ_OK;
    B = awq__min(B, most);
    AWQ__CHECK(awq__gpu_passed_create(f, block->layer, B, &space));
    for (int64_t e = 0; e < block->bundle_count; e++)
        AWQ__CHECK(pass_borrowed(f, block, e, &space, B));
    awq__frame_back(f, kept);
    return AWQ_OK;
}

/* ---- row weights: awq__cpu_experts_statistics has what they are ---- */

typedef struct weighing {
    double *squares, *slopes; /* [E][I], [E][2][I] */
    float *weights;           /* [E][2][I] */
} weighing;

static void weigh_expert(const awq__block *block, int64_t e, const weighing *w)
{
    const awq__expert_state *state = &block->data->states[e];
    int64_t I = block->layer->moe.intermediate;
    double total = 0;
    for (int64_t i = 0; i < state->routed + state->borrowed; i++)
        total += (double)state->weights[i] * (double)state->weights[i];
    for (int64_t part = 0; part < 2; part++)
        for (int64_t n = 0; n < block->layer->moe.experts[e].intermediate; n++) {
            int64_t at = (2 * e + part) * I + n;
            w->weights[at] =
                (float)(w->squares[e * I + n] * w->slopes[at] / (total > 0 ? total : 1));
        }
}

/* Norms of the columns of all downs. */
static awq_status read_squares(awq__frame *f, const awq__block *block, double *squares)
{
    int64_t E = block->bundle_count, I = block->layer->moe.intermediate;
    size_t bytes = (size_t)(E * I) * sizeof *squares, kept = f->count;
    double *there;
    AWQ__CHECK(awq__frame_bytes(f, bytes, "norms of columns", &there));
    f->run->clear(f->d, there, bytes);
    for (int64_t e = 0; e < E; e++) {
        awq__device_matrix down;
        AWQ__CHECK(awq__gpu_matrix_of(f, &block->layer->moe.experts[e].down, &down));
        f->run->add_column_squares(f->d, &down, there + e * I);
    }
    f->run->download(f->d, squares, there, bytes);
    awq__frame_back(f, kept);
    return AWQ_OK;
}

static awq_status weigh_rows(awq__frame *f, const awq__block *block, const weighing *w)
{
    struct awq__gpu_block *device = block->data->device;
    size_t count = (size_t)(2 * block->bundle_count * block->layer->moe.intermediate);
    AWQ__CHECK(read_squares(f, block, w->squares));
    f->run->download(f->d, w->slopes, device->slopes, count * sizeof *w->slopes);
    for (int64_t e = 0; e < block->bundle_count; e++)
        weigh_expert(block, e, w);
    AWQ__CHECK(awq__gpu_alloc(f->ctx, f->gpu, count * sizeof *w->weights, "weights of outputs",
                              &device->row_weights));
    f->run->upload(f->d, device->row_weights, w->weights, count * sizeof *w->weights);
    return AWQ_OK;
}

static awq_status weigh_all_rows(awq__frame *f, const awq__block *block)
{
    awq_status status;
    size_t count = (size_t)(block->bundle_count * block->layer->moe.intermediate);
    weighing w = {0};
    if (!block->data->device->slopes)
        return AWQ_OK;
    w.squares = awq__alloc(f->ctx, count, sizeof *w.squares, "weights of outputs");
    w.slopes = awq__alloc(f->ctx, 2 * count, sizeof *w.slopes, "weights of outputs");
    w.weights = awq__alloc(f->ctx, 2 * count, sizeof *w.weights, "weights of outputs");
    AWQ__TRY_ALLOC(w.squares && w.slopes && w.weights);
    AWQ__TRY(weigh_rows(f, block, &w));
done:
    awq__free(w.squares);
    awq__free(w.slopes);
    awq__free(w.weights);
    return status;
}

/* ---- salience ---- */

/* Sums to means. */
static void read_salience(const awq__frame *f, const awq__block *block, const awq__input *input,
                          const double *sums, int64_t tokens)
{
    double *salience = awq__cpu_salience(block, input);
    f->run->download(f->d, salience, sums, (size_t)input->cols * sizeof *salience);
    for (int64_t k = 0; k < input->cols; k++)
        salience[k] /= (double)awq__max(tokens, 1);
}

/* Of the input of gate and up, over all tokens of the layer. */
static awq_status layer_salience(awq__frame *f, const awq__block *block, const awq__input *input)
{
    const awq__states *states = block->states;
    size_t bytes = (size_t)input->cols * sizeof(double);
    double *sums;
    AWQ__CHECK(awq__frame_bytes(f, bytes, "salience", &sums));
    f->run->clear(f->d, sums, bytes);
    f->run->add_abs(f->d, states->tokens, input->cols, states->device->x, sums);
    read_salience(f, block, input, sums, states->tokens);
    return AWQ_OK;
}

static awq_status all_salience(awq__frame *f, const awq__block *block)
{
    for (int64_t i = 0; i < block->input_count; i++) {
        const awq__input *input = &block->inputs[i];
        const awq__gpu_seen *seen = awq__gpu_seen_of(block, input->seen);
        if (!awq__cpu_salience(block, input))
            continue;
        if (block->kind == AWQ__BLOCK_EXPERTS && i == 0)
            AWQ__CHECK(layer_salience(f, block, input));
        else
            read_salience(f, block, input, seen->abs_sums, seen->tokens);
    }
    return AWQ_OK;
}

/* ---- statistics of a block ---- */

static awq_status see_vectors(void *user, awq__frame *f, int64_t T, const float *x, const float *c)
{
    const awq__block *block = user;
    for (int64_t i = 0; i < block->seen_count; i++) {
        const awq__seen *seen = &block->seen[i];
        bool inner = seen->input->vector == AWQ__VECTOR_C;
        add_tokens(f, awq__gpu_seen_of(block, seen), 0, 0, T, inner ? c : x);
    }
    return AWQ_OK;
}

static awq_status attention_statistics(awq__frame *f, awq__block *block)
{
    const awq__gpu_attention_tap tap = {see_vectors, block};
    for (int64_t i = 0; i < block->seen_count; i++)
        AWQ__CHECK(create_seen(block, &block->seen[i], 0));
    return awq__gpu_attend(f, block->states, block->states->forward.sequences, block->layer, NULL,
                           &tap);
}

awq_status awq__gpu_statistics(awq__block *block)
{
    awq_status status;
    if (block->data->device->by_cpu)
        return awq__backend_cpu.statistics(block);
    awq__frame f = awq__frame_begin(block->ctx);
    if (block->kind == AWQ__BLOCK_ATTENTION) {
        AWQ__TRY(attention_statistics(&f, block));
    } else {
        AWQ__TRY(pass_all_borrowed(&f, block));
        AWQ__TRY(weigh_all_rows(&f, block));
    }
    AWQ__TRY(all_salience(&f, block));
done:
    return awq__frame_end(&f, status);
}

/* ---- what others want of them ---- */

/* Copies a Gram matrix, its blocks or a sketch to the host. */
static awq_status read_gram(const awq__block *block, const awq__device_gram *gram, int64_t tokens,
                            awq__stats *stats)
{
    const awq__gpu *gpu = block->data->device->gpu;
    int64_t floats = gram->cols * (gram->rows ? gram->rows : gram->group);
    AWQ__CHECK(gram->rows ? awq__stats_create_sketch(block->ctx, gram->cols, gram->rows, stats)
                          : awq__stats_create(block->ctx, gram->cols, gram->group, stats));
    stats->tokens = tokens;
    gpu->run->download(gpu->d, stats->gram, gram->values, (size_t)floats * sizeof *stats->gram);
    return awq__gpu_finish(block->ctx, gpu);
}

awq_status awq__gpu_read_stats(const awq__block *block, const awq__seen *seen)
{
    const awq__gpu_seen *there = awq__gpu_seen_of(block, seen);
    return read_gram(block, &there->stats, there->tokens, &seen->data->stats);
}

awq_status awq__gpu_mean_squares(awq__block *block, const awq__seen *seen, float *squares,
                                 int64_t *tokens)
{
    awq_status status;
    const awq__gpu_seen *there = awq__gpu_seen_of(block, seen);
    awq__stats *stats = &seen->data->stats;
    if (block->data->device->by_cpu)
        return awq__cpu_mean_squares(block, seen, squares, tokens);
    AWQ__TRY(read_gram(block, there->blocks.values ? &there->blocks : &there->stats, there->tokens,
                       stats));
    AWQ__TRY(awq__cpu_mean_squares(block, seen, squares, tokens));
done:
    awq__stats_free(stats);
    return status;
}
