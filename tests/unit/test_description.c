/* What a plugin says is checked member by member, and becomes a list of modules. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "support/synthetic.h"
#include "temp_files.h"

#include <math.h>

/* ---- a good description ---- */

static const awq_arch_model good_model = {
    .struct_size = sizeof(awq_arch_model),
    .layer_count = 2,
    .hidden_size = 64,
    .vocabulary_size = 128,
    .norm_epsilon = 1e-5,
    .rope = {.pairs = 2, .inverse_frequency = {1, 0.1}, .attention_factor = 1},
    .embedding = "embed",
    .final_norm = "norm",
    .head = "head",
};

static const awq_arch_layer good_layer = {
    .struct_size = sizeof(awq_arch_layer),
    .folds = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_UP,
    .attention_norm = {.name = "n1"},
    .attention = {.q = "q", .k = "k", .v = "v", .o = "o", .heads = 4, .kv_heads = 2, .head_dim = 4},
    .moe_norm = {.name = "n2"},
    .router = {.name = "r", .scoring = AWQ_SCORING_TOPK_SOFTMAX},
    .experts = {.count = 4,
                .per_token = 2,
                .intermediate_size = 96,
                .gate = "e.{e}.g",
                .up = "e.{e}.u",
                .down = "e.{e}.d"},
};

/* ---- one member out of range ---- */

typedef enum kind {
    INT64,
    INT32,
    DOUBLE,
    WORD, /* of reserved space */
} kind;

typedef struct change {
    size_t offset;
    kind kind;
    double value;        /* of DOUBLE */
    int64_t integer;     /* of the others */
    const char *message; /* NULL: still good */
} change;

static void apply(void *description, const change *c)
{
    char *at = (char *)description + c->offset;
    int32_t small = (int32_t)c->integer;
    if (c->kind == INT32)
        memcpy(at, &small, sizeof small);
    else if (c->kind == DOUBLE)
        memcpy(at, &c->value, sizeof c->value);
    else
        memcpy(at, &c->integer, sizeof c->integer);
}

static void check_answer(const fixture *f, awq_status status, const char *message)
{
    if (message) {
        assert_int_equal(status, AWQ_ERROR_PLUGIN);
        assert_message(f, message);
    } else if (status != AWQ_OK) {
        fail_msg("%s", awq_context_message(f->ctx));
    }
}

static void check_model(fixture *f, const awq_arch_model *model, const char *message)
{
    awq__clear(f->ctx);
    check_answer(f, awq__check_model(f->ctx, "tried", model), message);
}

static void check_layer(fixture *f, const awq_arch_layer *layer, const char *message)
{
    awq__clear(f->ctx);
    check_answer(f, awq__check_layer(f->ctx, "tried", 7, &good_model, layer), message);
}

#define MODEL(member) offsetof(awq_arch_model, member)
#define LAYER(member) offsetof(awq_arch_layer, member)

