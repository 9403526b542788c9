/* The weights of a layer, and of what stands before and after the layers. */
#include "backend/backend.h"
#include "model/model.h"

#include <math.h>

typedef struct loader {
    const awq_model *model;
    int64_t layer;
    awq__loaded_layer *loaded;
    size_t used; /* of loaded->vectors */
    bool shape;  /* is all that is wanted */
} loader;

/* Reads all that stores modules first .. end-1. */
static awq_status hold(const awq_model *model, size_t first, size_t end, awq__held *held)
{
    awq_status status = AWQ_OK;
    awq__found found;
    *held = (awq__held){.ctx = model->ctx};
    for (size_t i = first; i < end; i++)
        AWQ__TRY(awq__model_find(model, &model->arch->modules[i], held, &found));
    return awq__held_read(held);
done:
    awq__held_free(held);
    return status;
}

/* NULL where data is not wanted. */
static awq__held *held_of(const loader *l)
{
    return l->shape ? NULL : &l->loaded->held;
}

static const awq__module *module_at(const loader *l, awq__part part, int64_t expert)
{
    const awq__arch *arch = l->model->arch;
    return &arch->modules[awq__arch_index(arch, l->layer, part, expert)];
}

static awq_status check_whole(awq_context *ctx, const awq__weight *weight)
{
    float *work = awq__alloc_host(ctx, (size_t)awq__weight_work(weight), sizeof *work,
                                  "work space to check weights");
    awq_status status = work ? awq__weight_check(ctx, weight, work) : AWQ_ERROR_MEMORY;
    awq__free_aligned(work);
    return status;
}

/* How many floats the vectors and biases of a layer take. */
static size_t count_vectors(const awq__arch *arch, int64_t layer)
{
    size_t count = 0;
    for (size_t i = arch->layer_first[layer]; i < arch->layer_first[layer + 1]; i++)
        count += (size_t)(arch->modules[i].vector + arch->modules[i].bias) *
                 (size_t)arch->modules[i].rows;
    return count;
}

static float *next_vector(loader *l, int64_t count)
{
    float *vector = l->loaded->vectors + l->used;
    l->used += (size_t)count;
    return vector;
}

/* NULL where the layer has no such part. */
static awq_status load_vector(loader *l, awq__part part, const float **vector, awq_dtype *dtype)
{
    awq__found found;
    *vector = NULL;
    if (l->shape || !awq__arch_has(l->model->arch, l->layer, part))
        return AWQ_OK;
    AWQ__CHECK(awq__model_find(l->model, module_at(l, part, -1), held_of(l), &found));
    AWQ__CHECK(check_whole(l->model->ctx, &found.weight));
    float *values = next_vector(l, found.weight.rows);
    awq__weight_read(awq__compute_of(l->model->ctx), &found.weight, 0, found.weight.rows, values);
    *vector = values;
    if (dtype)
        *dtype = found.weight.dtype;
    return AWQ_OK;
}

static awq_status load_bias(loader *l, const awq__found *found, awq__weight *weight)
{
    awq__weight stored = awq__weight_strided(weight->name, found->bias_dtype, found->bias,
                                             weight->rows, 1, found->bias_stride, 1);
    AWQ__CHECK(check_whole(l->model->ctx, &stored));
    float *values = next_vector(l, weight->rows);
    awq__weight_read(awq__compute_of(l->model->ctx), &stored, 0, weight->rows, values);
    weight->bias = values;
    return AWQ_OK;
}

/* Rows 0 where the layer has no such part. */
static awq_status load_weight(loader *l, awq__part part, int64_t expert, awq__weight *weight)
{
    awq__found found;
    *weight = (awq__weight){0};
    if (!awq__arch_has(l->model->arch, l->layer, part))
        return AWQ_OK;
    AWQ__CHECK(awq__model_find(l->model, module_at(l, part, expert), held_of(l), &found));
    *weight = found.weight;
    return found.bias ? load_bias(l, &found, weight) : AWQ_OK;
}

static awq_status load_attention(loader *l)
{
    const awq_arch_attention *source = &l->model->arch->layers[l->layer].attention;
    awq__attention *a = &l->loaded->layer.attention;
    a->heads = source->heads;
    a->kv_heads = source->kv_heads;
    a->head_dim = source->head_dim;
    a->window = source->window;
    a->norm_across_heads = source->norm_across_heads != 0;
    AWQ__CHECK(load_vector(l, AWQ__PART_ATTENTION_NORM, &a->norm, &a->norm_dtype));
    AWQ__CHECK(load_weight(l, AWQ__PART_Q, -1, &a->q));
    AWQ__CHECK(load_weight(l, AWQ__PART_K, -1, &a->k));
    AWQ__CHECK(load_weight(l, AWQ__PART_V, -1, &a->v));
    AWQ__CHECK(load_weight(l, AWQ__PART_O, -1, &a->o));
    AWQ__CHECK(load_vector(l, AWQ__PART_Q_NORM, &a->q_norm, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_K_NORM, &a->k_norm, NULL));
    return load_vector(l, AWQ__PART_SINKS, &a->sinks, NULL);
}

