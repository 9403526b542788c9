/*
 * Mixed precision: a pass through the model measures what each scheme does to the output of each
 * layer, and a solver chooses among them within the recipe's target.
 *
 * The loss of a unit, a layer or one expert, is the mean squared error of what its experts add to
 * the hidden state, by the gram of their inputs, over the mean square of that hidden state: the
 * next norm divides both alike, so that losses of different layers can be added.
 */
#include "plan/budget.h"
#include "plan/value.h"
#include "layer/experts.h"
#include "run/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_SCHEMES 16

typedef struct mixer {
    awq__job *job;
    awq__model_plan *plan;
    awq__scheme schemes[MOST_SCHEMES]; /* group -1: the whole row */
    int64_t choices;
    bool by_expert;
    int64_t units;
    int64_t *unit_of;         /* [module_count]; -1: not to be chosen */
    double *loss;             /* [units,choices] */
    uint64_t *bytes;          /* [units,choices] */
    int32_t *chosen;          /* [units] */
    uint64_t weights;         /* of all units */
    uint64_t others;          /* bytes of all that has no choice */
    uint64_t limit;           /* of the bytes of all units */
    awq__quantizer quantizer; /* writes nothing */
} mixer;

static const awq__arch *arch_of(const mixer *m)
{
    return m->plan->model->arch;
}

/* ---- what there is to choose from, and for ---- */

/* Else by the size of the whole result. */
static bool by_bits(const mixer *m)
{
    return m->plan->settings.quantize.target_bits > 0;
}

static bool is_automatic(const mixer *m, size_t index)
{
    const awq__treatment *treatment = m->plan->rules.of[index];
    return treatment && treatment->automatic;
}

/* One scheme for a module: its group as a number of columns. */
static awq__scheme scheme_for(const mixer *m, int64_t choice, const awq__module *module,
                              awq_dtype dtype)
{
    awq__scheme scheme = m->schemes[choice];
    if (scheme.group < 0)
        scheme.group = module->cols;
    m->plan->format->complete(&scheme, dtype);
    return scheme;
}

/* Can every module with a choice have this scheme? */
static bool fits_all(mixer *m, int64_t choice)
{
    const awq__arch *arch = arch_of(m);
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        if (!is_automatic(m, i))
            continue;
        awq__scheme scheme = scheme_for(m, choice, module, AWQ_BF16);
        if (module->cols % scheme.group ||
            m->plan->format->check(m->job->ctx, module->name, module->rows, module->cols,
                                   &scheme) != AWQ_OK) {
            awq__clear(m->job->ctx); /* another scheme may fit */
            return false;
        }
    }
    return true;
}

/* "4:128": a scheme of so many bits in groups of so many. */
static awq_status parse_scheme(mixer *m, const char *text, size_t length, awq__scheme *scheme)
{
    char item[32];
    int64_t bits = 0, group = 0;
    snprintf(item, sizeof item, "%.*s", (int)(length < sizeof item ? length : sizeof item - 1),
             text);
    char *colon = strchr(item, ':');
    if (colon)
        *colon = 0;
    const awq_option *bit_option = awq_option_find("quantize.bits");
    const awq_option *group_option = awq_option_find("quantize.group_size");
    if (!colon || !awq__value_integer(item, &bits) || !awq__value_integer(colon + 1, &group) ||
        !awq__word_in(bit_option->choices, '|', item) ||
        !awq__word_in(group_option->choices, '|', colon + 1))
        return awq__fail(
            m->job->ctx, AWQ_ERROR_RECIPE,
            "quantize.target_schemes: \"%.*s\" is no scheme; one is bits (%s), a colon "
            "and a group size (32, 64, 128, -1), as in 4:128",
            (int)length, text, bit_option->choices);
    *scheme = (awq__scheme){.bits = (int)bits, .group = group};
    return AWQ_OK;
}

