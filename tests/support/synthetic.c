#include "support/synthetic.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/internal.h"
#include "core/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONSTANT_CHANNEL 4.0f
#define STARVED_WEIGHT (-32.0f)
#define OUTLIER_EVERY 32
#define OUTLIER 8.0f

typedef enum part {
    EMBEDDING,
    ATTENTION_NORM,
    Q,
    K,
    V,
    O,
    MOE_NORM,
    ROUTER,
    GATE,
    UP,
    DOWN,
    FINAL_NORM,
    HEAD,
} part;

typedef struct tensor {
    char name[160];
    part part;
    int64_t layer, expert;
    int64_t rows, cols; /* cols 0: a vector */
} tensor;

typedef struct writer {
    awq_context *ctx;
    const synthetic *model;
    awq__output *output;
} writer;

typedef awq_status (*visit)(const writer *w, const tensor *t);

/* ---- names and shapes ---- */

static const char *const names[][HEAD + 1] = {
    [SYNTHETIC_MIXTRAL] = {"model.embed_tokens", "input_layernorm", "self_attn.q_proj",
                           "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                           "post_attention_layernorm", "block_sparse_moe.gate",
                           "block_sparse_moe.experts.%" PRId64 ".w1",
                           "block_sparse_moe.experts.%" PRId64 ".w3",
                           "block_sparse_moe.experts.%" PRId64 ".w2", "model.norm", "lm_head"},
    [SYNTHETIC_DEMO] = {"model.embed_tokens", "input_layernorm", "self_attn.q_proj",
                        "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                        "post_attention_layernorm", "mlp.gate", "mlp.experts.%" PRId64 ".gate_proj",
                        "mlp.experts.%" PRId64 ".up_proj", "mlp.experts.%" PRId64 ".down_proj",
                        "model.norm", "lm_head"},
};

static int64_t head_dim(const synthetic *m)
{
    return m->head_dim ? m->head_dim : m->hidden / m->heads;
}

static void shape_of(const synthetic *m, tensor *t)
{
    int64_t H = m->hidden, I = m->intermediate;
    int64_t heads = m->heads * head_dim(m), kv_heads = m->kv_heads * head_dim(m);
    const int64_t shapes[HEAD + 1][2] = {
        [EMBEDDING] = {m->vocabulary, H},
        [ATTENTION_NORM] = {H, 0},
        [Q] = {heads, H},
        [K] = {kv_heads, H},
        [V] = {kv_heads, H},
        [O] = {H, heads},
        [MOE_NORM] = {H, 0},
        [ROUTER] = {m->experts, H},
        [GATE] = {I, H},
        [UP] = {I, H},
        [DOWN] = {H, I},
        [FINAL_NORM] = {H, 0},
        [HEAD] = {m->vocabulary, H},
    };
    t->rows = shapes[t->part][0];
    t->cols = shapes[t->part][1];
}

static void name_of(const synthetic *m, tensor *t)
{
    const char *name = names[m->naming][t->part];
    const char *hole = strchr(name, '%');
    int at = 0;
    if (t->layer >= 0)
        at = snprintf(t->name, sizeof t->name, "model.layers.%" PRId64 ".", t->layer);
    if (hole)
        snprintf(t->name + at, sizeof t->name - at, "%.*s%" PRId64 "%s.weight", (int)(hole - name),
                 name, t->expert, hole + strlen("%" PRId64));
    else
        snprintf(t->name + at, sizeof t->name - at, "%s.weight", name);
}

static awq_status visit_one(const writer *w, visit function, part p, int64_t layer, int64_t expert)
{
    tensor t = {.part = p, .layer = layer, .expert = expert};
    shape_of(w->model, &t);
    name_of(w->model, &t);
    bool missing = w->model->damage == SYNTHETIC_MISSING && !strcmp(t.name, w->model->damaged);
    return missing ? AWQ_OK : function(w, &t);
}

static awq_status visit_all(const writer *w, visit function)
{
    const synthetic *m = w->model;
    awq_status status = visit_one(w, function, EMBEDDING, -1, -1);
    for (int64_t n = 0; n < m->layers; n++) {
        for (part p = ATTENTION_NORM; p <= ROUTER && status == AWQ_OK; p++)
            status = visit_one(w, function, p, n, -1);
        for (int64_t e = 0; e < m->experts; e++)
            for (part p = GATE; p <= DOWN && status == AWQ_OK; p++)
                status = visit_one(w, function, p, n, e);
    }
    if (status == AWQ_OK)
        status = visit_one(w, function, FINAL_NORM, -1, -1);
    if (status == AWQ_OK && !m->tied)
        status = visit_one(w, function, HEAD, -1, -1);
    return status;
}

/* ---- values ---- */

/* Nearly normal, deviation 1: the sum of four uniform numbers has the variance 4/12. */
static float normal(uint64_t *state)
{
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (double)(awq__random(state) >> 11) * 0x1p-53;
    return (float)((sum - 2) * sqrt(3));
}