static awq__activation activation_of(const awq_arch_activation *a)
{
    return (awq__activation){.alpha = a->alpha != 0 ? (float)a->alpha : 1,
                             .limit = a->limit != 0 ? (float)a->limit : INFINITY,
                             .up_offset = (float)a->up_offset};
}

static awq_status load_experts(loader *l)
{
    const awq_arch_layer *source = &l->model->arch->layers[l->layer];
    awq__moe *moe = &l->loaded->layer.moe;
    l->loaded->experts =
        awq__alloc(l->model->ctx, (size_t)moe->expert_count, sizeof *l->loaded->experts, "experts");
    AWQ__CHECK_ALLOC(l->loaded->experts);
    moe->experts = l->loaded->experts;
    for (int64_t e = 0; e < moe->expert_count; e++) {
        awq__expert *expert = &l->loaded->experts[e];
        bool routed = e < moe->routed_count;
        expert->activation =
            activation_of(routed ? &source->experts.activation : &source->shared.activation);
        AWQ__CHECK(load_weight(l, AWQ__PART_GATE, e, &expert->gate));
        AWQ__CHECK(load_weight(l, AWQ__PART_UP, e, &expert->up));
        AWQ__CHECK(load_weight(l, AWQ__PART_DOWN, e, &expert->down));
        expert->intermediate = expert->gate.rows;
        moe->intermediate = awq__max(moe->intermediate, expert->intermediate);
    }
    return AWQ_OK;
}

static awq_status load_moe(loader *l)
{
    const awq__arch *arch = l->model->arch;
    const awq_arch_layer *source = &arch->layers[l->layer];
    awq__moe *moe = &l->loaded->layer.moe;
    moe->routed_count = source->experts.count;
    moe->expert_count = awq__arch_experts(arch, l->layer);
    moe->per_token = moe->expert_count - moe->routed_count;
    if (moe->routed_count)
        moe->per_token += source->experts.per_token;
    moe->routing =
        (awq__routing){.scoring = source->router.scoring,
                       .renormalize = source->router.renormalize != 0,
                       .scaling = source->router.scaling != 0 ? (float)source->router.scaling : 1};
    moe->route = arch->plugin->table.route;
    moe->activate = arch->plugin->table.activate;
    AWQ__CHECK(load_vector(l, AWQ__PART_MOE_NORM, &moe->norm, &moe->norm_dtype));
    AWQ__CHECK(load_weight(l, AWQ__PART_ROUTER, -1, &moe->router));
    AWQ__CHECK(load_weight(l, AWQ__PART_TOKEN_GATE, -1, &moe->token_gate));
    return load_experts(l);
}

typedef struct check_job {
    awq_context *ctx;
    const awq__layer *layer;
    awq__scratch scratch;
} check_job;

/* Tasks 0 to 5 are q, k, v, o and what routes, the rest the experts' matrices. */
static awq_status check_matrix(void *arg, int64_t index, int worker)
{
    check_job *j = arg;
    const awq__attention *a = &j->layer->attention;
    const awq__moe *moe = &j->layer->moe;
    const awq__weight *weight;
    if (index < 6) {
        const awq__weight *fixed[] = {&a->q, &a->k, &a->v, &a->o, &moe->router, &moe->token_gate};
        weight = fixed[index];
    } else {
        const awq__expert *expert = &moe->experts[(index - 6) / 3];
        const awq__weight *parts[] = {&expert->gate, &expert->up, &expert->down};
        weight = parts[(index - 6) % 3];
    }
    if (!weight->rows)
        return AWQ_OK;
    float *work = awq__scratch_get(&j->scratch, worker, (size_t)awq__weight_work(weight));
    return work ? awq__weight_check(j->ctx, weight, work) : AWQ_ERROR_MEMORY;
}

int64_t awq__layer_work(const awq__layer *layer)
{
    const awq__attention *a = &layer->attention;
    const awq__weight *weights[] = {&a->q, &a->k, &a->v, &a->o, &layer->moe.router};
    int64_t work = awq__expert_work(layer);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        if (weights[i]->rows)
            work = awq__max(work, awq__weight_work(weights[i]));
    return work;
}