/* The recipe's list, without schemes that do not fit the format or the shapes. */
static awq_status list_schemes(mixer *m)
{
    const char *text = m->plan->settings.quantize.target_schemes;
    bool symmetric = true;
    if (!m->plan->format->mixed)
        return awq__fail(m->job->ctx, AWQ_ERROR_RECIPE,
                         "quantize.target_%s: the format %s has one scheme for all; format "
                         "compressed-tensors can mix them",
                         by_bits(m) ? "bits" : "size", m->plan->format->name);
    for (size_t i = 0; i < arch_of(m)->module_count; i++)
        if (is_automatic(m, i))
            symmetric = m->plan->rules.of[i]->scheme.symmetric;
    for (const char *at = text; *at;) {
        at += strspn(at, ", ");
        size_t length = strcspn(at, ", ");
        if (!length)
            break;
        if (m->choices == MOST_SCHEMES)
            return awq__fail(m->job->ctx, AWQ_ERROR_RECIPE,
                             "quantize.target_schemes: more than %d schemes", MOST_SCHEMES);
        AWQ__CHECK(parse_scheme(m, at, length, &m->schemes[m->choices]));
        m->schemes[m->choices].symmetric = symmetric;
        m->choices += fits_all(m, m->choices);
        at += length;
    }
    if (m->choices)
        return AWQ_OK;
    return awq__fail(
        m->job->ctx, AWQ_ERROR_RECIPE,
        "quantize.target_schemes: none of \"%s\" fits the format %s and the columns of "
        "all experts",
        text, m->plan->format->name);
}

static awq_status list_units(mixer *m)
{
    const awq__arch *arch = arch_of(m);
    awq_context *ctx = m->job->ctx;
    m->by_expert = m->plan->settings.quantize.target_unit == AWQ__TARGET_UNIT_EXPERT;
    m->unit_of = awq__alloc(ctx, arch->module_count, sizeof *m->unit_of, "schemes to choose");
    AWQ__CHECK_ALLOC(m->unit_of);
    const awq__module *last = NULL;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        m->unit_of[i] = -1;
        if (!is_automatic(m, i))
            continue;
        if (!last || last->layer != module->layer ||
            (m->by_expert && last->expert != module->expert))
            m->units++;
        last = module;
        m->unit_of[i] = m->units - 1;
        m->weights += (uint64_t)module->rows * (uint64_t)module->cols;
    }
    return AWQ_OK;
}

/* Bytes of a module in a scheme. For a target in bits a weight these are codes and scales; for a
 * target size they are all its tensors, its shape tensor included. */
static uint64_t scheme_bytes(const mixer *m, const awq__module *module, int64_t choice)
{
    awq__spec specs[AWQ__MAX_SPECS];
    awq__scheme scheme = scheme_for(m, choice, module, AWQ_BF16);
    uint64_t bytes = 0;
    int count = m->plan->format->specs(module->rows, module->cols, &scheme, specs);
    for (int i = 0; i < count; i++)
        if (!by_bits(m) || specs[i].rank > 1)
            bytes += awq__spec_bytes(&specs[i]);
    return bytes;
}

static awq_status add_sizes(mixer *m)
{
    size_t cells = (size_t)(m->units * m->choices);
    awq_context *ctx = m->job->ctx;
    m->loss = awq__alloc(ctx, cells, sizeof *m->loss, "losses of schemes");
    m->bytes = awq__alloc(ctx, cells, sizeof *m->bytes, "sizes of schemes");
    m->chosen = awq__alloc(ctx, (size_t)m->units, sizeof *m->chosen, "schemes to choose");
    AWQ__CHECK_ALLOC(m->loss && m->bytes && m->chosen);
    for (size_t i = 0; i < arch_of(m)->module_count; i++)
        for (int64_t c = 0; c < m->choices && m->unit_of[i] >= 0; c++)
            m->bytes[m->unit_of[i] * m->choices + c] += scheme_bytes(m, &arch_of(m)->modules[i], c);
    return AWQ_OK;
}

/* ---- what is known of an earlier run ---- */

/* The units of a layer: their number, and the first. */
static int64_t layer_units(const mixer *m, int64_t layer, int64_t *first)
{
    const awq__arch *arch = arch_of(m);
    int64_t last = -1;
    *first = INT64_MAX;
    for (size_t i = arch->layer_first[layer]; i < arch->layer_first[layer + 1]; i++)
        if (m->unit_of[i] >= 0) {
            *first = awq__min(*first, m->unit_of[i]);
            last = m->unit_of[i];
        }
    return last < 0 ? 0 : last - *first + 1;
}

/* Takes over the losses of a layer from the journal. False if it has none. */
static bool recall_losses(mixer *m, int64_t layer)
{
    int64_t first, count = layer_units(m, layer, &first), cells = count * m->choices;
    const cJSON *losses = awq__json_at(awq__journal_layer(&m->job->journal, layer), "losses"),
                *item;
    if (!cJSON_IsArray(losses) || cJSON_GetArraySize(losses) != cells)
        return false;
    double *to = m->loss + (cells ? first * m->choices : 0);
    cJSON_ArrayForEach(item, losses) *to++ = cJSON_IsNumber(item) ? item->valuedouble : INFINITY;
    return true;
}

