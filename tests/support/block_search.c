#include "support/block_search.h"

#include <string.h>

void linear_fake(const awq__compute *compute, const awq__weight *weight, const awq__scheme *scheme,
                 const float *scale, const float *unscale, int64_t T, const float *x, int64_t ldx,
                 float *y, int64_t ldy, float *work)
{
    int64_t K = weight->cols, block = awq__weight_block(weight);
    awq__weight scaled = *weight;
    scaled.col_scale = scale;
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t n = awq__min(block, weight->rows - first);
        awq__weight_read(compute, &scaled, first, n, work);
        awq__fake_quantize(n, K, scheme, NULL, unscale, work);
        compute->multiply_nt(T, n, K, x, ldx, work, K, 0, y + first, ldy);
    }
    awq__add_bias(compute, weight, T, y, ldy);
}

/* A task: up to AWQ__TOKEN_BLOCK of the tokens of one expert, against all candidates. */
typedef struct block {
    int64_t expert, first, count; /* into `slots` */
} block;

typedef struct job {
    const block_search *search;
    block *blocks;
    int64_t block_count;
    int64_t *slots; /* the used ones, grouped by expert */
    float *scales;  /* [candidates][2][H]: scale and 1/scale */
    double *losses; /* [blocks][candidates] */
    awq__scratch scratch;
} job;

/* The space of one task, cut out of a worker's allocation. */
typedef struct space {
    float *x, *y, *up, *output, *expected, *weight, *work;
} space;

static int64_t cut_space(const job *j, float *base, space *s)
{
    const awq__layer *layer = j->search->layer;
    const int64_t B = AWQ__TOKEN_BLOCK, H = layer->hidden, I = layer->moe.intermediate;
    int64_t sizes[] = {B * H, B * I, B * I, B * H, B * H, B, awq__expert_work(layer)};
    float **parts[] = {&s->x, &s->y, &s->up, &s->output, &s->expected, &s->weight, &s->work};
    int64_t at = 0;
    for (int i = 0; i < 7; i++) {
        *parts[i] = base ? base + at : NULL;
        at += (sizes[i] + 15) / 16 * 16;
    }
    return at;
}

/* Output of the expert with its quantized matrices under one candidate. */
static void quantized_output(const job *j, const block *b, int64_t candidate, const space *s)
{
    const block_search *search = j->search;
    const awq__layer *layer = search->layer;
    const awq__compute *compute = search->forward->compute;
    const awq__expert *expert = &layer->moe.experts[b->expert];
    const awq__scheme *scheme = &search->schemes[b->expert];
    int64_t H = layer->hidden, I = expert->intermediate, T = b->count;
    const float *scale = j->scales + candidate * 2 * H, *unscale = scale + H;
    if (search->gate[b->expert])
        linear_fake(compute, &expert->gate, scheme, scale, unscale, T, s->x, H, s->y, I, s->work);
    else
        awq__linear(compute, &expert->gate, T, s->x, H, s->y, I, s->work);
    if (search->up[b->expert])
        linear_fake(compute, &expert->up, scheme, scale, unscale, T, s->x, H, s->up, I, s->work);
    else
        awq__linear(compute, &expert->up, T, s->x, H, s->up, I, s->work);
    awq__expert_activate(search->forward, layer, expert, T * I, s->y, s->up, s->y);
    awq__linear(compute, &expert->down, T, s->y, I, s->output, H, s->work);
}

static awq_status run_block(void *arg, int64_t index, int worker)
{
    job *j = arg;
    const block_search *search = j->search;
    const awq__layer *layer = search->layer;
    const block *b = &j->blocks[index];
    const awq__expert *expert = &layer->moe.experts[b->expert];
    int64_t H = layer->hidden, I = expert->intermediate, k = search->routes->per_token;
    space s;
    float *floats = awq__scratch_get(&j->scratch, worker, (size_t)cut_space(j, NULL, &s));
    if (!floats)
        return AWQ_ERROR_MEMORY;
    cut_space(j, floats, &s);
    const int64_t *slots = j->slots + b->first;
    search->forward->compute->gather(b->count, H, slots, k, search->x, s.x);
    for (int64_t i = 0; i < b->count; i++)
        s.weight[i] = search->routes->weight[slots[i]];
    awq__expert_parts(search->forward, layer, expert, b->count, s.x, s.y, s.up, s.y, s.work);
    awq__linear(search->forward->compute, &expert->down, b->count, s.y, I, s.expected, H, s.work);
    int64_t candidates = awq__candidate_count(search->candidates);
    for (int64_t c = 0; c < candidates; c++) {
        quantized_output(j, b, c, &s);
        j->losses[index * candidates + c] =
            search->forward->compute->squared_error(b->count, H, s.output, s.expected, s.weight);
    }
    return AWQ_OK;
}

