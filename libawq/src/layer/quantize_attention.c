/* The attention of one layer: q, k and v through the input norm, o through v. */
#include "layer/quantize.h"

#include <math.h>
#include <string.h>

#define PARTS 4           /* q, k, v, o */
#define STATS_TOKENS 4096 /* whose inputs are kept at a time */

typedef struct attention_job {
    awq__quantizer *job;
    const awq__layer *layer;
    awq__folded *folded;
    const awq__treatment *treatment[PARTS]; /* NULL: stays float */
    bool fold_input, fold_value;
    awq__sequences sequences; /* whose inputs are kept */
    float *x, *c;             /* [T,H] input of q, k, v; [T,Q] input of o: of those */
    awq__stats input, output; /* of x and of c, whole */
    awq__found_scale input_found, value_found;
    int64_t steps;
    awq__range *range[PARTS];
} attention_job;

static const awq__weight *weight_of(const awq__layer *layer, int part)
{
    const awq__attention *a = &layer->attention;
    const awq__weight *weights[PARTS] = {&a->q, &a->k, &a->v, &a->o};
    return weights[part];
}

static const awq__module *module_of(const attention_job *j, int part)
{
    const awq__part parts[PARTS] = {AWQ__PART_Q, AWQ__PART_K, AWQ__PART_V, AWQ__PART_O};
    const awq__arch *arch = j->job->plan->model->arch;
    return &arch->modules[awq__arch_index(arch, j->layer->number, parts[part], -1)];
}

static awq__scheme scheme_of(const attention_job *j, int part)
{
    const awq__module *first = j->job->plan->model->arch->modules;
    return awq__model_plan_scheme(j->job->plan, (size_t)(module_of(j, part) - first),
                                  weight_of(j->layer, part)->dtype);
}

/* ---- statistics ---- */

static void keep_inputs(void *user, int64_t slot, int worker, int64_t tokens, const float *x,
                        const float *c)
{
    attention_job *j = user;
    (void)worker;
    int64_t H = j->layer->hidden, Q = j->layer->attention.o.cols;
    int64_t first = j->sequences.offsets[slot] - j->sequences.offsets[0];
    memcpy(j->x + first * H, x, (size_t)(tokens * H) * sizeof *x);
    memcpy(j->c + first * Q, c, (size_t)(tokens * Q) * sizeof *c);
}

/* Statistics of the inputs of some of the sequences. */
static awq_status add_sequences(attention_job *j, const float *hidden)
{
    awq_context *ctx = j->job->ctx;
    awq__forward forward = j->job->calibration.forward;
    forward.sequences = &j->sequences;
    int64_t T = j->sequences.offsets[j->sequences.count] - j->sequences.offsets[0];
    int64_t H = j->input.cols, Q = j->output.cols;
    j->x = awq__alloc_aligned(ctx, (size_t)(T * H), sizeof *j->x, "attention inputs");
    j->c = awq__alloc_aligned(ctx, (size_t)(T * Q), sizeof *j->c, "attention inputs");
    awq_status status = j->x && j->c ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = awq__attention_forward(&forward, j->layer, hidden, false, NULL, keep_inputs, j);
    if (status == AWQ_OK)
        status = awq__stats_add_whole(ctx, forward.compute, &j->input, T, j->x, H);
    if (status == AWQ_OK)
        status = awq__stats_add_whole(ctx, forward.compute, &j->output, T, j->c, Q);
    awq__free_aligned(j->x);
    awq__free_aligned(j->c);
    j->x = j->c = NULL;
    return status;
}

static awq_status gather(attention_job *j, const float *hidden)
{
    const awq__sequences *all = j->job->calibration.forward.sequences;
    int64_t H = j->layer->hidden, Q = j->layer->attention.o.cols;
    awq_status status = awq__stats_create(j->job->ctx, H, H, &j->input);
    if (status == AWQ_OK)
        status = awq__stats_create(j->job->ctx, Q, Q, &j->output);
    for (int64_t first = 0; first < all->count && status == AWQ_OK; first += j->sequences.count) {
        j->sequences = awq__some_sequences(all, first, STATS_TOKENS);
        status = add_sequences(j, hidden);
    }
    if (status == AWQ_OK) {
        awq__stats_mirror(j->job->calibration.forward.compute, &j->input);
        awq__stats_mirror(j->job->calibration.forward.compute, &j->output);
    }
    return status;
}

/* ---- scales ---- */

/* Averages values of query heads that share a key/value head, so that one scale serves them all:
   the fold into v is exact with fewer heads too. */
