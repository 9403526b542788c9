/* The scales of a block's inputs. */
#include "backend/cpu.h"

#include <math.h>
#include <string.h>

/* ---- w_mean ---- */

typedef struct weighing {
    awq__block *block;
    int64_t work; /* floats */
    awq__scratch scratch;
} weighing;

/* Of the readers of the same tokens: a task. */
static awq_status weigh_seen(void *arg, int64_t index, int worker)
{
    weighing *w = arg;
    awq__seen *seen = &w->block->seen[index];
    const awq__reader *first = awq__seen_quantized(seen);
    const awq__weight *weights[AWQ__MOST_READERS];
    int64_t count = 0;
    if (!seen->input->scale || !first)
        return AWQ_OK;
    seen->data->w_rows = 0;
    for (int64_t i = 0; i < seen->reader_count; i++)
        if (seen->readers[i].treatment) {
            weights[count++] = seen->readers[i].weight;
            seen->data->w_rows += seen->readers[i].weight->rows;
        }
    float *work = awq__scratch_get(&w->scratch, worker, (size_t)w->work);
    seen->data->w_mean = awq__alloc(w->block->ctx, (size_t)seen->input->cols,
                                    sizeof *seen->data->w_mean, "magnitudes of weights");
    AWQ__CHECK_ALLOC(work && seen->data->w_mean);
    awq__w_mean(w->block->data->compute, weights, count, first->scheme.group, seen->data->w_mean,
                work);
    return AWQ_OK;
}

static awq_status weigh(awq__block *block)
{
    awq_status status;
    weighing w = {.block = block};
    for (int64_t i = 0; i < block->reader_count; i++)
        w.work = awq__max(w.work, awq__weight_work(block->readers[i].weight));
    AWQ__TRY(awq__scratch_create(block->ctx, "weights", &w.scratch));
    AWQ__TRY(awq__parallel_scratch(&w.scratch, (size_t)w.work, block->seen_count, weigh_seen, &w));
done:
    awq__scratch_free(&w.scratch);
    return status;
}

/* Over all readers of an input, in proportion to their rows. */
static void join_means(const awq__input *input, double *w_mean)
{
    int64_t rows = 0;
    memset(w_mean, 0, (size_t)input->cols * sizeof *w_mean);
    for (int64_t i = 0; i < input->seen_count; i++)
        rows += input->seen[i].data->w_rows;
    for (int64_t i = 0; i < input->seen_count; i++) {
        awq__seen *seen = &input->seen[i];
        for (int64_t k = 0; k < input->cols && seen->data->w_mean; k++)
            w_mean[k] += seen->data->w_rows == rows
                             ? seen->data->w_mean[k]
                             : seen->data->w_mean[k] * (double)seen->data->w_rows / (double)rows;
        awq__free(seen->data->w_mean);
        seen->data->w_mean = NULL;
    }
}

/* ---- the search ---- */

typedef struct searcher {
    awq__block *block;
    awq__input **inputs; /* that have a set each */
    awq__search_set *sets;
    awq__search_item *items;
    int64_t set_count, item_count;
    double *w_means; /* [K] of each set, one after the other */
} searcher;

static awq_status check_salience(const awq__block *block, const awq__input *input)
{
    const double *salience = awq__cpu_salience(block, input);
    for (int64_t k = 0; k < input->cols; k++)
        if (!isfinite(salience[k]))
            return awq__fail(block->ctx, AWQ_ERROR_NUMERIC,
                             "%s: its input on the calibration tokens is not finite in channel "
                             "%lld",
                             input->readers[0].module->name, (long long)k);
    return AWQ_OK;
}

/* Columns that have the same scales have the mean of their values. */
static void tie_columns(const awq__input *input, double *values)
{
    int64_t D = input->site.run, shared = input->site.shared;
    for (int64_t first = 0; shared > 1 && first < input->cols; first += shared * D)
        for (int64_t i = first; i < first + D; i++) {
            double sum = 0;
            for (int64_t s = 0; s < shared; s++)
                sum += values[i + s * D];
            for (int64_t s = 0; s < shared; s++)
                values[i + s * D] = sum / (double)shared;
        }
}

