/*
 * A synthetic checkpoint with the dimensions of a published model, one layer by default, to measure
 * on real shapes: what a run costs does not depend on what the weights have learned. BF16, stored
 * and described as transformers does it for the family, with a vocabulary of 1024 so that the ends
 * do not matter, and with ids to calibrate with in calib_ids.safetensors.
 *
 *   make_model NAME DIR [--layers N] [--tokens N] [--seed S] [--scale D]
 *
 * NAME is mixtral-8x7b, qwen3-30b-a3b, gpt-oss-20b or qwen3.6-35b-a3b, of whose layers every second
 * has an attention and the others a delta net. --scale divides the dimensions by about D,
 * for tests.
 *
 * Weights are normal with deviation 1/sqrt(K). Every 32nd channel of a norm, about, is 8 to 32
 * times larger, and a few of the embedding are, so that activations have the outliers that the
 * search is for. Routers prefer some experts: their counts of tokens follow a power of their rank,
 * and one in 32 is nearly unused. That bias is the router's own where it has one. Elsewhere channel
 * 0 carries it: it is 4 in the embedding, 1 in the norms, and nothing is added to it. Every element
 * is a hash of its place, so that a model is the same however it is cut into slabs and threads.
 */
#include "checkpoint/checkpoint.h"
#include "core/half.h"
#include "support/synthetic.h"

#include "awq/awq.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCABULARY 1024
#define SEQUENCE 512
#define SHARD_BYTES UINT64_C(5000000000)
#define SLAB ((int64_t)1 << 18) /* elements of a task */

#define CONSTANT_CHANNEL 4.0f
#define NORM_OUTLIER_EVERY 32
#define EMBEDDING_OUTLIER_EVERY 512
#define EMBEDDING_OUTLIER 16.0f
#define NORMED_RMS 3.4f      /* of a normed state, by its outliers */
#define NORMED_CONSTANT 2.0f /* channel 0 of a normed state, about */
#define ROUTER_POWER 0.4
#define ROUTER_DEVIATION 1.5f /* of the logits beside that */
#define UNUSED_EVERY 32
#define UNUSED_BIAS 3.0
#define SMALL_BIAS 0.1f
#define QUERY_FACTOR 0.4f

typedef enum kind {
    LINEAR,
    QUERY,    /* linear, small enough that no key wins alone */
    RESIDUAL, /* linear, with a first row of zeros where channel 0 is kept constant */
    BIAS,
    SINK,
    ROUTER_BIAS, /* from here on more than a normal number times a constant */
    ROUTER,
    EMBEDDING,
    NORM,
    HEAD_NORM,
    PLAIN_NORM, /* by its weight in every family */
} kind;

enum { MIXTRAL = 1, QWEN = 2, GPT_OSS = 4, NEXT_DELTA = 8, NEXT_FULL = 16 };
enum { NEXT = NEXT_DELTA | NEXT_FULL, OLD = MIXTRAL | QWEN | GPT_OSS, ANY = OLD | NEXT };

typedef struct family {
    const char *name;
    unsigned tag;
    int64_t hidden, intermediate, experts, per_token, heads, kv_heads, head_dim;
} family;

static const family families[] = {
    {"mixtral-8x7b", MIXTRAL, 4096, 14336, 8, 2, 32, 8, 128},
    {"qwen3-30b-a3b", QWEN, 2048, 768, 128, 8, 32, 4, 128},
    {"gpt-oss-20b", GPT_OSS, 2880, 2880, 32, 4, 64, 8, 64},
    {"qwen3.6-35b-a3b", NEXT, 2048, 512, 256, 8, 16, 2, 256},
};
enum { FAMILY_COUNT = sizeof families / sizeof families[0] };

/* Letters of shapes: V vocabulary, H hidden, I intermediate, J twice that, E experts, Q and K rows
   of queries and keys, N heads, D head dimension. Of a delta net: B value heads and half as many of
   keys, P half of D, channels of each, Z channels of all values, C of all that is convolved, W
   width. G twice Q, 1 one. A % stands for the number of an expert. */
typedef struct part {
    unsigned families;
    const char *name;
    kind kind;
    const char *shape;
} part;