static void tie_heads(const awq__attention *a, double *values)
{
    int64_t D = a->head_dim, shared = a->heads / a->kv_heads;
    for (int64_t kv = 0; kv < a->kv_heads; kv++)
        for (int64_t i = 0; i < D; i++) {
            double sum = 0;
            for (int64_t s = 0; s < shared; s++)
                sum += values[(kv * shared + s) * D + i];
            for (int64_t s = 0; s < shared; s++)
                values[(kv * shared + s) * D + i] = sum / (double)shared;
        }
}

static awq_status search(attention_job *j, const int *parts, int part_count,
                         const awq__stats *stats, bool tie, const float *norm, float **scale,
                         float **unscale, awq__found_scale *found)
{
    awq_context *ctx = j->job->ctx;
    const awq__compute *compute = j->job->calibration.forward.compute;
    const awq__weight *weights[PARTS];
    int64_t K = stats->cols, count = 0, work = 0;
    awq__scheme scheme = {0};
    for (int i = 0; i < part_count; i++) {
        if (!j->treatment[parts[i]])
            continue;
        weights[count] = weight_of(j->layer, parts[i]);
        scheme = scheme_of(j, parts[i]);
        work = awq__max(work, awq__weight_work(weights[count++]));
    }
    double *salience = awq__alloc(ctx, 2 * (size_t)K, sizeof *salience, "salience");
    float *space = awq__alloc_aligned(ctx, (size_t)work, sizeof *space, "weights");
    *scale = awq__alloc_aligned(ctx, (size_t)K, sizeof **scale, "scales");
    *unscale = awq__alloc_aligned(ctx, (size_t)K, sizeof **unscale, "scales");
    awq_status status = salience && space && *scale && *unscale ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        double *relative = salience + K;
        for (int64_t k = 0; k < K; k++)
            salience[k] = stats->abs_sums[k] / (double)stats->tokens;
        awq__mean_relative(compute, weights, count, scheme.group, relative, space);
        if (tie) {
            tie_heads(&j->layer->attention, salience);
            tie_heads(&j->layer->attention, relative);
        }
        awq__candidates candidates = {.cols = K,
                                      .salience = salience,
                                      .relative = relative,
                                      .steps = j->steps,
                                      .norm = norm,
                                      .norm_dtype = j->layer->attention.norm_dtype};
        status = awq__search_linear(ctx, compute, weights, count, &scheme, &candidates, stats,
                                    *scale, *unscale, found);
    }
    awq__free(salience);
    awq__free_aligned(space);
    return status;
}

static void fold_input(attention_job *j)
{
    awq__folded *folded = j->folded;
    awq__attention *a = &folded->layer.attention;
    const float *norm = j->layer->attention.norm;
    for (int64_t h = 0; h < j->layer->hidden; h++)
        folded->attention_norm[h] =
            awq__fold_norm(a->norm_dtype, norm[h], folded->attention_scale[h]);
    a->q.col_scale = a->k.col_scale = a->v.col_scale = folded->attention_scale;
}

/* v's row for channel i of a key/value head is divided by what o's columns of all its query heads
   are multiplied by. */
static awq_status fold_value(attention_job *j)
{
    awq__folded *folded = j->folded;
    awq__attention *a = &folded->layer.attention;
    int64_t D = a->head_dim, shared = a->heads / a->kv_heads;
    folded->value_row_unscale =
        awq__alloc_aligned(j->job->ctx, (size_t)(a->kv_heads * D), sizeof(float), "scales");
    if (!folded->value_row_unscale)
        return AWQ_ERROR_MEMORY;
    for (int64_t i = 0; i < a->kv_heads * D; i++)
        folded->value_row_unscale[i] = folded->value_unscale[i / D * shared * D + i % D];
    a->v.row_scale = a->v.bias_scale = folded->value_row_unscale;
    a->o.col_scale = folded->value_scale;
    return AWQ_OK;
}

/* ---- clipping ---- */