static void test_model_members(void **state)
{
    const change changes[] = {
        {MODEL(layer_count), INT64, 0, 0, "plugin tried: layer_count is 0, expected 1 to 65536"},
        {MODEL(layer_count), INT64, 0, -1, "layer_count is -1"},
        {MODEL(layer_count), INT64, 0, 65537, "layer_count is 65537"},
        {MODEL(hidden_size), INT64, 0, 0, "hidden_size is 0, expected 1 to 16777216"},
        {MODEL(hidden_size), INT64, 0, INT64_MAX, "hidden_size is 9223372036854775807"},
        {MODEL(vocabulary_size), INT64, 0, 0, "vocabulary_size is 0"},
        {MODEL(vocabulary_size), INT64, 0, INT64_MIN, "vocabulary_size is -9223372036854775808"},
        {MODEL(norm_epsilon), DOUBLE, -1e-9, 0, "norm_epsilon is negative or not finite"},
        {MODEL(norm_epsilon), DOUBLE, NAN, 0, "norm_epsilon"},
        {MODEL(norm_epsilon), DOUBLE, INFINITY, 0, "norm_epsilon"},
        {MODEL(norm_epsilon), DOUBLE, 0, 0, NULL},
        {MODEL(rope.pairs), INT64, 0, -1, "rope.pairs is -1, expected 0 to 256"},
        {MODEL(rope.pairs), INT64, 0, 257, "rope.pairs is 257"},
        {MODEL(rope.pairs), INT64, 0, 0, NULL},
        {MODEL(rope.attention_factor), DOUBLE, NAN, 0, "rope.attention_factor"},
        {MODEL(rope.attention_factor), DOUBLE, -1, 0, "rope.attention_factor is negative"},
        {MODEL(rope.attention_factor), DOUBLE, 0, 0, "rope.attention_factor is 0, expected more"},
        {MODEL(rope.inverse_frequency[1]), DOUBLE, INFINITY, 0, "rope.inverse_frequency"},
        {MODEL(rope.inverse_frequency[2]), DOUBLE, NAN, 0, NULL}, /* beyond the pairs */
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        awq_arch_model model = good_model;
        apply(&model, &changes[i]);
        check_model(*state, &model, changes[i].message);
    }
    check_model(*state, &good_model, NULL);
}

