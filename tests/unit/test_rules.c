/* Which modules a recipe quantizes: patterns, roles, group sizes. On the model in tests/data. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "plan/rules.h"
#include "rules.h"

#include <stdio.h>

typedef struct fixture {
    awq_context *ctx;
    awq__arch *arch;
    awq_recipe *recipe;
    awq__rules rules;
} fixture;

static int open_model(void **state)
{
    static fixture f;
    *state = &f;
    f = (fixture){0};
    if (awq_context_create(&f.ctx) != AWQ_OK)
        return -1;
    if (awq_context_add_plugin_path(f.ctx, AWQ_TEST_PLUGINS) != AWQ_OK ||
        awq__arch_open(f.ctx, AWQ_TEST_DATA "/mixtral-tiny", NULL, &f.arch) != AWQ_OK ||
        awq_recipe_create(f.ctx, &f.recipe) != AWQ_OK)
        print_error("%s\n", awq_context_message(f.ctx));
    return f.arch && f.recipe ? 0 : -1;
}

static int close_model(void **state)
{
    fixture *f = *state;
    awq__rules_free(&f->rules);
    awq_recipe_free(f->recipe);
    awq__arch_free(f->arch);
    awq_context_free(f->ctx);
    return 0;
}

static void set(fixture *f, const char *name, const char *value)
{
    succeeds(f->ctx, awq_recipe_set(f->recipe, name, value, NULL));
}

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    (void)bits;
    *symmetric = false;
    *group = 0;
}

static void mxfp4_defaults(int bits, bool *symmetric, int64_t *group)
{
    *symmetric = true;
    *group = bits == 4 ? 32 : 0;
}

static const awq__serving serving = {
    .engine = "any", .format = "compressed-tensors", .tensor_parallel = 1, .mixed = true};

/* As a run does it. */
static awq_status make_rules(fixture *f)
{
    awq_status status = create_rules(f->ctx, f->recipe, f->arch, defaults, &f->rules);
    return status == AWQ_OK ? awq__rules_resolve_groups(f->ctx, &f->rules, f->arch, &serving)
                            : status;
}

/* The rules of these patterns, ended by NULL. */
static awq_status apply(fixture *f, const char *const *patterns)
{
    awq__rules_free(&f->rules);
    succeeds(f->ctx, awq_recipe_clear(f->recipe, "quantize.modules"));
    for (size_t i = 0; patterns[i]; i++)
        succeeds(f->ctx, awq_recipe_append(f->recipe, "quantize.modules", patterns[i], NULL));
    return make_rules(f);
}
#define PATTERNS(...) ((const char *const[]){__VA_ARGS__, NULL})

static size_t quantized(const fixture *f, awq_role role)
{
    size_t count = 0;
    for (size_t i = 0; i < f->arch->module_count; i++)
        count += f->rules.of[i] && f->arch->modules[i].role == role;
    return count;
}

/* Experts and attention matrices in all, and nothing else. */
static void assert_quantized(const fixture *f, size_t experts, size_t attention)
{
    assert_int_equal(quantized(f, AWQ_ROLE_EXPERT), experts);
    assert_int_equal(quantized(f, AWQ_ROLE_ATTENTION), attention);
    for (awq_role role = AWQ_ROLE_OTHER; role <= AWQ_ROLE_HEAD; role++)
        if (role != AWQ_ROLE_EXPERT && role != AWQ_ROLE_ATTENTION)
            assert_int_equal(quantized(f, role), 0);
}

/* The treatment that all quantized modules share. */
static const awq__treatment *the_treatment(const fixture *f)
{
    assert_int_equal(f->rules.treatment_count, 1);
    for (size_t i = 0; i < f->arch->module_count; i++)
        assert_true(!f->rules.of[i] || f->rules.of[i] == f->rules.treatments[0]);
    return f->rules.treatments[0];
}

enum { LAYERS = 2, EXPERTS = 4, ALL_EXPERTS = LAYERS * EXPERTS * 3, ALL_ATTENTION = LAYERS * 4 };

