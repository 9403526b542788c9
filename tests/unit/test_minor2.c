/* What descriptions may say since minor 2 of the plugin interface, member by member. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "temp_files.h"

#include <math.h>

static const awq_arch_model good_model = {.layer_count = 2,
                                          .hidden_size = 64,
                                          .vocabulary_size = 128,
                                          .norm_epsilon = 1e-5,
                                          .rope = {.pairs = 2, .attention_factor = 1},
                                          .other_ropes = {{.pairs = 4, .attention_factor = 1}},
                                          .embedding = "embed",
                                          .final_norm = "norm"};

static const awq_arch_layer good_layer = {
    .folds = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_EXPERT_NORM,
    .attention_norm = {.name = "n1"},
    .attention = {.q = "q", .k = "k", .v = "v", .o = "o", .heads = 4, .kv_heads = 2, .head_dim = 8},
    .moe_norm = {.name = "n2"},
    .router = {.name = "gate", .scoring = AWQ_SCORING_SIGMOID_TOPK},
    .experts = {.count = 8,
                .per_token = 3,
                .intermediate_size = 32,
                .gate = "e.{e}.g",
                .up = "e.{e}.u",
                .down = "e.{e}.d"},
    .shared = {.intermediate_size = 32, .gate = "s.g", .up = "s.u", .down = "s.d"}};

/* NULL: the layer is good. */
static void answers(fixture *f, const awq_arch_layer *layer, const char *message)
{
    awq__clear(f->ctx);
    awq_status status = awq__check_layer(f->ctx, "tried", 1, &good_model, layer);
    assert_int_equal(status, message ? AWQ_ERROR_PLUGIN : AWQ_OK);
    if (message)
        assert_message(f, message);
}

static void test_attention(void **state)
{
    awq_arch_layer layer = good_layer;
    awq_arch_attention *a = &layer.attention;
    answers(*state, &layer, NULL);
    a->rope = 2;
    answers(*state, &layer, "attention.rope is one of the other_ropes that is not there");
    a->rope = 4;
    answers(*state, &layer, "attention.rope is 4, expected -1 to 3");
    a->rope = -1;
    a->head_dim = 3; /* too small for the pairs, of which none turns */
    answers(*state, &layer, NULL);
    a->head_dim = 8;
    a->rope = 1;
    answers(*state, &layer, NULL);
    a->clip = INFINITY;
    answers(*state, &layer, "attention.clip is negative or not finite");
    a->clip = 1;
    layer.folds |= AWQ_FOLD_VALUE;
    answers(*state, &layer, "folds is with AWQ_FOLD_VALUE, expected none where values are clipped");
    a->clip = 0;
    a->norm_without_weight = AWQ_BARE_NORM_V;
    answers(*state, &layer, "folds is with AWQ_FOLD_VALUE");
    a->norm_without_weight = 8;
    answers(*state, &layer, "attention.norm_without_weight is 8, expected 0 to 7");
    a->norm_without_weight = 0;
    a->value_is_key = 1;
    answers(*state, &layer, "attention.v is a name, expected none");
    a->value_is_key = 0;
    a->chunk = 8;
    a->window = 8;
    answers(*state, &layer, "attention.window is more than 0 beside a chunk");
}

static void test_router(void **state)
{
    awq_arch_layer layer = good_layer;
    awq_arch_router *router = &layer.router;
    router->groups = 3;
    router->groups_kept = 1;
    answers(*state, &layer, "router.groups is not a divisor of experts.count");
    router->groups = 4;
    answers(*state, &layer, "router.groups_kept is so small that fewer experts");
    router->groups_kept = 5;
    answers(*state, &layer, "router.groups_kept is 5, expected 1 to 4");
    router->groups_kept = 2;
    answers(*state, &layer, NULL);
    router->scoring = AWQ_SCORING_TOPK_SOFTMAX;
    answers(*state, &layer, "router.scoring is AWQ_SCORING_TOPK_SOFTMAX with a correction");
    router->scoring = AWQ_SCORING_SIGMOID_TOPK;
    router->weight_floor = 1;
    answers(*state, &layer, "router.weight_floor is more than 0 without renormalize");
    router->weight_floor = 0;
    router->scales_input = router->renormalize = 1;
    answers(*state, &layer, "router.scales_input is 1 with more than a sigmoid");
    router->scales_input = 0;
    strcpy(layer.router_input_scale, "scale");
    answers(*state, &layer, "router_input_scale is there without router.reads_residual");
    router->reads_residual = 1;
    answers(*state, &layer, NULL);
    router->reserved[3] = 1;
    answers(*state, &layer, "router is not zero in its reserved space");
}