static const part before[] = {{ANY, "model.embed_tokens.weight", EMBEDDING, "VH"}};
static const part after[] = {{ANY, "model.norm.weight", NORM, "H"},
                             {ANY, "lm_head.weight", LINEAR, "VH"}};
static const part layer_parts[] = {
    {ANY, "input_layernorm.weight", NORM, "H"},
    {OLD, "self_attn.q_proj.weight", QUERY, "QH"},
    {NEXT_FULL, "self_attn.q_proj.weight", QUERY, "GH"},
    {OLD | NEXT_FULL, "self_attn.k_proj.weight", QUERY, "KH"},
    {OLD | NEXT_FULL, "self_attn.v_proj.weight", LINEAR, "KH"},
    {OLD | NEXT_FULL, "self_attn.o_proj.weight", RESIDUAL, "HQ"},
    {QWEN | NEXT_FULL, "self_attn.q_norm.weight", HEAD_NORM, "D"},
    {QWEN | NEXT_FULL, "self_attn.k_norm.weight", HEAD_NORM, "D"},
    {NEXT_DELTA, "linear_attn.in_proj_qkv.weight", LINEAR, "CH"},
    {NEXT_DELTA, "linear_attn.in_proj_z.weight", LINEAR, "ZH"},
    {NEXT_DELTA, "linear_attn.in_proj_b.weight", LINEAR, "BH"},
    {NEXT_DELTA, "linear_attn.in_proj_a.weight", LINEAR, "BH"},
    {NEXT_DELTA, "linear_attn.conv1d.weight", LINEAR, "C1W"},
    {NEXT_DELTA, "linear_attn.A_log", BIAS, "B"},
    {NEXT_DELTA, "linear_attn.dt_bias", BIAS, "B"},
    {NEXT_DELTA, "linear_attn.norm.weight", PLAIN_NORM, "P"},
    {NEXT_DELTA, "linear_attn.out_proj.weight", RESIDUAL, "HZ"},
    {GPT_OSS, "self_attn.q_proj.bias", BIAS, "Q"},
    {GPT_OSS, "self_attn.k_proj.bias", BIAS, "K"},
    {GPT_OSS, "self_attn.v_proj.bias", BIAS, "K"},
    {GPT_OSS, "self_attn.o_proj.bias", BIAS, "H"},
    {GPT_OSS, "self_attn.sinks", SINK, "N"},
    {ANY, "post_attention_layernorm.weight", NORM, "H"},
    {MIXTRAL, "block_sparse_moe.gate.weight", ROUTER, "EH"},
    {QWEN | NEXT, "mlp.gate.weight", ROUTER, "EH"},
    {NEXT, "mlp.shared_expert_gate.weight", LINEAR, "1H"},
    {NEXT, "mlp.shared_expert.gate_proj.weight", LINEAR, "IH"},
    {NEXT, "mlp.shared_expert.up_proj.weight", LINEAR, "IH"},
    {NEXT, "mlp.shared_expert.down_proj.weight", RESIDUAL, "HI"},
    {GPT_OSS, "mlp.router.weight", ROUTER, "EH"},
    {GPT_OSS, "mlp.router.bias", ROUTER_BIAS, "E"},
    {MIXTRAL, "block_sparse_moe.experts.%.w1.weight", LINEAR, "IH"},
    {MIXTRAL, "block_sparse_moe.experts.%.w3.weight", LINEAR, "IH"},
    {MIXTRAL, "block_sparse_moe.experts.%.w2.weight", RESIDUAL, "HI"},
    {QWEN | NEXT, "mlp.experts.%.gate_proj.weight", LINEAR, "IH"},
    {QWEN | NEXT, "mlp.experts.%.up_proj.weight", LINEAR, "IH"},
    {QWEN | NEXT, "mlp.experts.%.down_proj.weight", RESIDUAL, "HI"},
    {GPT_OSS, "mlp.experts.gate_up_proj", LINEAR, "EHJ"},
    {GPT_OSS, "mlp.experts.gate_up_proj_bias", BIAS, "EJ"},
    {GPT_OSS, "mlp.experts.down_proj", LINEAR, "EIH"},
    {GPT_OSS, "mlp.experts.down_proj_bias", BIAS, "EH"},
};

