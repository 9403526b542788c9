/*
 * Scale search by the gram. The squared error of a linear's output depends on its inputs only
 * through x^T x, or a sketch of it. A candidate therefore costs the same for any number of tokens.
 */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* Ratios of the first round are at most so many strides apart; the rounds after it halve the
 * stride. */
#define COARSE_RATIOS 6
#define SUMS 512 /* rows whose losses are found at a time */

double awq__error_loss(const awq__compute *compute, const awq__stats *stats, int64_t n,
                       const float *error, const float *row_weight, float *product)
{
    int64_t K = stats->cols, r = stats->rows;
    if (r) {
        compute->multiply_nt(n, r, K, error, K, stats->gram, K, 0, product, r);
        return compute->weighted_dot(n, r, product, product, row_weight);
    }
    double sums[SUMS], loss = 0;
    for (int64_t first = 0; first < n; first += SUMS) {
        int64_t count = awq__min(SUMS, n - first);
        compute->quadratic(count, K, error + first * K, stats->gram, product, sums);
        for (int64_t i = 0; i < count; i++)
            loss += (row_weight ? (double)row_weight[first + i] : 1) * sums[i];
    }
    return loss;
}

/* Columns whose errors are multiplied while they are in the cache. */
#define PANEL 256

/* A block of n rows in work, by panels of columns. */
typedef struct panels {
    int64_t width;
    float *values;  /* [n,width] each, one after the other */
    float *error;   /* of one panel */
    float *product; /* [n,r] of a sketch, [n,K] of a whole gram */
} panels;

/* Whole groups of columns; all of them for a whole gram, which needs the errors of all at once. */
static int64_t panel_width(const awq__stats *stats, int64_t group)
{
    return stats->rows ? awq__min(awq__max(PANEL / group, 1) * group, stats->cols) : stats->cols;
}

/* Floats of work space: the error has room for a row that is read whole, too. */
static int64_t panel_space(const awq__weight *weight, const awq__stats *stats, int64_t width)
{
    int64_t n = awq__weight_block(weight), K = weight->cols;
    return n * K + awq__max(n * width, K) + n * (stats->rows ? stats->rows : K);
}

static panels read_block(const awq__compute *compute, const awq__weight *weight, int64_t first,
                         int64_t n, int64_t width, float *space)
{
    int64_t K = weight->cols;
    panels p = {.width = width, .values = space, .error = space + n * K};
    p.product = p.error + awq__max(n * width, K);
    awq__weight_read_panels(compute, weight, first, n, width, p.values, p.error);
    return p;
}

/* sum over the n rows of row_weight[row] * e G e^T for e = Q(w * scale) * unscale - w. */
static double block_loss(const awq__compute *compute, const awq__scheme *scheme,
                         const awq__stats *stats, int64_t n, const float *scale,
                         const float *unscale, const float *row_weight, const panels *p)
{
    int64_t K = stats->cols, r = stats->rows;
    for (int64_t col = 0; col < K; col += p->width) {
        int64_t cols = awq__min(p->width, K - col);
        compute->quantize_error(n, cols, scheme, NULL, scale + col, unscale + col,
                                p->values + n * col, p->error);
        if (r)
            compute->multiply_nt(n, r, cols, p->error, cols, stats->gram + col, K, col ? 1 : 0,
                                 p->product, r);
    }
    return r ? compute->weighted_dot(n, r, p->product, p->product, row_weight)
             : awq__error_loss(compute, stats, n, p->error, row_weight, p->product);
}

double awq__gram_loss(const awq__compute *compute, const awq__weight *weight,
                      const awq__scheme *scheme, const awq__range *range, const awq__stats *stats,
                      float *space)
{
    int64_t K = weight->cols, block = awq__weight_block(weight), G = K / scheme->group;
    float *values = space, *error = values + block * K, *product = error + block * K;
    double loss = 0;
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t n = awq__min(block, weight->rows - first);
        awq__weight_read(compute, weight, first, n, values);
        compute->quantize_error(n, K, scheme, range ? range + first * G : NULL, NULL, NULL, values,
                                error);
        loss += awq__error_loss(compute, stats, n, error, NULL, product);
    }
    return loss;
}