static void patterns_choose_modules(void **state)
{
    fixture *f = *state;
    succeeds(f->ctx, make_rules(f));
    assert_quantized(f, ALL_EXPERTS, 0); /* the default */
    static const struct {
        const char *patterns[4];
        size_t experts, attention;
    } cases[] = {
        {{"*.experts.*"}, ALL_EXPERTS, 0},
        {{"*.w2"}, ALL_EXPERTS / 3, 0},
        {{"*.experts.[13].w?"}, ALL_EXPERTS / 2, 0},
        {{"model.layers.1.*"}, ALL_EXPERTS / 2, 4},
        {{"*.q_proj", "*.o_proj", "*.w1"}, ALL_EXPERTS / 3, 4},
        {{"model.layers.0.self_attn.q_proj"}, 0, 1},
        {{"*.w1", "*.w1"}, ALL_EXPERTS / 3, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        succeeds(f->ctx, apply(f, cases[i].patterns));
        assert_quantized(f, cases[i].experts, cases[i].attention);
        assert_int_equal(f->rules.warning_count, 0);
    }
}

/* The tensor of all experts, as checkpoints, transformers and engines call it, is its parts. */
static void names_of_fused_tensors_are_their_parts(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *pattern;
        bool layers[2], gate, down;
    } cases[] = {
        {"mlp.experts.gate_up_proj", {true, true}, true, false},
        {"*.layers.1.mlp.experts.gate_up_proj", {false, true}, true, false},
        {"layers.0.block_sparse_moe.experts.gate_up_proj", {true, false}, true, false},
        {"model.layers.1.mlp.experts.down_proj", {false, true}, false, true},
        {"re:.*\\.experts\\.(gate_up_proj|down_proj)$", {true, true}, true, true},
        {"*.down_proj", {true, true}, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        succeeds(f->ctx, apply(f, PATTERNS(cases[i].pattern)));
        for (size_t m = 0; m < f->arch->module_count; m++) {
            const awq__module *module = &f->arch->modules[m];
            bool part = module->part == AWQ__PART_DOWN ? cases[i].down : cases[i].gate;
            bool expected =
                module->role == AWQ_ROLE_EXPERT && cases[i].layers[module->layer] && part;
            assert_int_equal(f->rules.of[m] != NULL, expected);
        }
    }
    fails(f->ctx, apply(f, PATTERNS("*.gate*")), AWQ_ERROR_RECIPE, "never quantized");
}

static void everything_is_what_may_be_quantized(void **state)
{
    fixture *f = *state;
    succeeds(f->ctx, apply(f, PATTERNS("*")));
    assert_quantized(f, ALL_EXPERTS, ALL_ATTENTION);
    size_t never = 0;
    for (size_t i = 0; i < f->arch->module_count; i++)
        never += !f->rules.of[i];
    assert_int_equal(never, f->arch->module_count - ALL_EXPERTS - ALL_ATTENTION);
    assert_true(never >= 3 + 3 * LAYERS); /* embedding, norms, routers, head */
}

static void what_is_never_quantized_is_refused_by_name(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *pattern, *message;
    } cases[] = {
        {"*.block_sparse_moe.gate",
         "\"*.block_sparse_moe.gate\" matches only what is never quantized: "
         "model.layers.0.block_sparse_moe.gate (router)"},
        {"lm_head", "lm_head (head)"},
        {"*embed*", "model.embed_tokens (embedding)"},
        {"*norm*", "(norm)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fails(f->ctx, apply(f, PATTERNS(cases[i].pattern)), AWQ_ERROR_RECIPE, cases[i].message);
        assert_null(f->rules.of);
        fails(f->ctx, apply(f, PATTERNS("*.experts.*", cases[i].pattern)), AWQ_ERROR_RECIPE,
              cases[i].message);
    }
}

static void a_pattern_that_matches_nothing_is_told(void **state)
{
    fixture *f = *state;
    succeeds(f->ctx, apply(f, PATTERNS("*.experts.*", "*.gate_proj", "*.up_proj")));
    assert_quantized(f, ALL_EXPERTS, 0);
    assert_int_equal(f->rules.warning_count, 1);
    assert_string_equal(f->rules.warnings[0],
                        "quantize.modules: \"*.gate_proj\" matches no module; names look like "
                        "model.layers.0.block_sparse_moe.experts.0.w1 (and 1 more)");
    fails(f->ctx, apply(f, PATTERNS("*.gate_proj")), AWQ_ERROR_RECIPE,
          "no pattern matches a module that can be quantized; names look like model.layers.0.");
    assert_int_equal(f->rules.warning_count, 0);
    succeeds(f->ctx, awq_recipe_clear(f->recipe, "quantize.modules"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE, "no pattern matches");
}

static awq__module *module_of(fixture *f, const char *name)
{
    for (size_t i = 0; i < f->arch->module_count; i++)
        if (!strcmp(f->arch->modules[i].name, name))
            return &f->arch->modules[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void groups_must_divide_the_columns(void **state)
{
    fixture *f = *state;
    awq__module *down = module_of(f, "model.layers.1.block_sparse_moe.experts.2.w2");
    static const struct {
        int64_t cols;
        const char *group, *message; /* NULL: it fits */
    } cases[] = {
        {256, "128", NULL},
        {2880, "128",
         "2880 columns are not a multiple of group_size 128; sizes that fit: "
         "64, 32, -1"},
        {2880, "64", NULL},
        {2880, "-1", NULL},
        {96, "64", "sizes that fit: 32, -1"},
        {100, "32", "sizes that fit: -1"},
        {100, "-1", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        down->cols = cases[i].cols;
        set(f, "quantize.group_size", cases[i].group);
        awq_status status = apply(f, PATTERNS("*.experts.*"));
        if (cases[i].message) {
            fails(f->ctx, status, AWQ_ERROR_RECIPE, cases[i].message);
            fails(f->ctx, status, AWQ_ERROR_RECIPE, down->name);
        } else {
            succeeds(f->ctx, status);
        }
        succeeds(f->ctx, apply(f, PATTERNS("*.w1"))); /* not asked for, not looked at */
    }
}

static void auto_takes_the_largest_group_that_fits(void **state)
{
    fixture *f = *state;
    awq__module *down = module_of(f, "model.layers.1.block_sparse_moe.experts.2.w2");
    static const struct {
        int64_t cols, group;
    } cases[] = {{256, 128}, {2880, 64}, {96, 32}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        down->cols = cases[i].cols;
        succeeds(f->ctx, apply(f, PATTERNS("*.experts.*")));
        assert_int_equal(the_treatment(f)->scheme.group, cases[i].group);
    }
    down->cols = 100;
    fails(f->ctx, apply(f, PATTERNS("*.experts.*")), AWQ_ERROR_RECIPE,
          "w2: its 100 columns are not a multiple of 128, 64 or 32: only group_size -1");
    succeeds(f->ctx, apply(f, PATTERNS("*.w1")));
    assert_int_equal(the_treatment(f)->scheme.group, 128);
}

/* The columns of w2 are 256, whole groups of which each device must get. */
static void auto_fits_the_devices_and_the_engine(void **state)
{
    fixture *f = *state;
    static const struct {
        awq__serving serving;
        int64_t attention, experts;
    } cases[] = {
        {{"any", "compressed-tensors", 1, true}, 128, 128},
        {{"any", "compressed-tensors", 2, true}, 64, 128},
        {{"any", "compressed-tensors", 4, true}, 32, 64},
        {{"vllm", "compressed-tensors", 4, true}, 32, 64},
        {{"vllm", "compressed-tensors", 8, true}, 128, 32}, /* attention has no group that fits */
        {{"vllm", "awq", 4, false}, 32, 32},                /* one for all */
        {{"sglang", "awq", 4, false}, 32, 32},
        {{"any", "compressed-tensors", 3, true}, 128, 128},          /* nothing helps */
        {{"transformers", "compressed-tensors", 4, true}, 128, 128}, /* it splits no matrices */
    };
    add_rule(f->ctx, f->recipe, PAIRS("role", "attention", "clip", "false"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__rules rules;
        succeeds(f->ctx, create_rules(f->ctx, f->recipe, f->arch, defaults, &rules));
        succeeds(f->ctx, awq__rules_resolve_groups(f->ctx, &rules, f->arch, &cases[i].serving));
        assert_int_equal(rules.treatment_count, 2);
        assert_int_equal(rules.treatments[0]->scheme.group, cases[i].attention);
        assert_int_equal(rules.treatments[1]->scheme.group, cases[i].experts);
        awq__rules_free(&rules);
    }
}

static void auto_is_the_formats(void **state)
{
    fixture *f = *state;
    succeeds(f->ctx, create_rules(f->ctx, f->recipe, f->arch, mxfp4_defaults, &f->rules));
    assert_true(the_treatment(f)->scheme.symmetric);
    assert_int_equal(the_treatment(f)->scheme.group, 32);
    awq__rules_free(&f->rules);
    set(f, "quantize.symmetric", "false");
    set(f, "quantize.group_size", "64");
    succeeds(f->ctx, create_rules(f->ctx, f->recipe, f->arch, mxfp4_defaults, &f->rules));
    assert_false(the_treatment(f)->scheme.symmetric);
    assert_int_equal(the_treatment(f)->scheme.group, 64);
}

static void the_scheme_is_the_recipes(void **state)
{
    fixture *f = *state;
    const awq__module *down = module_of(f, "model.layers.1.block_sparse_moe.experts.2.w2");
    size_t index = (size_t)(down - f->arch->modules);
    succeeds(f->ctx, apply(f, PATTERNS("*.experts.*")));
    const awq__treatment *t = the_treatment(f);
    assert_true(f->rules.calibrate && t->calibrate && t->scale && t->clip && t->gptq);
    awq__scheme scheme = awq__rules_scheme(&f->rules, f->arch, index);
    assert_int_equal(scheme.bits, 4);
    assert_int_equal(scheme.group, 128);
    assert_false(scheme.symmetric);
    set(f, "quantize.group_size", "-1");
    set(f, "quantize.symmetric", "true");
    set(f, "quantize.clip", "false");
    succeeds(f->ctx, apply(f, PATTERNS("*.experts.*")));
    t = the_treatment(f);
    assert_true(f->rules.calibrate && t->calibrate && t->scale && !t->clip && t->gptq);
    scheme = awq__rules_scheme(&f->rules, f->arch, index);
    assert_int_equal(scheme.group, down->cols);
    assert_true(scheme.symmetric);
    assert_int_equal(the_treatment(f)->scheme.group, -1);
}

static void the_method_says_what_is_done(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *method, *rounding;
        bool calibrate, scale, clip, gptq;
    } cases[] = {{"awq", NULL, true, true, true, true}, /* the default */
                 {"awq", "nearest", true, true, true, false},
                 {"awq", "gptq", true, true, true, true},
                 {"gptq", "nearest", true, false, false, true},
                 {"rtn", "nearest", false, false, false, false},
                 {"rtn", "gptq", false, false, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set(f, "quantize.method", cases[i].method);
        if (cases[i].rounding)
            set(f, "quantize.rounding", cases[i].rounding);
        set(f, "quantize.clip", "true"); /* clipping needs activations */
        succeeds(f->ctx, apply(f, PATTERNS("*.experts.*")));
        const awq__treatment *t = the_treatment(f);
        assert_int_equal(f->rules.calibrate, cases[i].calibrate);
        assert_int_equal(t->calibrate, cases[i].calibrate);
        assert_int_equal(t->scale, cases[i].scale);
        assert_int_equal(t->clip, cases[i].clip);
        assert_int_equal(t->gptq, cases[i].gptq);
    }
}

static void warnings_are_kept(void **state)
{
    fixture *f = *state;
    char text[32];
    for (int i = 0; i < 40; i++)
        succeeds(f->ctx, awq__rules_warn(f->ctx, &f->rules, "%s %d", "warning", i));
    assert_int_equal(f->rules.warning_count, 40);
    for (int i = 0; i < 40; i++) {
        snprintf(text, sizeof text, "warning %d", i);
        assert_string_equal(f->rules.warnings[i], text);
    }
}

typedef struct heard {
    int count;
    char last[256];
} heard;

static void hear(void *user, awq_log_level level, const char *text)
{
    heard *h = user;
    h->count += level == AWQ_LOG_WARNING;
    snprintf(h->last, sizeof h->last, "%s", text);
}

/* Each warning is logged once: those so far together, each later one as it arises. */
static void warnings_are_told_once(void **state)
{
    fixture *f = *state;
    heard h = {0};
    awq_context_set_log(f->ctx, hear, &h);
    for (int i = 0; i < 1000; i++)
        succeeds(f->ctx,
                 awq__rules_warn_alike(f->ctx, &f->rules, AWQ__ALIKE_SHADOWED, "rule %d", i));
    succeeds(f->ctx, awq__rules_warn_alike(f->ctx, &f->rules, AWQ__ALIKE_ROUTERS, "router"));
    assert_int_equal(h.count, 0);
    awq__rules_tell(f->ctx, &f->rules);
    assert_int_equal(h.count, 2);
    assert_string_equal(h.last, "router");
    assert_string_equal(f->rules.warnings[0], "rule 0 (and 999 more)");
    succeeds(f->ctx, awq__rules_warn(f->ctx, &f->rules, "later"));
    assert_int_equal(h.count, 3);
    assert_string_equal(h.last, "later");
    assert_int_equal(f->rules.warning_count, 3);
    awq_context_set_log(f->ctx, NULL, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_model, close_model)
    const struct CMUnitTest tests[] = {
        TEST(patterns_choose_modules),
        TEST(names_of_fused_tensors_are_their_parts),
        TEST(everything_is_what_may_be_quantized),
        TEST(what_is_never_quantized_is_refused_by_name),
        TEST(a_pattern_that_matches_nothing_is_told),
        TEST(groups_must_divide_the_columns),
        TEST(auto_takes_the_largest_group_that_fits),
        TEST(auto_fits_the_devices_and_the_engine),
        TEST(auto_is_the_formats),
        TEST(the_scheme_is_the_recipes),
        TEST(the_method_says_what_is_done),
        TEST(warnings_are_kept),
        TEST(warnings_are_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