/* v and o; clipping q and k is known to hurt. Ranges stay only if they lower the whole loss. */
static awq_status clip_part(attention_job *j, int part)
{
    awq_context *ctx = j->job->ctx;
    const awq__compute *compute = j->job->calibration.forward.compute;
    const awq__weight *weight = weight_of(&j->folded->layer, part);
    const awq__stats *whole = part == 3 ? &j->output : &j->input;
    awq__scheme scheme = scheme_of(j, part);
    size_t groups = (size_t)(weight->rows * (weight->cols / scheme.group));
    awq__stats blocks = {0};
    float *space = awq__alloc_aligned(ctx, (size_t)awq__moment_loss_space(weight, whole),
                                      sizeof *space, "clip search");
    j->range[part] = awq__alloc_aligned(ctx, groups, sizeof *j->range[part], "ranges of groups");
    awq_status status = space && j->range[part] ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = awq__stats_blocks(ctx, compute, whole, scheme.group, &blocks);
    if (status == AWQ_OK)
        status = awq__search_clip(ctx, compute, weight, &scheme, &blocks, j->range[part]);
    if (status == AWQ_OK) {
        double with = awq__moment_loss(compute, weight, &scheme, j->range[part], whole, space);
        double without = awq__moment_loss(compute, weight, &scheme, NULL, whole, space);
        if (!(with < without)) {
            awq__free_aligned(j->range[part]);
            j->range[part] = NULL;
        }
    }
    awq__stats_free(&blocks);
    awq__free_aligned(space);
    return status;
}

static awq_status clip(attention_job *j)
{
    const awq__compute *compute = j->job->calibration.forward.compute;
    if (j->folded->attention_unscale)
        awq__stats_rescale(compute, &j->input, j->folded->attention_unscale);
    if (j->folded->value_unscale)
        awq__stats_rescale(compute, &j->output, j->folded->value_unscale);
    awq_status status = AWQ_OK;
    for (int part = 2; part < PARTS && status == AWQ_OK; part++)
        if (j->treatment[part] && j->treatment[part]->clip)
            status = clip_part(j, part);
    return status;
}

/* ---- the whole ---- */

static void add_found(const attention_job *j, cJSON *object, const char *ratio, const char *plain,
                      const char *loss, const awq__found_scale *found)
{
    awq__json_builder *b = &j->job->built;
    awq__report_ratio(b, object, ratio, found, j->steps);
    awq__json_add_number(b, object, plain, found->identity_loss);
    awq__json_add_number(b, object, loss, found->loss);
}

static void report_attention(const attention_job *j, const awq__proof *proof, cJSON *report)
{
    awq__json_builder *b = &j->job->built;
    cJSON *object = awq__json_add_object(b, report, "attention");
    if (j->fold_input)
        add_found(j, object, "qkv_ratio", "qkv_plain_loss", "qkv_loss", &j->input_found);
    if (j->fold_value)
        add_found(j, object, "o_ratio", "o_plain_loss", "o_loss", &j->value_found);
    awq__json_add_number(b, object, "fold_error", proof->largest_error);
    awq__json_add_number(b, object, "fold_tokens", (double)proof->tokens);
    awq__json_add_bool(b, object, "v_clipped", j->range[2] != NULL);
    awq__json_add_bool(b, object, "o_clipped", j->range[3] != NULL);
}

static awq_status run_awq(attention_job *j, const float *hidden, cJSON *report)
{
    static const int input_parts[] = {0, 1, 2}, value_parts[] = {3};
    awq__folded *folded = j->folded;
    awq__proof proof = {0};
    int64_t n = j->layer->number;
    awq_status status = awq__stage_enter(j->job->stages, AWQ__STAGE_STATISTICS, n, 0.01);
    if (status == AWQ_OK)
        status = gather(j, hidden);
    if (status == AWQ_OK)
        status = awq__stage_enter(j->job->stages, AWQ__STAGE_SCALES, n, 0.02);
    if (status == AWQ_OK && j->fold_input) {
        status = search(j, input_parts, 3, &j->input, false, j->layer->attention.norm,
                        &folded->attention_scale, &folded->attention_unscale, &j->input_found);
        if (status == AWQ_OK)
            fold_input(j);
    }
    if (status == AWQ_OK && j->fold_value) {
        status = search(j, value_parts, 1, &j->output, true, NULL, &folded->value_scale,
                        &folded->value_unscale, &j->value_found);
        if (status == AWQ_OK)
            status = fold_value(j);
    }
    if (status == AWQ_OK)
        status = awq__stage_enter(j->job->stages, AWQ__STAGE_PROOF, n, 0.05);
    if (status == AWQ_OK)
        status = awq__prove_attention(j->job, j->layer, &folded->layer, hidden, &proof);
    if (status == AWQ_OK)
        status = awq__stage_enter(j->job->stages, AWQ__STAGE_CLIP, n, 0.06);
    if (status == AWQ_OK)
        status = clip(j);
    if (status == AWQ_OK)
        report_attention(j, &proof, report);
    return status;
}