int64_t awq__gram_loss_space(const awq__weight *weight, const awq__stats *stats)
{
    return panel_space(weight, stats, weight->cols);
}

/* ---- the search ---- */

/* One set in work. */
typedef struct set_state {
    double *losses; /* [candidates]; NaN: not tried */
    int64_t *tried; /* candidates of this round */
    int64_t count;
    float *scale, *unscale; /* [count,K] */
} set_state;

/* A block of rows of one item, against all candidates of the round. */
typedef struct task {
    int64_t item, first;
} task;

typedef struct search {
    awq_context *ctx;
    const awq__compute *compute;
    const awq__search_item *items;
    int64_t item_count;
    awq__search_set *sets;
    set_state *states;
    int64_t set_count, most_candidates, space;
    task *tasks;
    int64_t task_count;
    double *losses; /* [tasks][most_candidates] */
    awq__search_losses other;
    void *user;
    awq__scratch scratch;
} search;

static awq_status run_task(void *arg, int64_t index, int worker)
{
    search *s = arg;
    const awq__search_item *item = &s->items[s->tasks[index].item];
    const set_state *set = &s->states[item->set];
    int64_t K = item->weight->cols, first = s->tasks[index].first;
    int64_t n = awq__min(awq__weight_block(item->weight), item->weight->rows - first);
    float *space = awq__scratch_get(&s->scratch, worker, (size_t)s->space);
    AWQ__CHECK_ALLOC(space);
    if (!set->count)
        return AWQ_OK;
    panels p = read_block(s->compute, item->weight, first, n,
                          panel_width(item->stats, item->scheme.group), space);
    for (int64_t c = 0; c < set->count; c++) {
        const float *scale = set->scale + c * K, *unscale = set->unscale + c * K;
        s->losses[index * s->most_candidates + c] =
            block_loss(s->compute, &item->scheme, item->stats, n, scale, unscale,
                       item->row_weight ? item->row_weight + first : NULL, &p);
    }
    return AWQ_OK;
}

/* Of a set: a task. */
static awq_status make_scales(void *arg, int64_t index, int worker)
{
    const search *s = arg;
    const awq__search_set *set = &s->sets[index];
    const set_state *state = &s->states[index];
    int64_t K = set->candidates.cols;
    (void)worker;
    for (int64_t c = 0; c < state->count; c++)
        awq__candidate(&set->candidates, state->tried[c], state->scale + c * K);
    for (int64_t i = 0; i < state->count * K; i++)
        state->unscale[i] = 1 / state->scale[i];
    return AWQ_OK;
}

static void add_candidate(set_state *state, int64_t candidate)
{
    if (isnan(state->losses[candidate]))
        state->tried[state->count++] = candidate;
}

/* The best ratio that was tried, whether or not it is better than the identity. */
static int64_t best_ratio(const set_state *state, int64_t steps)
{
    int64_t best = 0;
    for (int64_t r = 1; r <= steps; r++)
        if (state->losses[1 + r] < state->losses[1 + best])
            best = r;
    return best;
}

/* The first round tries the identity and every stride-th ratio; later ones the neighbours, a stride
   away, of the best ratio so far. */
static void choose_candidates(const search *s, bool first, int64_t stride)
{
    for (int64_t i = 0; i < s->set_count; i++) {
        set_state *state = &s->states[i];
        int64_t steps = s->sets[i].candidates.steps;
        state->count = 0;
        if (first) {
            add_candidate(state, 0);
            for (int64_t r = 0; r < steps; r += stride)
                add_candidate(state, 1 + r);
            add_candidate(state, 1 + steps);
        } else {
            int64_t best = best_ratio(state, steps);
            if (best >= stride)
                add_candidate(state, 1 + best - stride);
            if (best + stride <= steps)
                add_candidate(state, 1 + best + stride);
        }
    }
}