static void test_layer_members(void **state)
{
    const change changes[] = {
        {LAYER(folds), INT32, 0, 1 << 30, "plugin tried: layer 7: folds is of unknown bits"},
        {LAYER(folds), INT32, 0, 0, NULL},
        {LAYER(attention.heads), INT64, 0, 0, "attention.heads is 0, expected 1 to 65536"},
        {LAYER(attention.heads), INT64, 0, INT64_MIN, "attention.heads"},
        {LAYER(attention.heads), INT64, 0, 65537, "attention.heads"},
        {LAYER(attention.heads), INT64, 0, 5, "attention.kv_heads is not a divisor of heads"},
        {LAYER(attention.kv_heads), INT64, 0, 0, "attention.kv_heads is 0, expected 1 to 4"},
        {LAYER(attention.kv_heads), INT64, 0, 8, "attention.kv_heads is 8, expected 1 to 4"},
        {LAYER(attention.kv_heads), INT64, 0, 3, "attention.kv_heads is not a divisor"},
        {LAYER(attention.kv_heads), INT64, 0, 4, NULL},
        {LAYER(attention.kv_heads), INT64, 0, 1, NULL},
        {LAYER(attention.head_dim), INT64, 0, 0, "attention.head_dim is 0, expected 1 to 65536"},
        {LAYER(attention.head_dim), INT64, 0, 65537, "attention.head_dim is 65537"},
        {LAYER(attention.head_dim), INT64, 0, 3, "attention.head_dim is too small for rope.pairs"},
        {LAYER(attention.head_dim), INT64, 0, 5, NULL},
        {LAYER(attention.window), INT64, 0, -1, "attention.window is -1, expected 0 to"},
        {LAYER(attention.window), INT64, 0, INT64_MAX, NULL},
        {LAYER(attention.qkv_bias), INT32, 0, 1, NULL},
        {LAYER(attention.qkv_bias), INT32, 0, 2, "attention.qkv_bias is 2, expected 0 to 1"},
        {LAYER(attention.o_bias), INT32, 0, 1, NULL},
        {LAYER(attention.o_bias), INT32, 0, -1, "attention.o_bias is -1, expected 0 to 1"},
        {LAYER(router.bias), INT32, 0, 1, NULL},
        {LAYER(router.bias), INT32, 0, 64, "router.bias is 64, expected 0 to 1"},
        {LAYER(router.scoring), INT32, 0, -1, "router.scoring is -1, expected 0 to 2"},
        {LAYER(router.scoring), INT32, 0, 3, "router.scoring is 3, expected 0 to 2"},
        {LAYER(router.scoring), INT32, 0, 2, NULL},
        {LAYER(router.renormalize), INT32, 0, -5, NULL},
        {LAYER(router.scaling), DOUBLE, -1, 0, "router.scaling is negative or not finite"},
        {LAYER(router.scaling), DOUBLE, NAN, 0, "router.scaling"},
        {LAYER(experts.count), INT64, 0, 0,
         "shared.intermediate_size is 0, expected more in a layer whose experts.count is 0"},
        {LAYER(experts.count), INT64, 0, -1, "experts.count is -1, expected 0 to 65536"},
        {LAYER(experts.count), INT64, 0, INT64_MIN, "experts.count is -9223372036854775808"},
        {LAYER(experts.count), INT64, 0, 65537, "experts.count is 65537"},
        {LAYER(experts.count), INT64, 0, 1, "experts.per_token is 2, expected 1 to 1"},
        {LAYER(experts.per_token), INT64, 0, 0, "experts.per_token is 0, expected 1 to 4"},
        {LAYER(experts.per_token), INT64, 0, 5, "experts.per_token is 5, expected 1 to 4"},
        {LAYER(experts.per_token), INT64, 0, 4, NULL},
        {LAYER(experts.intermediate_size), INT64, 0, 0, "experts.intermediate_size is 0"},
        {LAYER(experts.intermediate_size), INT64, 0, INT64_MAX, "experts.intermediate_size"},
        {LAYER(experts.activation.alpha), DOUBLE, NAN, 0, "experts.activation.alpha"},
        {LAYER(experts.activation.limit), DOUBLE, -7, 0, "experts.activation.limit"},
        {LAYER(experts.activation.up_offset), DOUBLE, INFINITY, 0, "experts.activation.up_offset"},
        {LAYER(experts.interleaved), INT32, 0, 1, NULL},
        {LAYER(experts.interleaved), INT32, 0, 2, "experts.interleaved is 2, expected 0 to 1"},
        {LAYER(experts.bias), INT32, 0, 1, NULL},
        {LAYER(experts.bias), INT32, 0, -1, "experts.bias is -1, expected 0 to 1"},
        {LAYER(experts.mxfp4), INT32, 0, 2, "experts.mxfp4 is 2, expected 0 to 1"},
        {LAYER(experts.layout), INT32, 0, -1, "experts.layout is -1, expected 0 to 3"},
        {LAYER(experts.layout), INT32, 0, 4, "experts.layout is 4, expected 0 to 3"},
        {LAYER(shared.intermediate_size), INT64, 0, -1, "shared.intermediate_size is -1"},
        {LAYER(shared.intermediate_size), INT64, 0, INT64_MAX, "shared.intermediate_size is 9"},
        {LAYER(shared.intermediate_size), INT64, 0, 8, "shared.gate is empty"},
        {LAYER(experts.activation.limit), DOUBLE, 7, 0, "folds is with AWQ_FOLD_UP"},
        {LAYER(experts.activation.up_offset), DOUBLE, 1, 0, "folds is with AWQ_FOLD_UP"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        awq_arch_layer layer = good_layer;
        apply(&layer, &changes[i]);
        check_layer(*state, &layer, changes[i].message);
    }
    check_layer(*state, &good_layer, NULL);
}

/* Sizes that are each in range and too large together. */
static void test_heads_times_head_dim(void **state)
{
    awq_arch_layer layer = good_layer;
    layer.attention.heads = layer.attention.kv_heads = layer.attention.head_dim = 65536;
    check_layer(*state, &layer, "heads * head_dim is 4294967296, expected 1 to 16777216");
}

static void test_up_fold_needs_a_linear_activation(void **state)
{
    awq_arch_layer layer = good_layer;
    layer.experts.activation = (awq_arch_activation){.alpha = 1.702, .limit = 7, .up_offset = 1};
    check_layer(*state, &layer, "it is not linear in up");
    layer.folds &= ~(uint32_t)AWQ_FOLD_UP;
    check_layer(*state, &layer, NULL);
}

/* ---- members that go together ---- */

static const awq_arch_shared good_shared = {
    .intermediate_size = 160, .gate = "s.gate", .up = "s.up", .down = "s.down"};

static void test_norms_of_queries_and_keys(void **state)
{
    awq_arch_layer layer = good_layer;
    strcpy(layer.attention.q_norm, "qn");
    check_layer(*state, &layer, "attention is with one of q_norm and k_norm, expected both");
    strcpy(layer.attention.k_norm, "kn");
    check_layer(*state, &layer, NULL);
    layer.attention.q_norm[0] = 0;
    check_layer(*state, &layer, "attention is with one of q_norm and k_norm");
}

static void test_fused_layouts_need_names(void **state)
{
    for (int32_t layout = AWQ_EXPERTS_FUSED; layout <= AWQ_EXPERTS_FUSED_MXFP4; layout++) {
        awq_arch_layer layer = good_layer;
        layer.experts.layout = layout;
        check_layer(*state, &layer, "experts.fused_gate_up is empty");
        strcpy(layer.experts.fused_gate_up, "gu");
        check_layer(*state, &layer, "experts.fused_down is empty");
        strcpy(layer.experts.fused_down, "d");
        check_layer(*state, &layer, NULL);
    }
    /* A layout in which they are to be written is one, too. */
    awq_arch_layer layer = good_layer;
    layer.experts.mxfp4 = 1;
    check_layer(*state, &layer, "experts.fused_gate_up is empty");
    strcpy(layer.experts.fused_gate_up, "gu");
    strcpy(layer.experts.fused_down, "d");
    check_layer(*state, &layer, NULL);
}

static void test_mxfp4_has_blocks_of_32(void **state)
{
    fixture *f = *state;
    awq_arch_layer layer = good_layer;
    awq_arch_model model = good_model;
    strcpy(layer.experts.fused_gate_up, "gu");
    strcpy(layer.experts.fused_down, "d");
    layer.experts.intermediate_size = 80;
    layer.experts.layout = AWQ_EXPERTS_FUSED_TRANSPOSED;
    check_layer(f, &layer, NULL);
    layer.experts.layout = AWQ_EXPERTS_FUSED_MXFP4;
    check_layer(f, &layer, "an intermediate_size that is a multiple of 32");
    layer.experts.intermediate_size = 96;
    check_layer(f, &layer, NULL);
    model.hidden_size = 80;
    check_answer(f, awq__check_layer(f->ctx, "tried", 7, &model, &layer),
                 "layer 7: experts.layout is of MXFP4, expected a hidden_size");
}

static void test_shared_expert(void **state)
{
    const change changes[] = {
        {LAYER(shared.activation.alpha), DOUBLE, -1, 0, "shared.activation.alpha is negative"},
        {LAYER(shared.activation.limit), DOUBLE, NAN, 0, "shared.activation.limit is negative"},
        {LAYER(shared.activation.up_offset), DOUBLE, INFINITY, 0, "shared.activation.up_offset"},
        {LAYER(shared.activation.limit), DOUBLE, 7, 0, "folds is with AWQ_FOLD_UP"},
        {LAYER(shared.activation.up_offset), DOUBLE, 1, 0, "folds is with AWQ_FOLD_UP"},
        {LAYER(shared.activation.alpha), DOUBLE, 1.702, 0, NULL},
        {LAYER(shared.intermediate_size), INT64, 0, 0,
         "shared.intermediate_size is 0, expected more where shared has names"},
        {LAYER(shared.token_gate), WORD, 0, 'g', NULL},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        awq_arch_layer layer = good_layer;
        layer.shared = good_shared;
        apply(&layer, &changes[i]);
        check_layer(*state, &layer, changes[i].message);
    }
}

static void test_dense_layer(void **state)
{
    awq_arch_layer layer = good_layer;
    memset(&layer.router, 0, sizeof layer.router);
    memset(&layer.experts, 0, sizeof layer.experts);
    check_layer(*state, &layer, "shared.intermediate_size is 0, expected more in a layer");
    layer.shared = good_shared;
    check_layer(*state, &layer, NULL);
    strcpy(layer.shared.token_gate, "g");
    check_layer(*state, &layer, "shared.token_gate is there in a layer whose experts.count is 0");
    layer.shared.token_gate[0] = 0;
    /* What no expert has cannot be wrong. */
    layer.router.scoring = 9;
    layer.experts.layout = 9;
    layer.experts.activation.limit = 7;
    check_layer(*state, &layer, NULL);
    layer.shared.activation.limit = 7;
    check_layer(*state, &layer, "it is not linear in up");
}

static void test_preferred_format(void **state)
{
    const struct {
        const char *name, *message;
    } cases[] = {
        {"", NULL},
        {"awq", NULL},
        {"compressed-tensors", NULL},
        {"mxfp4", NULL},
        {"auto", "plugin tried: preferred_format is auto, expected awq, compressed-tensors, mxfp4"},
        {"AWQ", "preferred_format is AWQ"},
        {"awq ", "preferred_format is awq ,"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq_arch_model model = good_model;
        snprintf(model.preferred_format, sizeof model.preferred_format, "%s", cases[i].name);
        check_model(*state, &model, cases[i].message);
    }
    awq_arch_model model = good_model;
    memset(model.preferred_format, 'x', sizeof model.preferred_format);
    check_model(*state, &model, "preferred_format is a text without an end");
}

static void test_reserved_space(void **state)
{
    const struct {
        size_t offset, words;
        const char *message;
    } spaces[] = {
        {LAYER(attention_norm.reserved), 2, "attention_norm is not zero in its reserved space"},
        {LAYER(moe_norm.reserved), 2, "moe_norm is not zero"},
        {LAYER(router.reserved), 4, "router is not zero"},
        {LAYER(experts.activation.reserved), 1, "activation is not zero"},
        {LAYER(experts.reserved), 16, "experts is not zero"},
        {LAYER(shared.activation.reserved), 1, "shared.activation is not zero"},
        {LAYER(shared.reserved), 8, "shared is not zero"},
    };
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        for (size_t word = 0; word < spaces[i].words; word++) {
            awq_arch_layer layer = good_layer;
            layer.shared = good_shared;
            apply(&layer, &(change){spaces[i].offset + 8 * word, WORD, 0, 1, NULL});
            check_layer(*state, &layer, spaces[i].message);
        }
}

/* ---- names ---- */

typedef enum name_kind {
    REQUIRED,
    OF_EXPERT,
    OPTIONAL,
    FUSED, /* optional, and with suffixes */
} name_kind;

typedef struct name_member {
    size_t offset;
    const char *member;
    name_kind kind;
} name_member;

static const name_member layer_names[] = {
    {LAYER(attention_norm.name), "attention_norm", REQUIRED},
    {LAYER(attention.q), "attention.q", REQUIRED},
    {LAYER(attention.k), "attention.k", REQUIRED},
    {LAYER(attention.v), "attention.v", REQUIRED},
    {LAYER(attention.o), "attention.o", REQUIRED},
    {LAYER(moe_norm.name), "moe_norm", REQUIRED},
    {LAYER(router.name), "router", REQUIRED},
    {LAYER(experts.gate), "experts.gate", OF_EXPERT},
    {LAYER(experts.up), "experts.up", OF_EXPERT},
    {LAYER(experts.down), "experts.down", OF_EXPERT},
    {LAYER(attention.q_norm), "attention.q_norm", OPTIONAL},
    {LAYER(attention.k_norm), "attention.k_norm", OPTIONAL},
    {LAYER(attention.sinks), "attention.sinks", OPTIONAL},
    {LAYER(experts.fused_gate_up), "experts.fused_gate_up", FUSED},
    {LAYER(experts.fused_down), "experts.fused_down", FUSED},
    {LAYER(shared.gate), "shared.gate", REQUIRED},
    {LAYER(shared.up), "shared.up", REQUIRED},
    {LAYER(shared.down), "shared.down", REQUIRED},
    {LAYER(shared.token_gate), "shared.token_gate", OPTIONAL},
};
static const name_member model_names[] = {
    {MODEL(embedding), "embedding", REQUIRED},
    {MODEL(final_norm), "final_norm", REQUIRED},
    {MODEL(head), "head", OPTIONAL}, /* without one the embedding is the head */
};

static void try_name(fixture *f, const name_member *m, bool of_layer, const char *name,
                     size_t bytes, const char *problem)
{
    awq_arch_model model = good_model;
    awq_arch_layer layer = good_layer;
    char message[256];
    layer.shared = good_shared;
    if (*name) { /* the norms are both there or both not */
        strcpy(layer.attention.q_norm, "qn");
        strcpy(layer.attention.k_norm, "kn");
    }
    memcpy((of_layer ? (char *)&layer : (char *)&model) + m->offset, name, bytes);
    snprintf(message, sizeof message, "%s is %s", m->member, problem ? problem : "");
    if (of_layer)
        check_layer(f, &layer, problem ? message : NULL);
    else
        check_model(f, &model, problem ? message : NULL);
}

static void try_names(fixture *f, const name_member *m, bool of_layer)
{
    char name[AWQ_NAME_BYTES];
    memset(name, 'x', sizeof name);
    try_name(f, m, of_layer, name, sizeof name, "a name without an end");
    memcpy(name, AWQ_EXPERT_PLACEHOLDER, strlen(AWQ_EXPERT_PLACEHOLDER));
    name[sizeof name - 1] = 0;
    try_name(f, m, of_layer, name, sizeof name,
             m->kind == OF_EXPERT ? "too long, expected room" : "{e}xx");
    if (m->kind == OF_EXPERT) {
        name[sizeof name - 5] = 0; /* with 65535 for {e}: one byte to spare */
        try_name(f, m, of_layer, name, sizeof name, "too long, expected room");
        name[sizeof name - 6] = 0;
        try_name(f, m, of_layer, name, sizeof name, NULL);
        try_name(f, m, of_layer, "plain", 6, "plain, expected one {e} in it");
        try_name(f, m, of_layer, "{e}.{e}", 8, "{e}.{e}, expected one {e} in it");
        try_name(f, m, of_layer, "{e{e}}", 7, NULL);
    } else {
        try_name(f, m, of_layer, "a.{e}.b", 8, "a.{e}.b, expected no {e} in it");
        memset(name, 'y', sizeof name - 1);
        if (m->kind == FUSED) {
            try_name(f, m, of_layer, name, sizeof name, "too long, expected room for _blocks");
            name[sizeof name - 7] = 0;
            try_name(f, m, of_layer, name, sizeof name, "too long, expected room for _blocks");
            name[sizeof name - 8] = 0;
        }
        try_name(f, m, of_layer, name, sizeof name, NULL);
    }
    try_name(f, m, of_layer, "", 1,
             m->kind == OPTIONAL || m->kind == FUSED ? NULL : "empty, expected a module name");
}

static void test_names(void **state)
{
    for (size_t i = 0; i < sizeof layer_names / sizeof *layer_names; i++)
        try_names(*state, &layer_names[i], true);
    for (size_t i = 0; i < sizeof model_names / sizeof *model_names; i++)
        try_names(*state, &model_names[i], false);
}

/* ---- anything at all ---- */

static void scramble(uint64_t *random, void *description, size_t bytes)
{
    uint8_t *at = description;
    if (awq__random(random) % 4 == 0) {
        for (size_t i = 0; i < bytes; i++)
            at[i] = (uint8_t)awq__random(random);
        return;
    }
    for (uint64_t n = awq__random(random) % 8; n > 0; n--) {
        uint64_t value = awq__random(random);
        at[value % bytes] ^= (uint8_t)(1u << (value >> 32) % 8);
    }
}

static void assert_answered(const fixture *f, awq_status status)
{
    if (status != AWQ_OK)
        assert_true(status == AWQ_ERROR_PLUGIN && awq_context_message(f->ctx)[0]);
}

static void test_random_descriptions(void **state)
{
    fixture *f = *state;
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        awq_arch_model model = good_model;
        awq_arch_layer layer = good_layer;
        scramble(&random, &model, sizeof model);
        scramble(&random, &layer, sizeof layer);
        awq__clear(f->ctx);
        assert_answered(f, awq__check_model(f->ctx, "tried", &model));
        awq__clear(f->ctx);
        assert_answered(f, awq__check_layer(f->ctx, "tried", 0, &good_model, &layer));
    }
}

/* ---- through a whole model ---- */

static const awq_plugin *mixtral; /* what the plugin below starts from */
static uint64_t scrambling;
static int64_t layer_count, expert_count; /* 0: as they are */

static awq_status scrambled_model(const awq_host *host, awq_arch_model *model)
{
    awq_status status = mixtral->describe_model(host, model);
    if (scrambling)
        scramble(&scrambling, model, sizeof *model);
    model->layer_count = layer_count ? layer_count : awq__min(model->layer_count, 4);
    return status;
}

static awq_status scrambled_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_status status = mixtral->describe_layer(host, n, layer);
    if (scrambling)
        scramble(&scrambling, layer, sizeof *layer);
    if (expert_count)
        layer->experts.count = expert_count;
    return status;
}