/* Lists the slots of the experts that count and cuts them into blocks. */
static void cut_blocks(job *j)
{
    const awq__routes *routes = j->search->routes;
    int64_t used = 0;
    for (int64_t e = 0; e < routes->experts; e++) {
        int64_t first = used;
        if (!j->search->gate[e] && !j->search->up[e])
            continue;
        for (int64_t i = routes->first[e]; i < routes->first[e + 1]; i++)
            j->slots[used++] = routes->slots[i];
        for (; first < used; first += AWQ__TOKEN_BLOCK)
            j->blocks[j->block_count++] =
                (block){e, first, awq__min(AWQ__TOKEN_BLOCK, used - first)};
    }
}

static void make_scales(job *j)
{
    const awq__candidates *candidates = j->search->candidates;
    int64_t H = candidates->cols;
    for (int64_t c = 0; c < awq__candidate_count(candidates); c++) {
        float *scale = j->scales + c * 2 * H;
        awq__candidate(candidates, c, scale);
        for (int64_t h = 0; h < H; h++)
            scale[H + h] = 1 / scale[h];
    }
}

/* Adds up the losses in the order of the blocks and takes the best candidate. */
static awq_status choose(const job *j, float *scale, float *unscale, awq__found_scale *found)
{
    const block_search *search = j->search;
    int64_t candidates = awq__candidate_count(search->candidates), H = search->candidates->cols;
    double *total = awq__alloc(search->forward->ctx, (size_t)candidates, sizeof *total, "losses");
    if (!total)
        return AWQ_ERROR_MEMORY;
    for (int64_t b = 0; b < j->block_count; b++)
        for (int64_t c = 0; c < candidates; c++)
            total[c] += j->losses[b * candidates + c];
    awq_status status = awq__choose(search->forward->ctx, search->layer->moe.experts[0].gate.name,
                                    total, candidates, found);
    if (search->losses)
        memcpy(search->losses, total, (size_t)candidates * sizeof *total);
    awq__free(total);
    if (status != AWQ_OK)
        return status;
    memcpy(scale, j->scales + found->candidate * 2 * H, (size_t)H * sizeof *scale);
    memcpy(unscale, j->scales + found->candidate * 2 * H + H, (size_t)H * sizeof *unscale);
    return AWQ_OK;
}

awq_status search_block(const block_search *search, float *scale, float *unscale,
                        awq__found_scale *found)
{
    awq_context *ctx = search->forward->ctx;
    const awq__routes *routes = search->routes;
    int64_t slots = routes->tokens * routes->per_token;
    size_t most = (size_t)(slots / AWQ__TOKEN_BLOCK + routes->experts);
    size_t candidates = (size_t)awq__candidate_count(search->candidates);
    job j = {.search = search};
    j.blocks = awq__alloc(ctx, most, sizeof *j.blocks, "scale search");
    j.slots = awq__alloc(ctx, (size_t)slots, sizeof *j.slots, "scale search");
    j.scales = awq__alloc_aligned(ctx, candidates * 2 * (size_t)search->layer->hidden,
                                  sizeof *j.scales, "candidate scales");
    j.losses = awq__alloc(ctx, most * candidates, sizeof *j.losses, "losses");
    awq_status status = awq__scratch_create(ctx, "scale search work space", &j.scratch);
    if (status == AWQ_OK && !(j.blocks && j.slots && j.scales && j.losses))
        status = AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        space parts;
        cut_blocks(&j);
        make_scales(&j);
        status = awq__parallel_scratch(&j.scratch, (size_t)cut_space(&j, NULL, &parts),
                                       j.block_count, run_block, &j);
    }
    if (status == AWQ_OK)
        status = choose(&j, scale, unscale, found);
    awq__scratch_free(&j.scratch);
    awq__free(j.losses);
    awq__free_aligned(j.scales);
    awq__free(j.slots);
    awq__free(j.blocks);
    return status;
}