/* Losses of the tasks, which are whole items where a function finds them. */
static awq_status find_losses(search *s)
{
    awq_status status;
    if (!s->other)
        return awq__parallel_scratch(&s->scratch, (size_t)s->space, s->task_count, run_task, s);
    awq__search_trial *trials =
        awq__alloc(s->ctx, (size_t)s->set_count, sizeof *trials, "scale search");
    AWQ__TRY_ALLOC(trials);
    for (int64_t i = 0; i < s->set_count; i++)
        trials[i] =
            (awq__search_trial){s->states[i].count, s->states[i].scale, s->states[i].unscale};
    AWQ__TRY(s->other(s->user, s->items, s->item_count, trials, s->set_count, s->most_candidates,
                      s->losses));
done:
    awq__free(trials);
    return status;
}

/* All sets' candidates of a round, side by side; losses are added up in the order of the tasks. */
static awq_status run_round(search *s, bool first, int64_t stride)
{
    choose_candidates(s, first, stride);
    AWQ__CHECK(awq__parallel_for(s->ctx, s->set_count, make_scales, s));
    for (int64_t i = 0; i < s->set_count; i++)
        for (int64_t c = 0; c < s->states[i].count; c++)
            s->states[i].losses[s->states[i].tried[c]] = 0;
    AWQ__CHECK(find_losses(s));
    for (int64_t t = 0; t < s->task_count; t++) {
        set_state *state = &s->states[s->items[s->tasks[t].item].set];
        for (int64_t c = 0; c < state->count; c++)
            state->losses[state->tried[c]] += s->losses[t * s->most_candidates + c];
    }
    return AWQ_OK;
}

/* A loss that is not finite never wins, and does not count as not tried. */
static void exclude_unbounded(const set_state *state)
{
    for (int64_t c = 0; c < state->count; c++)
        if (!isfinite(state->losses[state->tried[c]]))
            state->losses[state->tried[c]] = INFINITY;
}

static awq_status run_rounds(search *s)
{
    int64_t stride = 1, steps = 0;
    for (int64_t i = 0; i < s->set_count; i++)
        steps = awq__max(steps, s->sets[i].candidates.steps);
    while (stride * COARSE_RATIOS < steps)
        stride *= 2;
    AWQ__CHECK(run_round(s, true, stride));
    for (int64_t i = 0; i < s->set_count; i++)
        exclude_unbounded(&s->states[i]);
    for (stride /= 2; stride; stride /= 2) {
        AWQ__CHECK(run_round(s, false, stride));
        for (int64_t i = 0; i < s->set_count; i++)
            exclude_unbounded(&s->states[i]);
    }
    return AWQ_OK;
}

static awq_status take_best(const search *s, int64_t index)
{
    awq__search_set *set = &s->sets[index];
    const set_state *state = &s->states[index];
    int64_t K = set->candidates.cols, candidates = set->candidates.steps + 2;
    for (int64_t c = 1; c < candidates; c++)
        if (isnan(state->losses[c]))
            state->losses[c] = INFINITY;
    AWQ__CHECK(awq__choose(s->ctx, set->name, state->losses, candidates, &set->found));
    awq__candidate(&set->candidates, set->found.candidate, set->scale);
    for (int64_t k = 0; k < K; k++)
        set->unscale[k] = 1 / set->scale[k];
    return AWQ_OK;
}

/* Rows of an item that are a task. */
static int64_t task_rows(const search *s, const awq__search_item *item)
{
    return s->other ? item->weight->rows : awq__weight_block(item->weight);
}

static void measure(search *s, int64_t *tasks)
{
    *tasks = 0;
    for (int64_t i = 0; i < s->item_count; i++) {
        const awq__search_item *item = &s->items[i];
        *tasks += awq__ceil_div(item->weight->rows, task_rows(s, item));
        if (!s->other)
            s->space =
                awq__max(s->space, panel_space(item->weight, item->stats,
                                               panel_width(item->stats, item->scheme.group)));
    }
    for (int64_t i = 0; i < s->set_count; i++)
        s->most_candidates = awq__max(s->most_candidates, s->sets[i].candidates.steps + 2);
}