static awq_status note_losses(mixer *m, int64_t layer)
{
    int64_t first, cells = layer_units(m, layer, &first) * m->choices;
    cJSON *entry = awq__journal_layer(&m->job->journal, layer);
    if (!entry)
        return AWQ_OK;
    cJSON_DeleteItemFromObjectCaseSensitive(entry, "losses");
    cJSON *losses = cJSON_AddArrayToObject(entry, "losses");
    bool added = losses != NULL;
    for (int64_t i = 0; i < cells && added; i++)
        added = cJSON_AddItemToArray(losses, cJSON_CreateNumber(m->loss[first * m->choices + i]));
    if (!added)
        return awq__fail(m->job->ctx, AWQ_ERROR_MEMORY, "out of memory: the journal");
    return awq__journal_write(&m->job->journal);
}

/* ---- the pass through the model ---- */

/* The matrices of a layer whose schemes are to be chosen. */
typedef struct measured {
    int64_t *readers;     /* [count] of the block */
    awq__scheme *schemes; /* [count,choices] */
    int64_t *units;       /* [count] */
    double *losses;       /* [count,choices] */
    int64_t count;
} measured;

static void add_reader(const mixer *m, const awq__block *block, int64_t index, measured *all)
{
    const awq__reader *reader = &block->readers[index];
    int64_t unit = m->unit_of[reader->module - arch_of(m)->modules];
    awq__scheme *schemes = all->schemes + all->count * m->choices;
    if (unit < 0)
        return;
    for (int64_t c = 0; c < m->choices; c++)
        schemes[c] = scheme_for(m, c, reader->module, reader->weight->dtype);
    all->readers[all->count] = index;
    all->units[all->count++] = unit;
}

/* Adds the losses of a block's matrices to their units. */
static awq_status add_losses(mixer *m, awq__work *work)
{
    awq_status status;
    awq_context *ctx = m->job->ctx;
    awq__block *block = &work->block;
    size_t most = (size_t)block->reader_count, cells = most * (size_t)m->choices;
    measured all = {0};
    all.readers = awq__alloc(ctx, most, sizeof *all.readers, "losses of schemes");
    all.schemes = awq__alloc(ctx, cells, sizeof *all.schemes, "losses of schemes");
    all.units = awq__alloc(ctx, most, sizeof *all.units, "losses of schemes");
    all.losses = awq__alloc(ctx, cells, sizeof *all.losses, "losses of schemes");
    AWQ__TRY_ALLOC(all.readers && all.schemes && all.units && all.losses);
    for (int64_t i = 0; i < block->reader_count; i++)
        add_reader(m, block, i, &all);
    AWQ__TRY(work->backend->scheme_losses(block, all.readers, all.count, all.schemes, m->choices,
                                          all.losses));
    for (int64_t i = 0; i < all.count * m->choices; i++)
        m->loss[all.units[i / m->choices] * m->choices + i % m->choices] += all.losses[i];
done:
    awq__free(all.readers);
    awq__free(all.schemes);
    awq__free(all.units);
    awq__free(all.losses);
    return status;
}

/* The losses of one layer so far are sums over tokens: over those of the hidden state after it. */
static awq_status relate_losses(mixer *m, int64_t layer)
{
    const awq__arch *arch = arch_of(m);
    const awq__stream *stream = &m->quantizer.calibration;
    int64_t done = -1;
    double square;
    AWQ__CHECK(stream->backend->sum_squares(stream->states, &square));
    for (size_t i = arch->layer_first[layer]; i < arch->layer_first[layer + 1]; i++) {
        if (m->unit_of[i] <= done)
            continue;
        done = m->unit_of[i];
        for (int64_t c = 0; c < m->choices; c++)
            m->loss[done * m->choices + c] /= square;
    }
    return AWQ_OK;
}