typedef struct maker {
    awq_context *ctx;
    awq__output *output;
    const char *directory;
    family model;
    int64_t layers, tokens, scale;
    uint64_t seed;
} maker;

typedef struct tensor {
    char name[160];
    kind kind;
    int rank;
    int64_t shape[3], inputs, elements; /* inputs: K of a matrix */
    uint64_t key;
} tensor;

typedef awq_status (*visit)(const maker *m, const tensor *t);

/* ---- the tensors ---- */

static int64_t size_of(const family *f, char letter)
{
    switch (letter) {
    case 'V':
        return VOCABULARY;
    case 'H':
        return f->hidden;
    case 'I':
        return f->intermediate;
    case 'J':
        return 2 * f->intermediate;
    case 'E':
        return f->experts;
    case 'Q':
        return f->heads * f->head_dim;
    case 'K':
        return f->kv_heads * f->head_dim;
    case 'N':
        return f->heads;
    case 'G':
        return 2 * f->heads * f->head_dim;
    case 'B':
        return 2 * f->heads;
    case 'P':
        return f->head_dim / 2;
    case 'Z':
        return f->heads * f->head_dim;
    case 'C':
        return 2 * f->heads * f->head_dim;
    case 'W':
        return 4;
    case '1':
        return 1;
    default:
        return f->head_dim;
    }
}

static tensor tensor_of(const maker *m, const part *p, int64_t layer, int64_t expert)
{
    tensor t = {.kind = p->kind, .rank = (int)strlen(p->shape), .elements = 1};
    size_t at = 0;
    if (layer >= 0)
        at = (size_t)snprintf(t.name, sizeof t.name, "model.layers.%" PRId64 ".", layer);
    const char *hole = strchr(p->name, '%');
    if (hole)
        snprintf(t.name + at, sizeof t.name - at, "%.*s%" PRId64 "%s", (int)(hole - p->name),
                 p->name, expert, hole + 1);
    else
        snprintf(t.name + at, sizeof t.name - at, "%s", p->name);
    for (int i = 0; i < t.rank; i++) {
        t.shape[i] = size_of(&m->model, p->shape[i]);
        t.elements *= t.shape[i];
    }
    t.inputs = t.shape[t.rank == 3 ? 1 : t.rank - 1];
    t.key = synthetic_seed(m->seed, t.name, strlen(t.name));
    return t;
}

static awq_status visit_parts(const maker *m, visit function, const part *parts, size_t count,
                              int64_t layer, bool of_experts)
{
    awq_status status = AWQ_OK;
    int64_t experts = of_experts ? m->model.experts : 1;
    unsigned tag = m->model.tag;
    if (tag == NEXT && layer >= 0)
        tag = layer % 2 ? NEXT_FULL : NEXT_DELTA;
    for (int64_t e = 0; e < experts; e++)
        for (size_t i = 0; i < count && status == AWQ_OK; i++) {
            if (!(parts[i].families & tag) || !!strchr(parts[i].name, '%') != of_experts)
                continue;
            tensor t = tensor_of(m, &parts[i], layer, e);
            status = function(m, &t);
        }
    return status;
}

static awq_status visit_all(const maker *m, visit function)
{
    const size_t count = sizeof layer_parts / sizeof *layer_parts;
    awq_status status = visit_parts(m, function, before, sizeof before / sizeof *before, -1, false);
    for (int64_t n = 0; n < m->layers && status == AWQ_OK; n++) {
        status = visit_parts(m, function, layer_parts, count, n, false);
        if (status == AWQ_OK)
            status = visit_parts(m, function, layer_parts, count, n, true);
    }
    return status == AWQ_OK
               ? visit_parts(m, function, after, sizeof after / sizeof *after, -1, false)
               : status;
}

/* ---- values ---- */

/* 64 random bits for place i: the numbers of a splitmix64 sequence (Steele, Lea, Flood 2014) are
   hashes of a counter, so that any of them can be had alone. Inline, for the loop to be fast. */
