/* Rules on the models of tests/data: which modules they match, which rule counts, what it says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/rules.h"
#include "rules.h"

#include <stdio.h>

enum { MIXTRAL, QWEN2, QWEN3, GPT_OSS, MODELS };
static const char *const directories[MODELS] = {
    AWQ_TEST_DATA "/mixtral-tiny", AWQ_TEST_DATA "/qwen2_moe-tiny", AWQ_TEST_DATA "/qwen3_moe-tiny",
    AWQ_TEST_DATA "/gpt_oss-tiny"};

typedef struct fixture {
    awq_context *ctx;
    awq__arch *archs[MODELS], *arch; /* arch: the one that is asked */
    awq_recipe *recipe;
    awq__rules rules;
} fixture;

static void renew(fixture *f)
{
    awq__rules_free(&f->rules);
    awq_recipe_free(f->recipe);
    succeeds(f->ctx, awq_recipe_create(f->ctx, &f->recipe));
}

static int open_models(void **state)
{
    static fixture f;
    *state = &f;
    f = (fixture){0};
    if (awq_context_create(&f.ctx) != AWQ_OK)
        return -1;
    succeeds(f.ctx, awq_context_add_plugin_path(f.ctx, AWQ_TEST_PLUGINS));
    for (int i = 0; i < MODELS; i++)
        succeeds(f.ctx, awq__arch_open(f.ctx, directories[i], NULL, &f.archs[i]));
    f.arch = f.archs[MIXTRAL];
    renew(&f);
    return 0;
}

static int close_models(void **state)
{
    fixture *f = *state;
    awq__rules_free(&f->rules);
    awq_recipe_free(f->recipe);
    for (int i = 0; i < MODELS; i++)
        awq__arch_free(f->archs[i]);
    awq_context_free(f->ctx);
    return 0;
}

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    *symmetric = bits == 8;
    *group = 0;
}

static const awq__serving serving = {
    .engine = "any", .format = "compressed-tensors", .tensor_parallel = 1, .mixed = true};

static awq_status make_rules(fixture *f)
{
    awq__rules_free(&f->rules);
    awq_status status = create_rules(f->ctx, f->recipe, f->arch, defaults, &f->rules);
    return status == AWQ_OK ? awq__rules_resolve_groups(f->ctx, &f->rules, f->arch, &serving)
                            : status;
}

static void rule(fixture *f, const char *const *pairs)
{
    add_rule(f->ctx, f->recipe, pairs);
}

static void set(fixture *f, const char *name, const char *value)
{
    succeeds(f->ctx, awq_recipe_set(f->recipe, name, value, NULL));
}