static awq_status check_layer(awq_context *ctx, const awq__layer *layer)
{
    check_job j = {.ctx = ctx, .layer = layer};
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "work space to check weights", &j.scratch));
    j.scratch.host = true;
    AWQ__TRY(awq__parallel_scratch(&j.scratch, (size_t)awq__layer_work(layer),
                                   6 + 3 * layer->moe.expert_count, check_matrix, &j));
done:
    awq__scratch_free(&j.scratch);
    return status;
}

static loader begin_layer(const awq_model *model, int64_t number, awq__loaded_layer *loaded)
{
    *loaded = (awq__loaded_layer){.model = model, .held = {.ctx = model->ctx}};
    loaded->layer.number = number;
    loaded->layer.hidden = model->arch->model.hidden_size;
    loaded->layer.epsilon = model->arch->model.norm_epsilon;
    return (loader){.model = model, .layer = number, .loaded = loaded};
}

awq_status awq__model_layer_shape(const awq_model *model, int64_t number, awq__loaded_layer *loaded)
{
    loader l = begin_layer(model, number, loaded);
    l.shape = true;
    awq_status status;
    AWQ__TRY(load_attention(&l));
    AWQ__TRY(load_moe(&l));
done:
    if (status != AWQ_OK)
        awq__loaded_layer_free(loaded);
    return status;
}

awq_status awq__model_layer(const awq_model *model, int64_t number, awq__loaded_layer *loaded)
{
    loader l = begin_layer(model, number, loaded);
    const size_t *first = &model->arch->layer_first[number];
    awq_status status;
    AWQ__TRY(hold(model, first[0], first[1], &loaded->held));
    loaded->vectors = awq__alloc_host(model->ctx, count_vectors(model->arch, number),
                                      sizeof *loaded->vectors, "norms and biases");
    AWQ__TRY_ALLOC(loaded->vectors);
    AWQ__TRY(load_attention(&l));
    AWQ__TRY(load_moe(&l));
    AWQ__TRY(check_layer(model->ctx, &loaded->layer));
    AWQ__TRY(awq__backend_of(model->ctx)->layer_begin(model->ctx, &loaded->layer));
    loaded->begun = true;
    awq__read_ahead(loaded);
done:
    if (status != AWQ_OK)
        awq__loaded_layer_free(loaded);
    return status;
}

void awq__loaded_layer_free(awq__loaded_layer *loaded)
{
    awq__read_done(loaded);
    if (loaded->begun)
        awq__backend_of(loaded->model->ctx)->layer_end(loaded->model->ctx, &loaded->layer);
    awq__held_free(&loaded->held);
    awq__free_aligned(loaded->vectors);
    awq__free(loaded->experts);
    *loaded = (awq__loaded_layer){0};
}

/* ---- single modules ---- */

awq_status awq__model_module(const awq_model *model, size_t index, awq__loaded_module *loaded)
{
    *loaded = (awq__loaded_module){0};
    awq_status status;
    AWQ__TRY(hold(model, index, index + 1, &loaded->held));
    AWQ__TRY(awq__model_find(model, &model->arch->modules[index], &loaded->held, &loaded->found));
    AWQ__TRY(check_whole(model->ctx, &loaded->found.weight));
done:
    if (status != AWQ_OK)
        awq__loaded_module_free(loaded);
    return status;
}

void awq__loaded_module_free(awq__loaded_module *loaded)
{
    awq__held_free(&loaded->held);
    *loaded = (awq__loaded_module){0};
}

awq_status awq__model_end(const awq_model *model, awq__part part, awq__loaded_module *loaded)
{
    if (part == AWQ__PART_HEAD && !model->arch->model.head[0])
        part = AWQ__PART_EMBEDDING;
    return awq__model_module(model, awq__arch_index(model->arch, -1, part, -1), loaded);
}

awq_status awq__model_final_norm(const awq_model *model, float **norm)
{
    awq__loaded_module loaded;
    *norm = NULL;
    AWQ__CHECK(awq__model_end(model, AWQ__PART_FINAL_NORM, &loaded));
    const awq__weight *weight = &loaded.found.weight;
    *norm = awq__alloc_host(model->ctx, (size_t)weight->rows, sizeof **norm, weight->name);
    if (*norm)
        awq__weight_read(awq__compute_of(model->ctx), weight, 0, weight->rows, *norm);
    awq__loaded_module_free(&loaded);
    return *norm ? AWQ_OK : AWQ_ERROR_MEMORY;
}