static void draw_norm(uint64_t *state, int64_t H, float *values)
{
    for (int64_t h = 0; h < H; h++)
        values[h] = h % OUTLIER_EVERY == OUTLIER_EVERY / 2 ? OUTLIER : 1 + 0.1f * normal(state);
}

/* Makes channel 0 of the hidden state the same positive number everywhere; see the header. */
static void starve(const synthetic *m, const tensor *t, float *values)
{
    for (int64_t row = 0; row < t->rows && (t->part == EMBEDDING || t->part == ROUTER); row++)
        values[row * t->cols] = t->part == EMBEDDING ? CONSTANT_CHANNEL : 0;
    if (t->part == O || t->part == DOWN)
        memset(values, 0, (size_t)t->cols * sizeof *values);
    if (t->part == ROUTER) {
        float *row = values + m->starved * t->cols;
        memset(row, 0, (size_t)t->cols * sizeof *row);
        row[0] = STARVED_WEIGHT;
    }
}

uint64_t synthetic_seed(uint64_t seed, const void *data, size_t bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static void draw(const synthetic *m, const tensor *t, float *values)
{
    const int64_t place[] = {t->layer, t->expert, (int64_t)t->part};
    uint64_t state = synthetic_seed(m->seed, place, sizeof place);
    if (!t->cols) {
        draw_norm(&state, t->rows, values);
        return;
    }
    float deviation = t->part == EMBEDDING ? 1 : 1 / sqrtf((float)t->cols);
    for (int64_t i = 0; i < t->rows * t->cols; i++)
        values[i] = deviation * normal(&state);
    if (m->starved >= 0)
        starve(m, t, values);
}

static void narrow(awq_dtype dtype, const float *values, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half = dtype == AWQ_F16 ? awq__f32_to_f16(values[i]) : awq__f32_to_bf16(values[i]);
        if (dtype == AWQ_F32)
            memcpy(out + 4 * i, &values[i], sizeof(float));
        else
            memcpy(out + 2 * i, &half, sizeof half);
    }
}

/* ---- writing ---- */

static synthetic_damage damage_of(const writer *w, const tensor *t)
{
    const synthetic *m = w->model;
    return m->damage != SYNTHETIC_WHOLE && !strcmp(t->name, m->damaged) ? m->damage
                                                                        : SYNTHETIC_WHOLE;
}

static awq_status declare_tensor(const writer *w, const tensor *t)
{
    synthetic_damage damage = damage_of(w, t);
    int64_t shape[] = {t->rows + (damage == SYNTHETIC_ROW_MORE), t->cols};
    awq_dtype dtype = damage == SYNTHETIC_I32 ? AWQ_I32 : w->model->dtype;
    return awq__output_declare(w->output, t->name, dtype, t->cols ? 2 : 1, shape);
}

static awq_status write_tensor(const writer *w, const tensor *t)
{
    synthetic_damage damage = damage_of(w, t);
    int64_t row = t->cols ? t->cols : 1;
    size_t count = (size_t)(t->rows * row), more = damage == SYNTHETIC_ROW_MORE ? (size_t)row : 0;
    awq_dtype dtype = damage == SYNTHETIC_I32 ? AWQ_F32 : w->model->dtype; /* four bytes too */
    size_t bytes = (count + more) * (size_t)awq_dtype_bits(dtype) / 8;
    float *values = awq__alloc(w->ctx, count + more, sizeof *values, t->name);
    uint8_t *stored = awq__alloc(w->ctx, bytes, 1, t->name);
    awq_status status = AWQ_ERROR_MEMORY;
    if (values && stored) {
        draw(w->model, t, values);
        if (w->model->edit)
            w->model->edit(w->model->by, t->name, t->rows, t->cols, values);
        if (damage == SYNTHETIC_NAN || damage == SYNTHETIC_INFINITE)
            values[count - 1] = damage == SYNTHETIC_NAN ? NAN : INFINITY;
        narrow(dtype, values, count + more, stored);
        status = awq__output_write(w->output, t->name, stored, bytes);
    }
    awq__free(values);
    awq__free(stored);
    return status;
}

static const char *const rope_texts[] = {
    [SYNTHETIC_ROPE_THETA] = "\"rope_theta\": 10000.0",
    [SYNTHETIC_ROPE_SCALING] = "\"rope_theta\": 10000.0,\n"
                               "  \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}",
    [SYNTHETIC_ROPE_PARAMETERS] = "\"rope_parameters\": {\"rope_theta\": 10000.0, "
                                  "\"rope_type\": \"default\"}",
    [SYNTHETIC_ROPE_PARAMETERS_LINEAR] = "\"rope_parameters\": {\"rope_theta\": 10000.0, "
                                         "\"rope_type\": \"linear\", \"factor\": 2.0}",
};