static void test_branches(void **state)
{
    awq_arch_layer layer = good_layer;
    layer.folds |= AWQ_FOLD_SHARED_NORM;
    answers(*state, &layer, "folds is with AWQ_FOLD_SHARED_NORM, expected none without");
    strcpy(layer.shared_norm.name, "n3");
    answers(*state, &layer, NULL);
    strcpy(layer.shared.token_gate, "s.t");
    answers(*state, &layer, "shared.token_gate is there beside a shared_norm");
    layer.shared.token_gate[0] = 0;
    layer.residual_multiplier = -1;
    answers(*state, &layer, "residual_multiplier is negative or not finite");
    layer.residual_multiplier = 0;
    layer.experts.activation.kind = AWQ_ACTIVATION_GELU;
    answers(*state, &layer, NULL);
    layer.experts.activation.alpha = 1;
    answers(*state, &layer, "experts.activation is GELU with an alpha");
    layer = good_layer;
    layer.experts = (awq_arch_experts){0};
    answers(*state, &layer, NULL); /* dense */
    strcpy(layer.router_correction, "bias");
    answers(*state, &layer, "in a dense layer");
}

/* ---- rotary frequencies ---- */

static awq_rope rope_of(fixture *f, const char *text, const char *object, int64_t channels)
{
    cJSON *config;
    awq__host host;
    awq_rope rope;
    assert_int_equal(awq__json_parse(f->ctx, "config.json", text, strlen(text), &config), AWQ_OK);
    awq__host_init(&host, f->ctx, "config.json", config, NULL);
    awq_status status = object ? host.table.config_rope_at(&host.table, object, channels, &rope)
                               : host.table.config_rope(&host.table, channels, &rope);
    if (status != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    cJSON_Delete(config);
    return rope;
}

static void frequencies_are(const awq_rope *rope, const double *expected)
{
    for (int64_t i = 0; i < rope->pairs; i++)
        assert_true(fabs(rope->inverse_frequency[i] - expected[i]) <= 1e-12 * expected[i]);
}

/* By the formulas of transformers, with theta 10^4 and 8 channels: 1, 0.1, 0.01, 0.001. */
static void test_rope_types(void **state)
{
    const double turned = pow(1e4 * pow(16, 8.0 / 6), -0.25);
    const double dynamic[] = {1, turned, turned * turned, turned * turned * turned};
    awq_rope rope = rope_of(*state,
                            "{\"rope_theta\": 10000, \"rope_scaling\": {\"type\": \"dynamic\", "
                            "\"alpha\": 16, \"factor\": 1}}",
                            NULL, 8);
    frequencies_are(&rope, dynamic);
    const double part[] = {1, 0.1, 0, 0};
    rope = rope_of(*state,
                   "{\"rope_parameters\": {\"full\": {\"rope_type\": \"proportional\", "
                   "\"rope_theta\": 10000, \"partial_rotary_factor\": 0.5}}}",
                   "rope_parameters.full", 8);
    frequencies_are(&rope, part);
    /* Turns over 1000 positions: 159, 15.9, 1.59 and 0.159; kept from 20 on, slowed below 1. */
    const double middle = (1000 * 0.1 / 6.283185307179586 - 1) / 19;
    const double third = (1000 * 0.01 / 6.283185307179586 - 1) / 19;
    const double llama3[] = {1, 0.1 * (middle + (1 - middle) / 8), 0.01 * (third + (1 - third) / 8),
                             0.001 / 8};
    rope = rope_of(*state,
                   "{\"rope_theta\": 10000, \"rope_scaling\": {\"rope_type\": \"llama3\", "
                   "\"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 20, "
                   "\"original_max_position_embeddings\": 1000}}",
                   NULL, 8);
    frequencies_are(&rope, llama3);
    const double divided[] = {1, 0.05, 0.0025, 0.000125};
    rope = rope_of(*state,
                   "{\"rope_theta\": 10000, \"max_position_embeddings\": 4000, "
                   "\"original_max_position_embeddings\": 1000, \"rope_scaling\": {\"type\": "
                   "\"longrope\", \"short_factor\": [1, 2, 4, 8]}}",
                   NULL, 8);
    frequencies_are(&rope, divided);
    assert_true(fabs(rope.attention_factor - sqrt(1 + log(4) / log(1000))) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_attention, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_router, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_branches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rope_types, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