static void add_set(searcher *s, awq__input *input, double *w_mean)
{
    const awq__fold_site *site = &input->site;
    join_means(input, w_mean);
    tie_columns(input, awq__cpu_salience(s->block, input));
    tie_columns(input, w_mean);
    s->inputs[s->set_count] = input;
    s->sets[s->set_count] =
        (awq__search_set){.candidates = {.cols = input->cols,
                                         .salience = awq__cpu_salience(s->block, input),
                                         .w_mean = w_mean,
                                         .steps = s->block->settings->quantize.ratio_steps,
                                         .norm = site->kind == AWQ__FOLD_NORM ? site->norm : NULL,
                                         .norm_cols = site->run,
                                         .norm_dtype = site->norm_dtype,
                                         .norm_shift = site->norm_shift},
                          .name = input->readers[0].module->name,
                          .scale = input->scale,
                          .unscale = input->unscale};
    for (int64_t i = 0; i < input->reader_count; i++) {
        const awq__reader *reader = &input->readers[i];
        if (reader->treatment)
            s->items[s->item_count++] = (awq__search_item){.weight = reader->weight,
                                                           .stats = &reader->seen->data->stats,
                                                           .row_weight = reader->data->row_weight,
                                                           .scheme = reader->scheme,
                                                           .set = s->set_count,
                                                           .of = reader};
    }
    s->set_count++;
}

static awq_status search(searcher *s, awq__search_losses losses)
{
    awq__block *block = s->block;
    double *w_mean = s->w_means;
    for (int64_t i = 0; i < block->input_count; i++) {
        awq__input *input = &block->inputs[i];
        if (!input->scale)
            continue;
        AWQ__CHECK(check_salience(block, input));
        add_set(s, input, w_mean);
        w_mean += input->cols;
    }
    AWQ__CHECK(awq__search_sets_by(block->ctx, block->data->compute, s->items, s->item_count,
                                   s->sets, s->set_count, losses, block));
    for (int64_t i = 0; i < s->set_count; i++) {
        awq__found_scale *found = &s->inputs[i]->found;
        *found = s->sets[i].found;
        AWQ__CHECK(awq__salience_summarize(block->ctx, awq__cpu_salience(block, s->inputs[i]),
                                           s->inputs[i]->cols, &found->salience));
    }
    return AWQ_OK;
}

/* Scales are chosen: where clip ranges have statistics of their own, the others make room. */
static void drop_sketches(const awq__block *block)
{
    for (int64_t i = 0; i < block->seen_count; i++)
        if (block->seen[i].data->blocks.cols)
            awq__stats_free(&block->seen[i].data->stats);
}

awq_status awq__cpu_search_by(awq__block *block, awq__search_losses losses)
{
    awq_status status;
    awq_context *ctx = block->ctx;
    size_t inputs = (size_t)block->input_count, cols = 0;
    for (int64_t i = 0; i < block->input_count; i++)
        cols += block->inputs[i].scale ? (size_t)block->inputs[i].cols : 0;
    searcher s = {.block = block};
    s.inputs = awq__alloc(ctx, inputs, sizeof *s.inputs, "scale search");
    s.sets = awq__alloc(ctx, inputs, sizeof *s.sets, "scale search");
    s.items = awq__alloc(ctx, (size_t)block->reader_count, sizeof *s.items, "scale search");
    s.w_means = awq__alloc(ctx, cols, sizeof *s.w_means, "scale search");
    AWQ__TRY_ALLOC(s.inputs && s.sets && s.items && s.w_means);
    AWQ__TRY(search(&s, losses));
done:
    awq__free(s.inputs);
    awq__free(s.sets);
    awq__free(s.items);
    awq__free(s.w_means);
    return status;
}

awq_status awq__cpu_search(awq__block *block)
{
    AWQ__CHECK(weigh(block));
    AWQ__CHECK(awq__cpu_search_by(block, NULL));
    drop_sketches(block);
    return AWQ_OK;
}

/* ---- what schemes do ---- */

awq_status awq__cpu_scheme_losses(awq__block *block, const int64_t *readers, int64_t count,
                                  const awq__scheme *schemes, int64_t choices, double *losses)
{
    awq_status status;
    awq__scheme_item *items =
        awq__alloc(block->ctx, (size_t)count, sizeof *items, "losses of schemes");
    AWQ__TRY_ALLOC(items);
    for (int64_t i = 0; i < count; i++) {
        const awq__reader *reader = &block->readers[readers[i]];
        items[i] = (awq__scheme_item){.weight = reader->weight,
                                      .stats = &reader->seen->data->stats,
                                      .row_weight = reader->data->row_weight,
                                      .scale = reader->input->scale,
                                      .unscale = reader->input->unscale,
                                      .schemes = schemes + i * choices};
    }
    AWQ__TRY(awq__scheme_losses(block->ctx, block->data->compute, items, count, choices, losses));
done:
    awq__free(items);
    return status;
}