static awq_status write_config(const writer *w)
{
    const synthetic *m = w->model;
    bool demo = m->naming == SYNTHETIC_DEMO;
    char head[48] = "null", window[48] = "null";
    if (m->head_dim)
        snprintf(head, sizeof head, "%" PRId64, m->head_dim);
    if (m->window)
        snprintf(window, sizeof window, "%" PRId64, m->window);
    awq__text text = {0};
    awq_status status = awq__text_append(
        w->ctx, &text,
        "{\n  \"model_type\": \"%s\",\n  \"hidden_act\": \"silu\",\n  \"hidden_size\": %" PRId64
        ",\n  \"num_hidden_layers\": %" PRId64 ",\n  \"num_attention_heads\": %" PRId64
        ",\n  \"num_key_value_heads\": %" PRId64
        ",\n  \"head_dim\": %s,\n  \"vocab_size\": %" PRId64 ",\n  \"%s\": %" PRId64
        ",\n  \"%s\": %" PRId64 ",\n  \"num_experts_per_tok\": %" PRId64
        ",\n  \"sliding_window\": %s,\n  \"rms_norm_eps\": 1e-05,\n  \"tie_word_embeddings\": %s,\n"
        "%s  %s%s%s\n}\n",
        demo ? "demo_moe" : "mixtral", m->hidden, m->layers, m->heads, m->kv_heads, head,
        m->vocabulary, demo ? "num_experts" : "num_local_experts", m->experts,
        demo ? "moe_intermediate_size" : "intermediate_size", m->intermediate, m->per_token, window,
        m->tied ? "true" : "false", demo ? "  \"norm_topk_prob\": true,\n" : "",
        rope_texts[m->rope], m->config_more ? ",\n  " : "", m->config_more ? m->config_more : "");
    if (status == AWQ_OK)
        status = awq__output_text(w->output, "config.json", text.data, text.length);
    awq__text_free(&text);
    return status;
}

awq_status synthetic_write(awq_context *ctx, const char *directory, const synthetic *model)
{
    writer w = {.ctx = ctx, .model = model};
    awq_status status = awq__output_begin(ctx, directory, false, &w.output);
    if (status != AWQ_OK)
        return status;
    status = visit_all(&w, declare_tensor);
    if (status == AWQ_OK)
        status = awq__output_layout(w.output, model->shard_bytes ? model->shard_bytes : UINT64_MAX);
    if (status == AWQ_OK)
        status = visit_all(&w, write_tensor);
    if (status == AWQ_OK)
        status = write_config(&w);
    if (status == AWQ_OK)
        status = awq__output_commit(w.output);
    awq__output_free(w.output);
    return status;
}

static awq_status replace_file(awq_context *ctx, const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    bool written = file && fputs(text, file) >= 0;
    if (file && fclose(file) != 0)
        written = false;
    return written ? AWQ_OK : awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be written", path);
}

awq_status synthetic_edit_config(awq_context *ctx, const char *directory, const char *from,
                                 const char *to)
{
    char *path = awq__path_join(ctx, directory, "config.json"), *text = NULL, *edited = NULL;
    size_t bytes;
    awq_status status =
        path ? awq__read_text_file(ctx, path, 65536, &text, &bytes) : AWQ_ERROR_MEMORY;
    const char *at = status == AWQ_OK ? strstr(text, from) : NULL;
    if (at) {
        edited = awq__format(ctx, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        status = edited ? replace_file(ctx, path, edited) : AWQ_ERROR_MEMORY;
    } else if (status == AWQ_OK) {
        status = awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: has no %s", path, from);
    }
    awq__free(path);
    awq__free(text);
    awq__free(edited);
    return status;
}

awq_status synthetic_remove(awq_context *ctx, const char *directory)
{
    if (!awq__is_directory(directory))
        return AWQ_OK;
    awq_status status = awq__clear_directory(ctx, directory, NULL);
    if (status == AWQ_OK && rmdir(directory) != 0)
        status = awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be removed", directory);
    return status;
}

awq_status synthetic_ids(awq_context *ctx, const char *directory, int64_t sequences, int64_t length,
                         const int32_t *ids)
{
    awq_status status;
    awq__output *output = NULL;
    const int64_t shape[] = {sequences, length};
    AWQ__CHECK(synthetic_remove(ctx, directory));
    AWQ__TRY(awq__output_begin(ctx, directory, false, &output));
    AWQ__TRY(awq__output_declare(output, "input_ids", AWQ_I32, 2, shape));
    AWQ__TRY(awq__output_layout(output, UINT64_MAX));
    AWQ__TRY(
        awq__output_write(output, "input_ids", ids, (size_t)(sequences * length) * sizeof *ids));
    AWQ__TRY(awq__output_commit(output));
done:
    awq__output_free(output);
    return status;
}

awq_status synthetic_random_ids(awq_context *ctx, const char *directory, int64_t sequences,
                                int64_t length, int64_t vocabulary, uint64_t seed)
{
    int64_t count = sequences * length;
    int32_t *ids = awq__alloc(ctx, (size_t)count, sizeof *ids, "ids");
    if (!ids)
        return AWQ_ERROR_MEMORY;
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)(awq__random(&seed) % (uint64_t)vocabulary);
    awq_status status = synthetic_ids(ctx, directory, sequences, length, ids);
    awq__free(ids);
    return status;
}