static const char *const types[] = {"mixtral", NULL};
static const awq_plugin scrambler = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .id = "scrambler",
    .version = "1",
    .model_types = types,
    .describe_model = scrambled_model,
    .describe_layer = scrambled_layer,
};

static awq_model *open_small(fixture *f, const char *plugin, const synthetic *small)
{
    awq_model *model = NULL;
    if (synthetic_write(f->ctx, path_of(f, "small"), small) != AWQ_OK ||
        awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) != AWQ_OK ||
        awq_model_open(f->ctx, path_of(f, "small"), plugin, &model) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    return model;
}

static void test_random_descriptions_of_a_model(void **state)
{
    fixture *f = *state;
    const synthetic small = SYNTHETIC_SMALL;
    awq__plugins plugins;
    const awq__plugin *plugin;
    assert_int_equal(awq_context_add_plugin(f->ctx, &scrambler), AWQ_OK);
    awq_model_free(open_small(f, "mixtral", &small));
    assert_int_equal(awq__plugins_load(f->ctx, &plugins), AWQ_OK);
    assert_int_equal(awq__plugins_choose(f->ctx, &plugins, "mixtral", "mixtral", &plugin), AWQ_OK);
    mixtral = &plugin->table;
    int opened = 0, refused = 0;
    for (scrambling = 1; opened + refused < 300;) {
        awq_model *model;
        awq_status status = awq_model_open(f->ctx, path_of(f, "small"), "scrambler", &model);
        assert_true(status == AWQ_OK || awq_context_message(f->ctx)[0]);
        opened += status == AWQ_OK;
        refused += status != AWQ_OK;
        awq_model_free(model);
    }
    assert_true(opened > 0 && refused > 100);
    scrambling = 0;

    awq_model *model;
    layer_count = 1000;
    expert_count = 65536;
    assert_int_equal(awq_model_open(f->ctx, path_of(f, "small"), "scrambler", &model),
                     AWQ_ERROR_PLUGIN);
    assert_message(f, "plugin scrambler: describes up to 1966");
    assert_message(f, " modules, expected at most 4194304");
    layer_count = expert_count = 0;
    awq__plugins_free(&plugins);
}