/* NULL: it stays float. */
static const awq__treatment *treatment_of(const fixture *f, const char *name)
{
    for (size_t i = 0; i < f->arch->module_count; i++)
        if (!strcmp(f->arch->modules[i].name, name))
            return f->rules.of[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static int bits_of(const fixture *f, const char *name)
{
    const awq__treatment *treatment = treatment_of(f, name);
    return treatment ? treatment->scheme.bits : 0;
}

/* ---- selectors ---- */

static bool may_quantize(const awq__module *m)
{
    return m->role == AWQ_ROLE_EXPERT || m->role == AWQ_ROLE_SHARED_EXPERT ||
           m->role == AWQ_ROLE_ATTENTION || m->role == AWQ_ROLE_MLP;
}

/* A value of a selector and which modules it means, told in another way. */
typedef struct choice {
    const char *text; /* NULL: the rule does not say */
    bool (*means)(const awq__module *m);
} choice;

static bool any(const awq__module *m)
{
    (void)m;
    return true;
}

static bool an_expert(const awq__module *m)
{
    return m->role == AWQ_ROLE_EXPERT;
}

static bool attention_or_shared(const awq__module *m)
{
    return m->role == AWQ_ROLE_ATTENTION || m->role == AWQ_ROLE_SHARED_EXPERT;
}

static bool router_or_expert(const awq__module *m)
{
    return m->role == AWQ_ROLE_ROUTER || m->role == AWQ_ROLE_EXPERT;
}

static bool an_end(const awq__module *m)
{
    return m->role == AWQ_ROLE_HEAD || m->role == AWQ_ROLE_EMBEDDING;
}

static bool in_layer_0(const awq__module *m)
{
    return m->layer == 0;
}

static bool in_layer_1(const awq__module *m)
{
    return m->layer == 1;
}

static bool in_a_layer(const awq__module *m)
{
    return m->layer >= 0;
}

static bool an_even_expert(const awq__module *m)
{
    return an_expert(m) && m->expert % 2 == 0;
}

static bool an_expert_over_0(const awq__module *m)
{
    return an_expert(m) && m->expert > 0;
}

static bool ends_with(const awq__module *m, const char *end)
{
    size_t length = strlen(m->name), tail = strlen(end);
    return length > tail && !strcmp(m->name + length - tail, end);
}

static bool gate_or_up(const awq__module *m)
{
    return ends_with(m, ".w1") || ends_with(m, ".w3") || ends_with(m, ".gate_proj") ||
           ends_with(m, ".up_proj");
}

static bool up_or_o(const awq__module *m)
{
    return ends_with(m, ".w3") || ends_with(m, ".up_proj") || ends_with(m, ".o_proj");
}

static bool q_k_v_or_down(const awq__module *m)
{
    return ends_with(m, ".q_proj") || ends_with(m, ".k_proj") || ends_with(m, ".v_proj") ||
           ends_with(m, ".w2") || ends_with(m, ".down_proj");
}

static bool k_alone(const awq__module *m)
{
    return ends_with(m, ".k_proj");
}

static bool under_experts(const awq__module *m)
{
    return strstr(m->name, ".experts.") != NULL;
}

static bool beside_experts(const awq__module *m)
{
    return m->layer == 1 && !under_experts(m);
}

static const choice matches[] = {{NULL, any},
                                 {"*.experts.*", under_experts},
                                 {"experts.*", under_experts},
                                 {"re:model\\.layers\\.1\\.(?!.*experts\\.)", beside_experts}};
static const choice roles[] = {{NULL, any},
                               {"expert", an_expert},
                               {"attention, shared_expert", attention_or_shared},
                               {"expert,router", router_or_expert},
                               {"head,embedding", an_end}};
static const choice layers[] = {
    {NULL, any}, {"0", in_layer_0}, {"-1", in_layer_1}, {"odd", in_layer_1}, {"0-1", in_a_layer}};
static const choice experts[] = {
    {NULL, any}, {"even", an_even_expert}, {"1:", an_expert_over_0}, {"0-63", an_expert}};
static const choice projections[] = {
    {NULL, any},       {"gate_up", gate_or_up},     {"gate, up", gate_or_up},
    {"o,up", up_or_o}, {"qkv,down", q_k_v_or_down}, {"k", k_alone}};
enum {
    MATCHES = sizeof matches / sizeof *matches,
    ROLES = sizeof roles / sizeof *roles,
    LAYERS = sizeof layers / sizeof *layers,
    EXPERTS = sizeof experts / sizeof *experts,
    PROJECTIONS = sizeof projections / sizeof *projections,
    COMBINATIONS = MATCHES * ROLES * LAYERS * EXPERTS * PROJECTIONS,
};

static void select_by(fixture *f, const char *name, const choice *c)
{
    if (c->text)
        succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, name, c->text));
}