static bool compensates(const attention_job *j, int part)
{
    return j->treatment[part] && j->treatment[part]->gptq;
}

/* q, k and v, or o: those that GPTQ rounds, with the moments of their input, which are used up.
 */
static awq_status store_compensated(attention_job *j, int first, int last, awq__stats *stats)
{
    awq__gptq gptq = {0};
    awq_status status = awq__gptq_create(j->job->ctx, j->job->calibration.forward.compute,
                                         module_of(j, first)->name, stats->moments, stats->cols,
                                         scheme_of(j, first).group, AWQ__GPTQ_DAMPING, &gptq);
    for (int part = first; part <= last && status == AWQ_OK; part++) {
        const awq__weight *weight = weight_of(&j->folded->layer, part);
        awq__codes codes = {0};
        if (!compensates(j, part))
            continue;
        status = awq__store_compensate(j->job->writer, module_of(j, part), weight, &gptq, &codes);
        if (status == AWQ_OK)
            status = awq__store_codes(j->job->writer, module_of(j, part), weight, &codes);
        awq__codes_free(&codes);
    }
    awq__gptq_free(&gptq);
    return status;
}

static awq_status store_part(attention_job *j, int part)
{
    const awq__weight *weight = weight_of(&j->folded->layer, part);
    return j->treatment[part]
               ? awq__store_rounded(j->job->writer, module_of(j, part), weight, j->range[part])
               : awq__store_weight(j->job->writer, module_of(j, part), weight);
}

/* Norms of heads and sinks, which no fold changes. */
static awq_status copy_vectors(attention_job *j)
{
    const awq__arch *arch = j->job->plan->model->arch;
    const awq__attention *a = &j->layer->attention;
    const float *const vectors[] = {a->q_norm, a->k_norm, a->sinks};
    awq_status status = AWQ_OK;
    for (int i = 0; i < 3 && status == AWQ_OK; i++)
        if (vectors[i]) {
            size_t index =
                awq__arch_index(arch, j->layer->number, (awq__part)(AWQ__PART_Q_NORM + i), -1);
            status = awq__store_vector(j->job->writer, &arch->modules[index], vectors[i]);
        }
    return status;
}

static awq_status store(attention_job *j)
{
    const awq__arch *arch = j->job->plan->model->arch;
    awq_status status = awq__store_vector(
        j->job->writer,
        &arch->modules[awq__arch_index(arch, j->layer->number, AWQ__PART_ATTENTION_NORM, -1)],
        j->folded->attention_norm);
    if (status == AWQ_OK && (compensates(j, 0) || compensates(j, 1) || compensates(j, 2)))
        status = store_compensated(j, 0, 2, &j->input);
    if (status == AWQ_OK && compensates(j, 3))
        status = store_compensated(j, 3, 3, &j->output);
    for (int part = 0; part < PARTS && status == AWQ_OK; part++)
        if (!compensates(j, part))
            status = store_part(j, part);
    return status == AWQ_OK ? copy_vectors(j) : status;
}

awq_status awq__quantize_attention(awq__quantizer *job, const awq__layer *layer,
                                   awq__folded *folded, const float *hidden, cJSON *report)
{
    const awq__arch *arch = job->plan->model->arch;
    uint32_t folds = arch->layers[layer->number].folds;
    attention_job j = {.job = job, .layer = layer, .folded = folded};
    j.steps = job->plan->settings.quantize.ratio_steps;
    bool calibrates = false, scales[PARTS];
    for (int part = 0; part < PARTS; part++) {
        j.treatment[part] = job->plan->rules.of[module_of(&j, part) - arch->modules];
        calibrates |= j.treatment[part] && j.treatment[part]->calibrate;
        scales[part] = j.treatment[part] && j.treatment[part]->scale;
    }
    j.fold_input = (folds & AWQ_FOLD_ATTENTION_NORM) && (scales[0] || scales[1] || scales[2]);
    j.fold_value = (folds & AWQ_FOLD_VALUE) && scales[3];
    awq_status status = AWQ_OK;
    if (calibrates)
        status = run_awq(&j, hidden, report);
    if (status == AWQ_OK)
        status = awq__stage_enter(job->stages, AWQ__STAGE_WRITE, layer->number, 0.08);
    if (status == AWQ_OK)
        status = store(&j);
    awq__stats_free(&j.input);
    awq__stats_free(&j.output);
    for (int part = 0; part < PARTS; part++)
        awq__free_aligned(j.range[part]);
    return status;
}
