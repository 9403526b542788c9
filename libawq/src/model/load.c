/* The weights of a layer, and of what stands before and after the layers. */
#include "backend/backend.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

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
    for (size_t i = arch->layer_first[layer]; i < arch->layer_first[layer + 1]; i++) {
        const awq__module *module = &arch->modules[i];
        int64_t vectors = module->vector + module->bias + module->convolution * module->cols;
        count += (size_t)(vectors * module->rows);
    }
    return count;
}

static float *next_vector(loader *l, int64_t count)
{
    float *vector = l->loaded->vectors + l->used;
    l->used += (size_t)count;
    return vector;
}

/* What the weights of a norm, or of anything else, stand for. */
static void read_values(const awq_model *model, const awq__module *module,
                        const awq__weight *weight, float *values)
{
    const awq__compute *compute = awq__compute_of(model->ctx);
    awq__weight_read(compute, weight, 0, weight->rows, values);
    if (module->plus_one)
        compute->shift(weight->rows * weight->cols, 1, values, values);
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
    float *values = next_vector(l, found.weight.rows * found.weight.cols);
    read_values(l->model, module_at(l, part, -1), &found.weight, values);
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

/* What most attentions have alike. */
static void set_variant(const awq_arch_attention *source, awq__attention *a)
{
    double scale =
        source->logit_scale != 0 ? source->logit_scale : 1 / sqrt((double)source->head_dim);
    a->scale = (float)scale;
    a->chunk = source->chunk;
    a->clip = source->clip != 0 ? (float)source->clip : INFINITY;
    a->temperature_floor = source->temperature_floor;
    a->temperature_scale = source->temperature_scale;
    a->rope = source->rope;
    a->adjacent = source->adjacent_pairs != 0;
    a->norm_after_rope = source->norm_after_rope != 0;
    a->value_is_key = source->value_is_key != 0;
    a->bare_norms = source->norm_without_weight;
}

static awq_status load_latent(loader *l)
{
    const awq_arch_latent *source = &l->model->arch->layers[l->layer].latent;
    awq__latent *m = &l->loaded->layer.attention.latent;
    m->kv_rank = source->kv_rank;
    m->q_rank = source->q_rank;
    m->nope = source->nope_dim;
    m->rope = source->rope_dim;
    m->value = source->value_dim;
    m->epsilon = source->norm_epsilon != 0 ? source->norm_epsilon : l->loaded->layer.epsilon;
    AWQ__CHECK(load_weight(l, AWQ__PART_Q_A, -1, &m->q_a));
    AWQ__CHECK(load_weight(l, AWQ__PART_Q_B, -1, &m->q_b));
    AWQ__CHECK(load_weight(l, AWQ__PART_KV_A, -1, &m->kv_a));
    AWQ__CHECK(load_weight(l, AWQ__PART_KV_B, -1, &m->kv_b));
    AWQ__CHECK(load_vector(l, AWQ__PART_Q_A_NORM, &m->q_norm, &m->q_norm_dtype));
    return load_vector(l, AWQ__PART_KV_A_NORM, &m->kv_norm, &m->kv_norm_dtype);
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
    a->output_gate = source->output_gate != 0;
    set_variant(source, a);
    AWQ__CHECK(load_latent(l));
    AWQ__CHECK(load_weight(l, AWQ__PART_Q, -1, &a->q));
    AWQ__CHECK(load_weight(l, AWQ__PART_K, -1, &a->k));
    AWQ__CHECK(load_weight(l, AWQ__PART_V, -1, &a->v));
    AWQ__CHECK(load_weight(l, AWQ__PART_O, -1, &a->o));
    AWQ__CHECK(load_vector(l, AWQ__PART_Q_NORM, &a->q_norm, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_K_NORM, &a->k_norm, NULL));
    return load_vector(l, AWQ__PART_SINKS, &a->sinks, NULL);
}

static awq_status load_delta(loader *l)
{
    const awq_arch_delta *source = &l->model->arch->layers[l->layer].delta;
    awq__delta *d = &l->loaded->layer.delta;
    d->value_heads = source->value_heads;
    d->key_heads = source->key_heads;
    d->key_dim = source->key_dim;
    d->value_dim = source->value_dim;
    d->width = source->conv_width;
    d->grouped = source->grouped != 0;
    AWQ__CHECK(load_weight(l, AWQ__PART_DELTA_QKV, -1, &d->qkv));
    AWQ__CHECK(load_weight(l, AWQ__PART_DELTA_Z, -1, &d->z));
    AWQ__CHECK(load_weight(l, AWQ__PART_DELTA_B, -1, &d->b));
    AWQ__CHECK(load_weight(l, AWQ__PART_DELTA_A, -1, &d->a));
    AWQ__CHECK(load_weight(l, AWQ__PART_DELTA_CONV, -1, &d->filter));
    AWQ__CHECK(load_vector(l, AWQ__PART_DELTA_CONV, &d->conv, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_DELTA_A_LOG, &d->a_log, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_DELTA_DT_BIAS, &d->dt_bias, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_DELTA_NORM, &d->norm, &d->norm_dtype));
    return load_weight(l, AWQ__PART_O, -1, &l->loaded->layer.attention.o);
}

/* The attention, or what the layer has in its place, with the norm before it. */
static awq_status load_mixer(loader *l)
{
    awq__attention *a = &l->loaded->layer.attention;
    const awq__arch *arch = l->model->arch;
    a->norm_shift = arch->model.norms_plus_one ? 1 : 0;
    AWQ__CHECK(load_vector(l, AWQ__PART_ATTENTION_NORM, &a->norm, &a->norm_dtype));
    return arch->layers[l->layer].delta.value_heads ? load_delta(l) : load_attention(l);
}

static awq__activation activation_of(const awq_arch_activation *a)
{
    return (awq__activation){.alpha = a->alpha != 0 ? (float)a->alpha : 1,
                             .limit = a->limit != 0 ? (float)a->limit : INFINITY,
                             .up_offset = (float)a->up_offset,
                             .kind = a->kind};
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

static awq_status load_routing(loader *l)
{
    const awq_arch_router *router = &l->model->arch->layers[l->layer].router;
    awq__moe *moe = &l->loaded->layer.moe;
    moe->routing = (awq__routing){.scoring = router->scoring,
                                  .renormalize = router->renormalize != 0,
                                  .scaling = router->scaling != 0 ? (float)router->scaling : 1,
                                  .weight_floor = (float)router->weight_floor,
                                  .groups = router->groups,
                                  .groups_kept = router->groups_kept,
                                  .group_score = router->group_score};
    moe->reads_residual = router->reads_residual != 0;
    moe->scales_input = router->scales_input != 0;
    AWQ__CHECK(load_vector(l, AWQ__PART_ROUTER_CORRECTION, &moe->routing.correction, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_ROUTER_EXPERT_SCALE, &moe->routing.expert_scale, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_ROUTER_INPUT_SCALE, &moe->router_input_scale, NULL));
    AWQ__CHECK(load_weight(l, AWQ__PART_ROUTER, -1, &moe->router));
    return load_weight(l, AWQ__PART_TOKEN_GATE, -1, &moe->token_gate);
}

static awq_status load_norms(loader *l)
{
    awq__moe *moe = &l->loaded->layer.moe;
    AWQ__CHECK(
        load_vector(l, AWQ__PART_ATTENTION_POST_NORM, &l->loaded->layer.attention.post_norm, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_MOE_NORM, &moe->norm, &moe->norm_dtype));
    AWQ__CHECK(load_vector(l, AWQ__PART_SHARED_NORM, &moe->shared_norm, &moe->shared_norm_dtype));
    AWQ__CHECK(load_vector(l, AWQ__PART_EXPERTS_POST_NORM, &moe->experts_post_norm, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_SHARED_POST_NORM, &moe->shared_post_norm, NULL));
    AWQ__CHECK(load_vector(l, AWQ__PART_MOE_POST_NORM, &moe->post_norm, NULL));
    return load_vector(l, AWQ__PART_LAYER_SCALAR, &moe->layer_scalar, NULL);
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
    moe->norm_shift = arch->model.norms_plus_one ? 1 : 0;
    moe->route = arch->plugin->table.route;
    moe->activate = arch->plugin->table.activate;
    AWQ__CHECK(load_norms(l));
    AWQ__CHECK(load_routing(l));
    return load_experts(l);
}

typedef struct check_job {
    awq_context *ctx;
    const awq__layer *layer;
    awq__scratch scratch;
} check_job;

/* The matrices of a layer outside its experts. */
#define FIXED 14
static void list_fixed(const awq__layer *layer, const awq__weight *weights[FIXED])
{
    const awq__attention *a = &layer->attention;
    const awq__latent *m = &a->latent;
    const awq__delta *d = &layer->delta;
    const awq__weight *all[FIXED] = {&a->q,
                                     &a->k,
                                     &a->v,
                                     &a->o,
                                     &layer->moe.router,
                                     &layer->moe.token_gate,
                                     &d->qkv,
                                     &d->z,
                                     &d->b,
                                     &d->a,
                                     &m->q_a,
                                     &m->q_b,
                                     &m->kv_a,
                                     &m->kv_b};
    memcpy(weights, all, sizeof all);
}

/* First those outside the experts, then the experts' matrices. */
static awq_status check_matrix(void *arg, int64_t index, int worker)
{
    check_job *j = arg;
    const awq__weight *fixed[FIXED], *weight;
    list_fixed(j->layer, fixed);
    if (index < FIXED) {
        weight = fixed[index];
    } else {
        const awq__expert *expert = &j->layer->moe.experts[(index - FIXED) / 3];
        const awq__weight *parts[] = {&expert->gate, &expert->up, &expert->down};
        weight = parts[(index - FIXED) % 3];
    }
    if (!weight->rows)
        return AWQ_OK;
    float *work = awq__scratch_get(&j->scratch, worker, (size_t)awq__weight_work(weight));
    return work ? awq__weight_check(j->ctx, weight, work) : AWQ_ERROR_MEMORY;
}

int64_t awq__layer_work(const awq__layer *layer)
{
    const awq__weight *fixed[FIXED];
    int64_t work = awq__expert_work(layer);
    list_fixed(layer, fixed);
    for (size_t i = 0; i < FIXED; i++)
        if (fixed[i]->rows)
            work = awq__max(work, awq__weight_work(fixed[i]));
    return work;
}

static awq_status check_layer(awq_context *ctx, const awq__layer *layer)
{
    check_job j = {.ctx = ctx, .layer = layer};
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "work space to check weights", &j.scratch));
    j.scratch.host = true;
    AWQ__TRY(awq__parallel_scratch(&j.scratch, (size_t)awq__layer_work(layer),
                                   FIXED + 3 * layer->moe.expert_count, check_matrix, &j));
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
    double multiplier = model->arch->layers[number].residual_multiplier;
    loaded->layer.branch_multiplier = multiplier != 0 ? (float)multiplier : 1;
    return (loader){.model = model, .layer = number, .loaded = loaded};
}

awq_status awq__model_layer_shape(const awq_model *model, int64_t number, awq__loaded_layer *loaded)
{
    loader l = begin_layer(model, number, loaded);
    l.shape = true;
    awq_status status;
    AWQ__TRY(load_mixer(&l));
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
    AWQ__TRY(load_mixer(&l));
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

static const awq__module *final_norm_of(const awq__arch *arch)
{
    return &arch->modules[awq__arch_index(arch, -1, AWQ__PART_FINAL_NORM, -1)];
}

awq_status awq__model_final_norm(const awq_model *model, float **norm)
{
    awq__loaded_module loaded;
    *norm = NULL;
    AWQ__CHECK(awq__model_end(model, AWQ__PART_FINAL_NORM, &loaded));
    const awq__weight *weight = &loaded.found.weight;
    *norm = awq__alloc_host(model->ctx, (size_t)weight->rows, sizeof **norm, weight->name);
    if (*norm)
        read_values(model, final_norm_of(model->arch), weight, *norm);
    awq__loaded_module_free(&loaded);
    return *norm ? AWQ_OK : AWQ_ERROR_MEMORY;
}