/* A rule of 8 bits beside 4 bits for all that may be quantized. */
static void check_combination(fixture *f, const choice *const chosen[5])
{
    static const char *const names[] = {"match", "role", "layers", "experts", "projection"};
    size_t meant = 0, refused = 0, routers = 0;
    renew(f);
    set(f, "quantize.modules", "*");
    rule(f, PAIRS("bits", "8"));
    for (int i = 0; i < 5; i++)
        select_by(f, names[i], chosen[i]);
    awq_status status = make_rules(f);
    for (size_t m = 0; m < f->arch->module_count; m++) {
        const awq__module *module = &f->arch->modules[m];
        bool means = true;
        for (int i = 0; i < 5; i++)
            means &= chosen[i]->means(module);
        meant += means && may_quantize(module);
        refused += means && !may_quantize(module);
        routers += means && module->role == AWQ_ROLE_ROUTER;
        if (f->rules.of) /* else it was refused */
            assert_int_equal(bits_of(f, module->name), !may_quantize(module) ? 0 : means ? 8 : 4);
    }
    if (!meant && refused) {
        fails(f->ctx, status, AWQ_ERROR_RECIPE, "matches only what is never quantized: ");
        return;
    }
    succeeds(f->ctx, status);
    assert_int_equal(f->rules.warning_count, !meant || routers);
    if (!meant)
        assert_non_null(
            strstr(f->rules.warnings[0], ": matches no module; names look like model."));
    else if (routers)
        assert_non_null(strstr(f->rules.warnings[0], "matches routers, as model.layers."));
}

static void selectors_must_all_match(void **state)
{
    fixture *f = *state;
    for (int model = 0; model < MODELS; model++)
        for (int c = 1 + model; c < COMBINATIONS; c += MODELS + 1) { /* number 0 selects nothing */
            int i = c;
            const choice *chosen[5];
            chosen[0] = &matches[i % MATCHES];
            chosen[1] = &roles[(i /= MATCHES) % ROLES];
            chosen[2] = &layers[(i /= ROLES) % LAYERS];
            chosen[3] = &experts[(i /= LAYERS) % EXPERTS];
            chosen[4] = &projections[i / EXPERTS];
            f->arch = f->archs[model];
            check_combination(f, chosen);
        }
}