static awq_status measure_experts(mixer *m, const awq__layer *layer, const awq__routes *routes)
{
    awq_status status;
    awq__experts experts;
    AWQ__TRY(awq__experts_create(&m->quantizer, layer, routes, true, &experts));
    const awq__backend *backend = experts.work.backend;
    awq__block *block = &experts.work.block;
    AWQ__TRY(backend->block_begin(block));
    AWQ__TRY(backend->pass(block));
    AWQ__TRY(backend->statistics(block));
    AWQ__TRY(backend->search(block));
    AWQ__TRY(add_losses(m, &experts.work));
done:
    awq__experts_free(&experts);
    return status;
}

static awq_status measure(mixer *m, const awq__layer *layer, const awq__routes *routes)
{
    const awq__stream *stream = &m->quantizer.calibration;
    int64_t first;
    if (!layer_units(m, layer->number, &first) || recall_losses(m, layer->number))
        return stream->backend->experts(stream->states, layer, routes);
    AWQ__CHECK(measure_experts(m, layer, routes));
    AWQ__CHECK(relate_losses(m, layer->number));
    return note_losses(m, layer->number);
}

static awq_status measure_layer(mixer *m, int64_t n)
{
    awq__loaded_layer loaded = {0};
    awq__routes routes = {0};
    awq_status status;
    AWQ__TRY(awq__stage_enter(&m->job->stages, AWQ__STAGE_SENSITIVITY, n, 0));
    AWQ__TRY(awq__model_layer(m->plan->model, n, &loaded));
    AWQ__TRY(awq__journal_source(&m->job->journal, &loaded));
    AWQ__TRY(awq__stream_to_experts(&m->quantizer.calibration, &loaded.layer, &routes));
    AWQ__TRY(measure(m, &loaded.layer, &routes));
done:
    awq__routes_free(&routes);
    awq__loaded_layer_free(&loaded);
    return status;
}

/* Up to the last layer that has something to measure. */
static awq_status measure_layers(mixer *m)
{
    int64_t count = arch_of(m)->model.layer_count, first;
    while (count && (!layer_units(m, count - 1, &first) || recall_losses(m, count - 1)))
        count--;
    if (!count)
        return AWQ_OK;
    AWQ__CHECK(awq__stream_begin(m->job->ctx, m->plan->model, &m->job->sequences,
                                 &m->quantizer.calibration));
    for (int64_t n = 0; n < count; n++)
        AWQ__CHECK(measure_layer(m, n));
    return AWQ_OK;
}

/* ---- the choice ---- */

/* Bytes of all that has no choice. */
static awq_status other_bytes(const mixer *m, uint64_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < arch_of(m)->module_count; i++) {
        uint64_t own = 0;
        if (m->unit_of[i] < 0)
            AWQ__CHECK(awq__result_bytes(m->plan, i, &own));
        *bytes += own;
    }
    return AWQ_OK;
}

/* The most bytes that all units may have, for the target. */
static awq_status set_limit(mixer *m)
{
    double bits = m->plan->settings.quantize.target_bits;
    uint64_t size = m->plan->settings.quantize.target_size;
    awq_status status = other_bytes(m, &m->others);
    m->limit = size > m->others ? size - m->others : 0;
    if (by_bits(m))
        m->limit = (uint64_t)(bits * (double)m->weights / 8);
    return status;
}

static awq_status too_little(const mixer *m, uint64_t least)
{
    if (by_bits(m))
        return awq__fail(m->job->ctx, AWQ_ERROR_RECIPE,
                         "quantize.target_bits: %g bits a weight are fewer than the %.3f of the "
                         "smallest of quantize.target_schemes",
                         m->plan->settings.quantize.target_bits,
                         8 * (double)least / (double)m->weights);
    return awq__fail(m->job->ctx, AWQ_ERROR_RECIPE,
                     "quantize.target_size: %llu bytes are fewer than the %llu of the smallest of "
                     "quantize.target_schemes with all else",
                     (unsigned long long)m->plan->settings.quantize.target_size,
                     (unsigned long long)(least + m->others));
}

/* Before the pass, which takes its time. */
static awq_status check_least(const mixer *m)
{
    uint64_t least = 0;
    for (int64_t u = 0; u < m->units; u++) {
        uint64_t smallest = UINT64_MAX;
        for (int64_t c = 0; c < m->choices; c++)
            if (m->bytes[u * m->choices + c] < smallest)
                smallest = m->bytes[u * m->choices + c];
        least += smallest;
    }
    return least > m->limit ? too_little(m, least) : AWQ_OK;
}