/* ---- the list of modules ---- */

typedef struct expected_module {
    const char *name;
    awq_role role;
    int64_t layer, rows, columns;
} expected_module;

static void test_modules(void **state)
{
    fixture *f = *state;
    synthetic small = SYNTHETIC_SMALL;
    small.experts = 3;
    awq_model *model = open_small(f, NULL, &small);
#define LAYER_MODULES(n)                                                                           \
    {"model.layers." #n ".input_layernorm", AWQ_ROLE_NORM, n, 64, 1},                              \
        {"model.layers." #n ".self_attn.q_proj", AWQ_ROLE_ATTENTION, n, 64, 64},                   \
        {"model.layers." #n ".self_attn.k_proj", AWQ_ROLE_ATTENTION, n, 32, 64},                   \
        {"model.layers." #n ".self_attn.v_proj", AWQ_ROLE_ATTENTION, n, 32, 64},                   \
        {"model.layers." #n ".self_attn.o_proj", AWQ_ROLE_ATTENTION, n, 64, 64},                   \
        {"model.layers." #n ".post_attention_layernorm", AWQ_ROLE_NORM, n, 64, 1},                 \
        {"model.layers." #n ".block_sparse_moe.gate", AWQ_ROLE_ROUTER, n, 3, 64},                  \
        EXPERT_MODULES(n, 0), EXPERT_MODULES(n, 1), EXPERT_MODULES(n, 2)
#define EXPERT_MODULES(n, e)                                                                       \
    {"model.layers." #n ".block_sparse_moe.experts." #e ".w1", AWQ_ROLE_EXPERT, n, 96, 64},        \
        {"model.layers." #n ".block_sparse_moe.experts." #e ".w3", AWQ_ROLE_EXPERT, n, 96, 64},    \
    {                                                                                              \
        "model.layers." #n ".block_sparse_moe.experts." #e ".w2", AWQ_ROLE_EXPERT, n, 64, 96       \
    }
    const expected_module expected[] = {
        {"model.embed_tokens", AWQ_ROLE_EMBEDDING, -1, 128, 64},
        LAYER_MODULES(0),
        LAYER_MODULES(1),
        {"model.norm", AWQ_ROLE_NORM, -1, 64, 1},
        {"lm_head", AWQ_ROLE_HEAD, -1, 128, 64},
    };
    size_t count = sizeof expected / sizeof *expected;
    assert_int_equal(awq_model_module_count(model), count);
    for (size_t i = 0; i < count; i++) {
        const awq_module *module = awq_model_module(model, i);
        assert_string_equal(module->name, expected[i].name);
        assert_int_equal(module->role, expected[i].role);
        assert_int_equal(module->layer, expected[i].layer);
        assert_int_equal(module->rows, expected[i].rows);
        assert_int_equal(module->columns, expected[i].columns);
    }
    assert_null(awq_model_module(model, count));
    awq_model_free(model);
}

static void test_index(void **state)
{
    fixture *f = *state;
    const synthetic small = SYNTHETIC_SMALL;
    awq__arch *arch;
    awq_model_free(open_small(f, NULL, &small));
    assert_int_equal(awq__arch_open(f->ctx, path_of(f, "small"), NULL, &arch), AWQ_OK);
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *m = &arch->modules[i];
        assert_int_equal(awq__arch_index(arch, m->layer, m->part, m->expert), i);
        char tensor[AWQ_NAME_BYTES + 8];
        snprintf(tensor, sizeof tensor, "%s.weight", m->name);
        assert_true(awq__arch_stores(arch, tensor));
        assert_false(awq__arch_stores(arch, m->name));
        assert_int_equal(m->vector, m->role == AWQ_ROLE_NORM);
        assert_int_equal(m->expert >= 0, m->role == AWQ_ROLE_EXPERT);
    }
    assert_false(awq__arch_stores(arch, "model.layers.0.weight"));
    assert_false(awq__arch_stores(arch, ".weight"));
    assert_false(awq__arch_stores(arch, ""));
    awq__arch_free(arch);
}

static void test_tied_model_has_no_head(void **state)
{
    fixture *f = *state;
    synthetic small = SYNTHETIC_SMALL;
    small.tied = true;
    awq_model *model = open_small(f, NULL, &small);
    const awq_module *last = awq_model_module(model, awq_model_module_count(model) - 1);
    assert_string_equal(last->name, "model.norm");
    awq_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_model_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_layer_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_heads_times_head_dim, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_up_fold_needs_a_linear_activation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_norms_of_queries_and_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fused_layouts_need_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mxfp4_has_blocks_of_32, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared_expert, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dense_layer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_preferred_format, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reserved_space, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_descriptions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_descriptions_of_a_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_modules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tied_model_has_no_head, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