static void a_rule_must_select(void **state)
{
    fixture *f = *state;
    rule(f, PAIRS("role", "expert"));
    rule(f, PAIRS("bits", "8", "clip", "false"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE,
          "rules[2]: selects no modules; it needs match, role, layers, experts or projection");
    assert_null(f->rules.of);
    renew(f);
    rule(f, PAIRS("keep", "true"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE, "rules[1]: selects no modules");
}

/* ---- which rule counts ---- */

#define EXPERT(layer, expert, part)                                                                \
    "model.layers." #layer ".block_sparse_moe.experts." #expert "." part

static void the_first_rule_that_matches_counts(void **state)
{
    fixture *f = *state;
    rule(f, PAIRS("layers", "0", "experts", "1", "bits", "8"));
    rule(f, PAIRS("experts", "odd", "keep", "true"));
    rule(f, PAIRS("role", "expert", "layers", "0", "bits", "2"));
    rule(f, PAIRS("match", "*.v_proj", "bits", "8"));
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(bits_of(f, EXPERT(0, 1, "w1")), 8); /* not kept */
    assert_int_equal(bits_of(f, EXPERT(1, 1, "w1")), 0); /* though quantize.modules names it */
    assert_int_equal(bits_of(f, EXPERT(0, 3, "w2")), 0);
    assert_int_equal(bits_of(f, EXPERT(0, 0, "w3")), 2);
    assert_int_equal(bits_of(f, EXPERT(1, 0, "w3")), 4); /* of no rule */
    assert_int_equal(bits_of(f, "model.layers.1.self_attn.v_proj"), 8);
    assert_int_equal(bits_of(f, "model.layers.1.self_attn.k_proj"), 0);
    assert_int_equal(f->rules.treatment_count, 3); /* of 2, 4 and 8 bits: what is alike is one */
    assert_int_equal(f->rules.warning_count, 0);
}

static void a_rule_behind_others_has_no_effect(void **state)
{
    fixture *f = *state;
    rule(f, PAIRS("role", "expert", "bits", "8"));
    rule(f, PAIRS("experts", "0", "bits", "2"));
    rule(f, PAIRS("match", "block_sparse_moe.*", "keep", "false")); /* the router too */
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(f->rules.warning_count, 1); /* for both that are behind */
    assert_string_equal(f->rules.warnings[0],
                        "rules[2] (experts: 0): has no effect, because "
                        "earlier rules treat all that it matches (and 1 more)");
    renew(f);
    rule(f, PAIRS("match", "*.gate", "keep", "true"));
    rule(f, PAIRS("role", "router", "keep", "true"));
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(f->rules.warning_count, 1);
    assert_non_null(strstr(f->rules.warnings[0], "rules[2] (role: router): has no effect"));
}

/* Rules alone may say it all, but then something must be left to quantize. */
static void rules_need_no_modules(void **state)
{
    fixture *f = *state;
    succeeds(f->ctx, awq_recipe_clear(f->recipe, "quantize.modules"));
    rule(f, PAIRS("projection", "o"));
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(bits_of(f, "model.layers.0.self_attn.o_proj"), 4);
    assert_int_equal(bits_of(f, EXPERT(0, 0, "w1")), 0);
    assert_int_equal(f->rules.warning_count, 0);
    renew(f);
    rule(f, PAIRS("role", "expert", "keep", "true"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE,
          "quantize.modules: rules keep all that \"*.experts.*\" matches, so that nothing would be "
          "quantized");
    succeeds(f->ctx, awq_recipe_clear(f->recipe, "quantize.modules"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE,
          "no pattern and no rule matches a module that can be quantized");
    set(f, "quantize.modules", "*.q_proj");
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(bits_of(f, "model.layers.0.self_attn.q_proj"), 4);
    assert_int_equal(bits_of(f, EXPERT(0, 0, "w1")), 0);
}

/* Patterns of modules: as a rule's match. */
static void modules_are_matched_as_rules_match(void **state)
{
    fixture *f = *state;
    set(f, "quantize.modules", "re:.*\\.experts\\.[02]\\.");
    succeeds(f->ctx, awq_recipe_append(f->recipe, "quantize.modules", "self_attn.o_proj", NULL));
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(bits_of(f, EXPERT(0, 2, "w1")), 4);
    assert_int_equal(bits_of(f, EXPERT(0, 1, "w1")), 0);
    assert_int_equal(bits_of(f, "model.layers.1.self_attn.o_proj"), 4);
    set(f, "quantize.modules", "re:a(b");
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE,
          "quantize.modules: the regular expression \"a(b\" does not compile at character 3");
    renew(f);
    rule(f, PAIRS("layers", "0", "match", "re:a(b"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE,
          "rules[1] (match: re:a(b, layers: 0): the regular expression \"a(b\" does not compile");
    renew(f);
    rule(f, PAIRS("match", "re:(.|..)+#"));
    rule(f, PAIRS("match", "re:(.|..)*(.|..)*(.|..)*(.|..)*[#]|x"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_UNSUPPORTED, "cannot be matched with the name");
}

/* ---- what a rule says ---- */

static void what_a_rule_does_not_say_is_as_quantize_has_it(void **state)
{
    fixture *f = *state;
    const char *name = EXPERT(0, 0, "w1");
    set(f, "quantize.bits", "8");
    set(f, "quantize.group_size", "64");
    set(f, "quantize.symmetric", "false");
    set(f, "quantize.clip", "false");
    set(f, "quantize.rounding", "gptq");
    rule(f, PAIRS("layers", "0"));
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(f->rules.treatment_count, 1); /* which says nothing new */
    static const struct {
        const char *option, *value;
        int bits;
        int64_t group;
        bool symmetric, calibrate, scale, clip, gptq;
    } cases[] = {
        {"bits", "2", 2, 64, false, true, true, false, true},
        {"group_size", "32", 8, 32, false, true, true, false, true},
        {"group_size", "-1", 8, -1, false, true, true, false, true},
        {"group_size", "auto", 8, 128, false, true, true, false, true},
        {"symmetric", "true", 8, 64, true, true, true, false, true},
        {"symmetric", "auto", 8, 64, true, true, true, false, true},
        {"clip", "true", 8, 64, false, true, true, true, true},
        {"rounding", "nearest", 8, 64, false, true, true, false, false},
        {"method", "gptq", 8, 64, false, true, false, false, true},
        {"method", "rtn", 8, 64, false, false, false, false, false},
        {"preset", "w4a16", 4, 128, true, true, true, false, true},
        {"keep", "false", 8, 64, false, true, true, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        renew(f);
        set(f, "quantize.bits", "8");
        set(f, "quantize.group_size", "64");
        set(f, "quantize.symmetric", "false");
        set(f, "quantize.clip", "false");
        set(f, "quantize.rounding", "gptq");
        rule(f, PAIRS("role", "expert", "layers", "0", cases[i].option, cases[i].value));
        succeeds(f->ctx, make_rules(f));
        const awq__treatment *t = treatment_of(f, name);
        assert_int_equal(t->scheme.bits, cases[i].bits);
        assert_int_equal(t->scheme.group, cases[i].group);
        assert_int_equal(t->scheme.symmetric, cases[i].symmetric);
        assert_int_equal(t->calibrate, cases[i].calibrate);
        assert_int_equal(t->scale, cases[i].scale);
        assert_int_equal(t->clip, cases[i].clip);
        assert_int_equal(t->gptq, cases[i].gptq);
        t = treatment_of(f, EXPERT(1, 0, "w1")); /* of another layer: as ever */
        assert_true(t->scheme.bits == 8 && t->scheme.group == 64 && !t->scheme.symmetric);
        assert_true(t->scale && !t->clip && t->gptq);
    }
}

/* Activations are needed if some module's method wants them. */
static void one_method_that_calibrates_is_enough(void **state)
{
    fixture *f = *state;
    set(f, "quantize.method", "rtn");
    assert_false(awq__recipe_calibrates(f->recipe));
    rule(f, PAIRS("layers", "0", "bits", "8"));
    assert_false(awq__recipe_calibrates(f->recipe));
    succeeds(f->ctx, make_rules(f));
    assert_false(f->rules.calibrate);
    rule(f, PAIRS("role", "attention", "method", "gptq"));
    assert_true(awq__recipe_calibrates(f->recipe));
    succeeds(f->ctx, make_rules(f));
    assert_true(f->rules.calibrate);
    assert_false(treatment_of(f, EXPERT(1, 0, "w1"))->calibrate);
    assert_false(treatment_of(f, "model.layers.0.self_attn.q_proj")->calibrate);
    assert_true(treatment_of(f, "model.layers.1.self_attn.q_proj")->calibrate);
    renew(f);
    rule(f, PAIRS("role", "expert", "method", "rtn"));
    succeeds(f->ctx, make_rules(f));
    assert_false(f->rules.calibrate); /* nothing is left for quantize.method */
}

/* Of each treatment by itself. */
static void auto_groups_are_settled_for_each_treatment(void **state)
{
    fixture *f = *state;
    awq__module *odd = NULL;
    for (size_t i = 0; i < f->arch->module_count; i++)
        if (!strcmp(f->arch->modules[i].name, EXPERT(1, 2, "w2")))
            odd = &f->arch->modules[i];
    assert_non_null(odd);
    int64_t cols = odd->cols;
    odd->cols = 2880;
    rule(f, PAIRS("projection", "down", "layers", "1", "bits", "8"));
    rule(f, PAIRS("projection", "down", "group_size", "-1"));
    succeeds(f->ctx, make_rules(f));
    assert_int_equal(treatment_of(f, EXPERT(1, 2, "w2"))->scheme.group, 64);
    assert_int_equal(treatment_of(f, EXPERT(1, 0, "w2"))->scheme.group, 64);
    assert_int_equal(treatment_of(f, EXPERT(0, 2, "w2"))->scheme.group, -1);
    assert_int_equal(treatment_of(f, EXPERT(1, 2, "w1"))->scheme.group, 128);
    for (size_t i = 0; i < f->arch->module_count; i++)
        if (f->rules.of[i]) {
            int64_t group = awq__rules_scheme(&f->rules, f->arch, i).group;
            assert_int_equal(f->arch->modules[i].cols % group, 0);
        }
    succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, "group_size", "128"));
    fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE,
          EXPERT(1, 2, "w2") ": its 2880 columns are not a multiple of group_size 128; sizes that "
                             "fit: 64, 32, -1");
    odd->cols = cols;
}

/* ---- contradictions ---- */

static void a_rule_that_keeps_says_nothing_else(void **state)
{
    fixture *f = *state;
    static const char *const treatments[][2] = {
        {"preset", "w4a16"},    {"method", "rtn"},     {"rounding", "gptq"}, {"bits", "8"},
        {"group_size", "auto"}, {"symmetric", "auto"}, {"clip", "true"}};
    for (size_t i = 0; i < sizeof treatments / sizeof *treatments; i++) {
        char message[128];
        renew(f);
        rule(f, PAIRS("role", "expert", "layers", "0-3,-1", "keep", "true", treatments[i][0],
                      treatments[i][1]));
        snprintf(message, sizeof message,
                 "rules[1] (role: expert, layers: 0-3,-1): says keep: true and %s, of which only "
                 "one can be",
                 treatments[i][0]);
        fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE, message);
        succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, "keep", "false"));
        succeeds(f->ctx, make_rules(f));
    }
}