static awq_status solve(mixer *m)
{
    awq__budget budget = {.units = m->units,
                          .choices = m->choices,
                          .loss = m->loss,
                          .bytes = m->bytes,
                          .limit = m->limit};
    uint64_t least;
    awq_status status = awq__budget_solve(m->job->ctx, &budget, m->chosen, &least);
    return status == AWQ_ERROR_RECIPE ? too_little(m, least) : status;
}

static awq_status apply(mixer *m)
{
    awq__rules *rules = &m->plan->rules;
    for (size_t i = 0; i < arch_of(m)->module_count; i++) {
        if (m->unit_of[i] < 0)
            continue;
        awq__treatment treatment = *rules->of[i];
        treatment.scheme = m->schemes[m->chosen[m->unit_of[i]]];
        treatment.automatic = false;
        AWQ__CHECK(awq__rules_treat(m->job->ctx, rules, i, &treatment));
    }
    return AWQ_OK;
}

/* What was measured and chosen, for the report. */
static awq_status describe(mixer *m)
{
    awq__json_builder *b = &m->job->quantizer.built;
    cJSON *object = m->job->mixed = awq__json_root(b);
    cJSON *units = awq__json_add_array(b, object, "units");
    const awq__arch *arch = arch_of(m);
    double loss = 0;
    uint64_t bytes = 0;
    int64_t last = -1;
    for (size_t i = 0; i < arch->module_count; i++) {
        int64_t u = m->unit_of[i];
        if (u <= last)
            continue;
        last = u;
        int64_t cell = u * m->choices + m->chosen[u];
        loss += m->loss[cell];
        bytes += m->bytes[cell];
        cJSON *unit = awq__json_add_object(b, units, NULL);
        cJSON *each = awq__json_add_array(b, unit, "loss");
        awq__json_add_number(b, unit, "layer", (double)arch->modules[i].layer);
        if (m->by_expert)
            awq__json_add_number(b, unit, "expert", (double)arch->modules[i].expert);
        awq__json_add_number(b, unit, "chosen", m->chosen[u]);
        for (int64_t c = 0; c < m->choices; c++)
            awq__json_add_number(b, each, NULL, m->loss[u * m->choices + c]);
    }
    cJSON *schemes = awq__json_add_array(b, object, "schemes");
    for (int64_t c = 0; c < m->choices; c++) {
        char text[32];
        snprintf(text, sizeof text, "%d:%lld", m->schemes[c].bits, (long long)m->schemes[c].group);
        awq__json_add_text(b, schemes, NULL, text);
    }
    awq__json_add_number(b, object, "bits_per_weight", 8 * (double)bytes / (double)m->weights);
    awq__json_add_number(b, object, "predicted_loss", loss);
    return awq__json_built(m->job->ctx, b, "the report");
}

/* What can be known without a weight. */
static awq_status prepare(mixer *m)
{
    AWQ__CHECK(list_units(m));
    if (!m->units)
        return AWQ_OK;
    AWQ__CHECK(list_schemes(m));
    AWQ__CHECK(add_sizes(m));
    AWQ__CHECK(set_limit(m));
    return check_least(m);
}

static void free_mixer(mixer *m)
{
    awq__stream_free(&m->quantizer.calibration);
    awq__free(m->unit_of);
    awq__free(m->loss);
    awq__free(m->bytes);
    awq__free(m->chosen);
    *m = (mixer){0};
}

awq_status awq__target_check(awq_context *ctx, awq__model_plan *plan)
{
    awq__job job = {.ctx = ctx, .plan = plan};
    mixer m = {.job = &job, .plan = plan};
    if (!plan->settings.has_target)
        return AWQ_OK;
    awq_status status = prepare(&m);
    free_mixer(&m);
    return status;
}

static awq_status choose(mixer *m)
{
    AWQ__CHECK(measure_layers(m));
    AWQ__CHECK(solve(m));
    AWQ__CHECK(apply(m));
    return describe(m);
}

awq_status awq__job_choose_schemes(awq__job *job)
{
    mixer m = {.job = job,
               .plan = job->plan,
               .quantizer = {.ctx = job->ctx, .plan = job->plan, .stages = &job->stages}};
    if (!job->plan->settings.has_target)
        return AWQ_OK;
    awq_status status;
    AWQ__TRY(prepare(&m));
    if (m.units)
        AWQ__TRY(choose(&m));
    AWQ__TRY(awq__model_plan_check_engine(job->ctx, job->plan));
done:
    free_mixer(&m);
    return status;
}