static awq_status prepare_set(const search *s, int64_t index)
{
    set_state *state = &s->states[index];
    size_t candidates = (size_t)s->sets[index].candidates.steps + 2;
    size_t K = (size_t)s->sets[index].candidates.cols;
    size_t round = candidates < COARSE_RATIOS + 3 ? candidates : COARSE_RATIOS + 3;
    state->losses = awq__alloc(s->ctx, candidates, sizeof *state->losses, "scale search");
    state->tried = awq__alloc(s->ctx, candidates, sizeof *state->tried, "scale search");
    state->scale = awq__alloc_aligned(s->ctx, round * K, sizeof *state->scale, "candidate scales");
    state->unscale =
        awq__alloc_aligned(s->ctx, round * K, sizeof *state->unscale, "candidate scales");
    AWQ__CHECK_ALLOC(state->losses && state->tried && state->scale && state->unscale);
    for (size_t c = 0; c < candidates; c++)
        state->losses[c] = NAN;
    return AWQ_OK;
}

static awq_status prepare(search *s)
{
    int64_t tasks;
    measure(s, &tasks);
    s->states = awq__alloc(s->ctx, (size_t)s->set_count, sizeof *s->states, "scale search");
    s->tasks = awq__alloc(s->ctx, (size_t)tasks, sizeof *s->tasks, "scale search");
    s->losses =
        awq__alloc(s->ctx, (size_t)(tasks * s->most_candidates), sizeof *s->losses, "scale search");
    AWQ__CHECK_ALLOC(s->states && s->tasks && s->losses);
    for (int64_t i = 0; i < s->set_count; i++)
        AWQ__CHECK(prepare_set(s, i));
    for (int64_t i = 0; i < s->item_count; i++)
        for (int64_t first = 0; first < s->items[i].weight->rows;
             first += task_rows(s, &s->items[i]))
            s->tasks[s->task_count++] = (task){i, first};
    return AWQ_OK;
}

awq_status awq__search_sets_by(awq_context *ctx, const awq__compute *compute,
                               const awq__search_item *items, int64_t item_count,
                               awq__search_set *sets, int64_t set_count, awq__search_losses losses,
                               void *user)
{
    search s = {.ctx = ctx,
                .compute = compute,
                .items = items,
                .item_count = item_count,
                .sets = sets,
                .set_count = set_count,
                .other = losses,
                .user = user};
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "scale search work space", &s.scratch));
    AWQ__TRY(prepare(&s));
    AWQ__TRY(run_rounds(&s));
    for (int64_t i = 0; i < set_count; i++)
        AWQ__TRY(take_best(&s, i));
done:
    for (int64_t i = 0; s.states && i < set_count; i++) {
        awq__free(s.states[i].losses);
        awq__free(s.states[i].tried);
        awq__free_aligned(s.states[i].scale);
        awq__free_aligned(s.states[i].unscale);
    }
    awq__scratch_free(&s.scratch);
    awq__free(s.states);
    awq__free(s.tasks);
    awq__free(s.losses);
    return status;
}

awq_status awq__search_sets(awq_context *ctx, const awq__compute *compute,
                            const awq__search_item *items, int64_t item_count,
                            awq__search_set *sets, int64_t set_count)
{
    return awq__search_sets_by(ctx, compute, items, item_count, sets, set_count, NULL, NULL);
}

awq_status awq__search_linear(awq_context *ctx, const awq__compute *compute,
                              const awq__weight *const *weights, int64_t count,
                              const awq__scheme *scheme, const awq__candidates *candidates,
                              const awq__stats *stats, float *scale, float *unscale,
                              awq__found_scale *found)
{
    awq__search_set set = {
        .candidates = *candidates, .name = weights[0]->name, .scale = scale, .unscale = unscale};
    awq__search_item *items = awq__alloc(ctx, (size_t)count, sizeof *items, "scale search");
    AWQ__CHECK_ALLOC(items);
    for (int64_t i = 0; i < count; i++)
        items[i] =
            (awq__search_item){.weight = weights[i], .stats = stats, .scheme = *scheme, .set = 0};
    awq_status status = awq__search_sets(ctx, compute, items, count, &set, 1);
    *found = set.found;
    awq__free(items);
    return status;
}