static void rules_for_routers_alone_are_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *name, *value, *message;
    } cases[] = {
        {"role", "router",
         "rules[1] (role: router): matches only what is never quantized: "
         "model.layers.0.block_sparse_moe.gate (router); keep: true says that it stays as it is"},
        {"match", "lm_head", "lm_head (head)"},
        {"role", "embedding,head,router", "(router)"}, /* of several the router is named */
        {"match", "*norm*", "(norm)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        renew(f);
        rule(f, PAIRS(cases[i].name, cases[i].value));
        fails(f->ctx, make_rules(f), AWQ_ERROR_RECIPE, cases[i].message);
        assert_null(f->rules.of);
        succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, "keep", "true"));
        succeeds(f->ctx, make_rules(f));
        assert_int_equal(f->rules.warning_count, 0);
    }
    renew(f);
    rule(f, PAIRS("layers", "0", "bits", "8"));
    succeeds(f->ctx, make_rules(f));
    assert_string_equal(f->rules.warnings[0],
                        "rules[1] (layers: 0): matches routers, as "
                        "model.layers.0.block_sparse_moe.gate, which stay as they are");
}

/* A rule's name in messages has room for the longest values. */
static void long_rules_are_named(void **state)
{
    fixture *f = *state;
    char text[600];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    for (size_t length = 1; length < sizeof text; length += 13) {
        renew(f);
        rule(f, PAIRS("match", text + sizeof text - 1 - length, "role", "expert", "layers", "0"));
        succeeds(f->ctx, make_rules(f));
        assert_int_equal(f->rules.warning_count, 1);
        assert_non_null(strstr(f->rules.warnings[0], "rules[1] (match: x"));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_models, close_models)
    const struct CMUnitTest tests[] = {
        TEST(selectors_must_all_match),
        TEST(a_rule_must_select),
        TEST(the_first_rule_that_matches_counts),
        TEST(a_rule_behind_others_has_no_effect),
        TEST(rules_need_no_modules),
        TEST(modules_are_matched_as_rules_match),
        TEST(what_a_rule_does_not_say_is_as_quantize_has_it),
        TEST(one_method_that_calibrates_is_enough),
        TEST(auto_groups_are_settled_for_each_treatment),
        TEST(a_rule_that_keeps_says_nothing_else),
        TEST(rules_for_routers_alone_are_refused),
        TEST(long_rules_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