static inline uint64_t bits_at(uint64_t key, int64_t i)
{
    uint64_t z = key + ((uint64_t)i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Nearly normal, deviation 1: four uniform numbers of 16 bits. */
static inline float normal(uint64_t bits)
{
    int32_t sum =
        (int32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return (float)(sum - 2 * 65535) * (1.7320508f / 65536);
}

static inline float uniform(uint64_t bits)
{
    return (float)(bits >> 40) * 0x1p-24f;
}

static bool has_constant_channel(const maker *m)
{
    return m->model.tag != GPT_OSS;
}

static bool is_outlier(const maker *m, int64_t channel, uint64_t every)
{
    return channel && bits_at(m->seed ^ every, channel) % every == 0;
}

static float norm_weight(const maker *m, uint64_t key, int64_t channel)
{
    uint64_t bits = bits_at(key, channel);
    if (!channel)
        return 1;
    return is_outlier(m, channel, NORM_OUTLIER_EVERY) ? 8 * exp2f(2 * uniform(bits))
                                                      : 1 + 0.1f * normal(bits);
}

static float embedding_weight(const maker *m, uint64_t key, int64_t i)
{
    int64_t channel = i % m->model.hidden;
    if (!channel && has_constant_channel(m))
        return CONSTANT_CHANNEL;
    float value = normal(bits_at(key, i));
    return is_outlier(m, channel, EMBEDDING_OUTLIER_EVERY) ? EMBEDDING_OUTLIER * value : value;
}

/* The logarithm of an expert's popularity. */
static float preference(const maker *m, int64_t expert)
{
    int64_t rank = (5 * expert + 3) % m->model.experts;
    double unused = rank % UNUSED_EVERY == UNUSED_EVERY - 1 ? UNUSED_BIAS : 0;
    return (float)(-ROUTER_POWER * log((double)rank + 1) - unused);
}

static float router_weight(const maker *m, const tensor *t, int64_t i)
{
    if (i % t->inputs == 0 && has_constant_channel(m))
        return preference(m, i / t->inputs) / NORMED_CONSTANT;
    return ROUTER_DEVIATION / (NORMED_RMS * sqrtf((float)t->inputs)) * normal(bits_at(t->key, i));
}

static float special_value(const maker *m, const tensor *t, int64_t place)
{
    float shift = m->model.tag == NEXT && t->kind != PLAIN_NORM ? -1 : 0; /* 1 + weight */
    switch (t->kind) {
    case EMBEDDING:
        return embedding_weight(m, t->key, place);
    case NORM:
        return shift + norm_weight(m, t->key, place);
    case HEAD_NORM:
    case PLAIN_NORM:
        return shift + 1 + 0.1f * normal(bits_at(t->key, place));
    case ROUTER:
        return router_weight(m, t, place);
    default:
        return preference(m, place);
    }
}

static float deviation_of(const tensor *t)
{
    if (t->kind == BIAS)
        return SMALL_BIAS;
    if (t->kind == SINK)
        return 1;
    return (t->kind == QUERY ? QUERY_FACTOR : 1) / sqrtf((float)t->inputs);
}

/* Values first to first + count - 1 of a tensor. */
static void draw(const maker *m, const tensor *t, int64_t first, int64_t count, uint16_t *out)
{
    float deviation = deviation_of(t);
    if (t->kind >= ROUTER_BIAS)
        for (int64_t i = 0; i < count; i++)
            out[i] = awq__f32_to_bf16(special_value(m, t, first + i));
    else
        for (int64_t i = 0; i < count; i++)
            out[i] = awq__f32_to_bf16(deviation * normal(bits_at(t->key, first + i)));
    if (t->kind == RESIDUAL && has_constant_channel(m))
        for (int64_t i = first; i < awq__min(t->inputs, first + count); i++)
            out[i - first] = 0;
}

/* ---- writing ---- */

static awq_status declare(const maker *m, const tensor *t)
{
    return awq__output_declare(m->output, t->name, AWQ_BF16, t->rank, t->shape);
}

typedef struct slab_job {
    const maker *m;
    const tensor *t;
    awq__scratch scratch;
} slab_job;

static awq_status write_slab(void *arg, int64_t index, int worker)
{
    slab_job *j = arg;
    int64_t first = index * SLAB, count = awq__min(SLAB, j->t->elements - first);
    uint16_t *values = (void *)awq__scratch_get(&j->scratch, worker, SLAB / 2);
    if (!values)
        return AWQ_ERROR_MEMORY;
    draw(j->m, j->t, first, count, values);
    return awq__output_write_part(j->m->output, j->t->name, (size_t)first * sizeof *values, values,
                                  (size_t)count * sizeof *values);
}

static awq_status write_tensor(const maker *m, const tensor *t)
{
    slab_job j = {.m = m, .t = t};
    awq_status status = awq__scratch_create(m->ctx, t->name, &j.scratch);
    if (status == AWQ_OK)
        status = awq__parallel_for(m->ctx, awq__ceil_div(t->elements, SLAB), write_slab, &j);
    awq__scratch_free(&j.scratch);
    return status;
}

/* ---- config.json ---- */

static awq_status append_family(const maker *m, awq__text *text)
{
    const family *f = &m->model;
    switch (f->tag) {
    case MIXTRAL:
        return awq__text_append(
            m->ctx, text,
            "  \"architectures\": [\"MixtralForCausalLM\"],\n  \"model_type\": \"mixtral\",\n"
            "  \"hidden_act\": \"silu\",\n  \"intermediate_size\": %" PRId64 ",\n"
            "  \"max_position_embeddings\": 32768,\n  \"rms_norm_eps\": 1e-05,\n"
            "  \"rope_parameters\": {\"rope_theta\": 1000000.0, \"rope_type\": \"default\"},\n"
            "  \"sliding_window\": null,\n",
            f->intermediate);
    case QWEN:
        return awq__text_append(
            m->ctx, text,
            "  \"architectures\": [\"Qwen3MoeForCausalLM\"],\n  \"model_type\": \"qwen3_moe\",\n"
            "  \"attention_bias\": false,\n  \"decoder_sparse_step\": 1,\n"
            "  \"hidden_act\": \"silu\",\n  \"intermediate_size\": %" PRId64 ",\n"
            "  \"max_position_embeddings\": 40960,\n  \"mlp_only_layers\": [],\n"
            "  \"moe_intermediate_size\": %" PRId64 ",\n  \"norm_topk_prob\": true,\n"
            "  \"rms_norm_eps\": 1e-06,\n"
            "  \"rope_parameters\": {\"rope_theta\": 1000000.0, \"rope_type\": \"default\"},\n"
            "  \"sliding_window\": null,\n  \"use_sliding_window\": false,\n",
            8 * f->intermediate, f->intermediate);
    case NEXT:
        return awq__text_append(
            m->ctx, text,
            "  \"architectures\": [\"Qwen3_5MoeForCausalLM\"],\n"
            "  \"model_type\": \"qwen3_5_moe_text\",\n  \"hidden_act\": \"silu\",\n"
            "  \"linear_conv_kernel_dim\": 4,\n  \"linear_key_head_dim\": %" PRId64
            ",\n  \"linear_num_key_heads\": %" PRId64 ",\n  \"linear_num_value_heads\": %" PRId64
            ",\n  \"linear_value_head_dim\": %" PRId64 ",\n  \"moe_intermediate_size\": %" PRId64
            ",\n  \"num_experts\": %" PRId64 ",\n  \"rms_norm_eps\": 1e-06,\n"
            "  \"rope_parameters\": {\"partial_rotary_factor\": 0.25, \"rope_theta\": 10000000.0, "
            "\"rope_type\": \"default\"},\n  \"shared_expert_intermediate_size\": %" PRId64 ",\n",
            f->head_dim / 2, f->heads, 2 * f->heads, f->head_dim / 2, f->intermediate, f->experts,
            f->intermediate);
    default:
        return awq__text_append(
            m->ctx, text,
            "  \"architectures\": [\"GptOssForCausalLM\"],\n  \"model_type\": \"gpt_oss\",\n"
            "  \"attention_bias\": true,\n  \"hidden_act\": \"silu\",\n"
            "  \"initial_context_length\": 4096,\n  \"intermediate_size\": %" PRId64 ",\n"
            "  \"max_position_embeddings\": 131072,\n  \"rms_norm_eps\": 1e-05,\n"
            "  \"rope_parameters\": {\"beta_fast\": 32.0, \"beta_slow\": 1.0, \"factor\": 32.0, "
            "\"original_max_position_embeddings\": 4096, \"rope_theta\": 150000.0, "
            "\"rope_type\": \"yarn\", \"truncate\": false},\n"
            "  \"sliding_window\": 128,\n  \"swiglu_limit\": 7.0,\n",
            f->intermediate);
    }
}

/* Every second layer has a window, or a delta net. */
static awq_status append_layer_types(const maker *m, awq__text *text)
{
    const char *other = m->model.tag == NEXT ? "linear_attention" : "sliding_attention";
    awq_status status = awq__text_append(m->ctx, text, "  \"layer_types\": [");
    for (int64_t n = 0; n < m->layers && status == AWQ_OK; n++)
        status = awq__text_append(m->ctx, text, "%s\"%s\"", n ? ", " : "",
                                  n % 2 ? "full_attention" : other);
    return status == AWQ_OK ? awq__text_append(m->ctx, text, "],\n") : status;
}

static awq_status write_config(const maker *m)
{
    const family *f = &m->model;
    awq__text text = {0};
    awq_status status = awq__text_append(m->ctx, &text, "{\n");
    if (status == AWQ_OK)
        status = append_family(m, &text);
    if (status == AWQ_OK && (f->tag == GPT_OSS || f->tag == NEXT))
        status = append_layer_types(m, &text);
    if (status == AWQ_OK)
        status = awq__text_append(
            m->ctx, &text,
            "  \"attention_dropout\": 0.0,\n  \"dtype\": \"bfloat16\",\n  \"head_dim\": %" PRId64
            ",\n  \"hidden_size\": %" PRId64 ",\n  \"num_attention_heads\": %" PRId64
            ",\n  \"num_experts_per_tok\": %" PRId64 ",\n  \"num_hidden_layers\": %" PRId64
            ",\n  \"num_key_value_heads\": %" PRId64 ",\n  \"num_local_experts\": %" PRId64
            ",\n  \"tie_word_embeddings\": false,\n  \"vocab_size\": %d\n}\n",
            f->head_dim, f->hidden, f->heads, f->per_token, m->layers, f->kv_heads, f->experts,
            VOCABULARY);
    if (status == AWQ_OK)
        status = awq__output_text(m->output, "config.json", text.data, text.length);
    awq__text_free(&text);
    return status;
}

/* ---- the ids ---- */

/* Draws each id with a probability that falls with its number r as 1 / (r + 2.7). */
static void draw_ids(uint64_t seed, int64_t count, int32_t *ids)
{
    double below[VOCABULARY], sum = 0;
    for (int r = 0; r < VOCABULARY; r++)
        below[r] = sum += 1 / (r + 2.7);
    for (int64_t i = 0; i < count; i++) {
        double wanted = sum * ((double)(bits_at(~seed, i) >> 11) * 0x1p-53);
        int low = 0, high = VOCABULARY - 1;
        while (low < high) {
            int middle = (low + high) / 2;
            if (below[middle] > wanted)
                high = middle;
            else
                low = middle + 1;
        }
        ids[i] = low;
    }
}

static awq_status write_ids(const maker *m)
{
    char header[256] = {0};
    int64_t rows = awq__max(1, m->tokens / SEQUENCE), count = rows * SEQUENCE;
    int length = snprintf(header, sizeof header,
                          "{\"input_ids\":{\"dtype\":\"I32\",\"shape\":[%" PRId64
                          ",%d],\"data_offsets\":[0,%" PRId64 "]}}",
                          rows, SEQUENCE, count * (int64_t)sizeof(int32_t));
    uint64_t header_bytes = ((uint64_t)length + 7) / 8 * 8;
    memset(header + length, ' ', (size_t)header_bytes - (size_t)length);
    int32_t *ids = awq__alloc(m->ctx, (size_t)count, sizeof *ids, "ids");
    char *path = awq__path_join(m->ctx, m->directory, "calib_ids.safetensors");
    FILE *file = ids && path ? fopen(path, "wb") : NULL;
    bool written = false;
    if (file) {
        draw_ids(m->seed, count, ids);
        written = fwrite(&header_bytes, sizeof header_bytes, 1, file) == 1 &&
                  fwrite(header, (size_t)header_bytes, 1, file) == 1 &&
                  fwrite(ids, sizeof *ids, (size_t)count, file) == (size_t)count;
        if (fclose(file) != 0)
            written = false;
    }
    awq_status status =
        written ? AWQ_OK
                : awq__fail(m->ctx, AWQ_ERROR_IO, "%s: ids cannot be written", m->directory);
    awq__free(path);
    awq__free(ids);
    return status;
}

/* ---- the whole ---- */

static awq_status make(maker *m)
{
    awq_status status = awq__output_begin(m->ctx, m->directory, false, &m->output);
    if (status != AWQ_OK)
        return status;
    status = visit_all(m, declare);
    if (status == AWQ_OK)
        status = awq__output_layout(m->output, SHARD_BYTES);
    if (status == AWQ_OK)
        status = visit_all(m, write_tensor);
    if (status == AWQ_OK)
        status = write_config(m);
    if (status == AWQ_OK)
        status = awq__output_commit(m->output);
    awq__output_free(m->output);
    return status == AWQ_OK ? write_ids(m) : status;
}

/* A multiple of `unit`, and at least that. */
static int64_t divided(int64_t size, int64_t scale, int64_t unit)
{
    return awq__max(1, size / scale / unit) * unit;
}

static void shrink(family *f, int64_t scale)
{
    int64_t heads_per_kv = f->heads / f->kv_heads;
    f->hidden = divided(f->hidden, scale, 64);
    f->intermediate = divided(f->intermediate, scale, 64);
    f->experts = awq__max(2 * f->per_token, f->experts / scale);
    f->kv_heads = divided(f->kv_heads, scale, 1);
    f->heads = f->kv_heads * heads_per_kv;
    f->head_dim = divided(f->head_dim, scale, 16);
}

static int usage(void)
{
    fprintf(stderr, "usage: make_model NAME DIR [--layers N] [--tokens N] [--seed S] [--scale D]\n"
                    "NAME:");
    for (int i = 0; i < FAMILY_COUNT; i++)
        fprintf(stderr, " %s", families[i].name);
    fprintf(stderr, "\n");
    return 2;
}

static bool read_arguments(int count, char **arguments, maker *m)
{
    if (count < 3)
        return false;
    for (int i = 0; i < FAMILY_COUNT; i++)
        if (!strcmp(arguments[1], families[i].name))
            m->model = families[i];
    m->directory = arguments[2];
    for (int i = 3; i < count; i += 2) {
        char *end = "";
        int64_t value = i + 1 < count ? strtoll(arguments[i + 1], &end, 10) : -1;
        if (*end || value < 0 || value > 1000000000)
            return false;
        if (!strcmp(arguments[i], "--layers"))
            m->layers = value;
        else if (!strcmp(arguments[i], "--tokens"))
            m->tokens = value;
        else if (!strcmp(arguments[i], "--seed"))
            m->seed = (uint64_t)value;
        else if (!strcmp(arguments[i], "--scale"))
            m->scale = value;
        else
            return false;
    }
    return m->model.name && m->layers > 0 && m->scale > 0;
}

int main(int count, char **arguments)
{
    maker m = {.layers = 1, .tokens = 65536, .scale = 1, .seed = 1};
    if (!read_arguments(count, arguments, &m))
        return usage();
    if (m.scale > 1)
        shrink(&m.model, m.scale);
    if (awq_context_create(&m.ctx) != AWQ_OK)
        return 1;
    double start = awq__now_seconds();
    awq_status status = make(&m);
    if (status == AWQ_OK)
        printf("%s: %s, %" PRId64 " layers, hidden %" PRId64 ", intermediate %" PRId64 ", %" PRId64
               " experts, in %.1f s\n",
               m.directory, m.model.name, m.layers, m.model.hidden, m.model.intermediate,
               m.model.experts, awq__now_seconds() - start);
    else
        fprintf(stderr, "%s\n", awq_context_message(m.ctx));
    awq_context_free(m.ctx);
    return status != AWQ_OK;
}
