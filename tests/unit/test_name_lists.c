/* The lists of kept modules of random names and classes, and of the names of published models. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "name_readers.h"

/* ---- random names ---- */

static uint64_t pick(uint64_t *state, uint64_t below)
{
    return awq__random(state) % below;
}

/* Names that are much like one another. */
static void add_wild(awq_context *ctx, names *n, uint64_t *state)
{
    static const char *const words[] = {"a",  "b",   "ab",   "ba",      "1",       "11",
                                        "21", "mlp", "attn", "experts", "experts", "w1"};
    char name[LONGEST];
    size_t at = 0;
    for (uint64_t left = 1 + pick(state, 5); left > 0; left--)
        at += (size_t)snprintf(name + at, sizeof name - at, "%s%s", at ? "." : "",
                               words[pick(state, sizeof words / sizeof *words)]);
    add(ctx, n, name);
}

/* Like a model: which kind of names a layer has. */
typedef struct model {
    const char *prefix, *block;
    int layers, experts;
    const char *matrices[3], *router;
    bool shared, dense_first;
} model;

static void add_matrices(awq_context *ctx, names *n, const char *parent, const char *const *words,
                         size_t count)
{
    char name[LONGEST];
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s.%s", parent, words[i]);
        add(ctx, n, name);
    }
}

static const char *const attention[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
static const char *const dense[] = {"gate_proj", "up_proj", "down_proj"};

static void add_model(awq_context *ctx, names *n, const model *m)
{
    for (int layer = 0; layer < m->layers; layer++) {
        char parent[96], block[64];
        snprintf(parent, sizeof parent, "%slayers.%d.self_attn", m->prefix, layer);
        add_matrices(ctx, n, parent, attention, 4);
        snprintf(block, sizeof block, "%slayers.%d.%s", m->prefix, layer, m->block);
        if (m->dense_first && !layer) {
            add_matrices(ctx, n, block, dense, 3);
            continue;
        }
        add_matrices(ctx, n, block, &m->router, 1);
        for (int e = 0; e < m->experts; e++) {
            snprintf(parent, sizeof parent, "%s.experts.%d", block, e);
            add_matrices(ctx, n, parent, m->matrices, 3);
        }
        if (m->shared) {
            snprintf(parent, sizeof parent, "%s.shared_expert", block);
            add_matrices(ctx, n, parent, dense, 3);
            add_matrices(ctx, n, block, (const char *const[]){"shared_expert_gate"}, 1);
        }
    }
    add(ctx, n, "lm_head");
}

#define MIXTRAL .block = "block_sparse_moe", .matrices = {"w1", "w2", "w3"}, .router = "gate"
#define QWEN .block = "mlp", .matrices = {"gate_proj", "up_proj", "down_proj"}, .router = "gate"

static void add_random_model(awq_context *ctx, names *n, uint64_t *state)
{
    static const char *const prefixes[] = {"model.", "language_model.model.", ""};
    model m[] = {{MIXTRAL}, {QWEN}};
    model *one = &m[pick(state, 2)];
    one->prefix = prefixes[pick(state, 3)];
    one->layers = 1 + (int)pick(state, 12);
    one->experts = 1 + (int)pick(state, 12);
    one->shared = pick(state, 2);
    one->dense_first = pick(state, 2);
    add_model(ctx, n, one);
}

/* The number behind a component; -1 if the name has none. */
static int number_of(const char *name, const char *component)
{
    const char *found = strstr(name, component);
    return found ? atoi(found + strlen(component)) : -1;
}

enum { BY_NAME, BY_LAYER, BY_EXPERT, BY_KIND, BY_PART, RULES };

static bool by_rule(const char *name, uint64_t rule, uint64_t seed)
{
    const char *last = strrchr(name, '.');
    last = last ? last + 1 : name;
    int layer = number_of(name, "layers."), expert = number_of(name, ".experts.");
    uint64_t state = seed;
    switch (rule) {
    case BY_NAME:
        state ^= awq__hash(AWQ__HASH_SEED, name, strlen(name));
        break;
    case BY_LAYER:
        state += (uint64_t)layer + 1;
        break;
    case BY_EXPERT:
        state += (uint64_t)expert + 1;
        break;
    case BY_KIND:
        state ^= awq__hash(AWQ__HASH_SEED, last, strlen(last));
        break;
    default:
        state += (uint64_t)(expert >= 0) + 2 * (uint64_t)(strstr(name, "attn") != NULL);
    }
    return awq__random(&state) & 1;
}

/* Two rules decide, each by itself or only together. */
static void divide(awq_context *ctx, const names *all, uint64_t *state, names *kept,
                   names *quantized)
{
    uint64_t rule[] = {pick(state, RULES), pick(state, RULES)};
    uint64_t seed[] = {awq__random(state), awq__random(state)}, how = pick(state, 3);
    for (size_t i = 0; i < all->count; i++) {
        bool first = by_rule(all->list[i], rule[0], seed[0]);
        bool second = by_rule(all->list[i], rule[1], seed[1]);
        add(ctx,
            (how == 0   ? first
             : how == 1 ? first && second
                        : first || second)
                ? kept
                : quantized,
            all->list[i]);
    }
}

static void check_random(awq_context *ctx, void (*make)(awq_context *, names *, uint64_t *),
                         int times, int makes)
{
    uint64_t state = 5;
    size_t entries[3] = {0};
    for (int i = 0; i < times; i++) {
        names all = {0}, kept = {0}, quantized = {0};
        for (int j = 0; j < makes; j++)
            make(ctx, &all, &state);
        sort_out(&all);
        divide(ctx, &all, &state, &kept, &quantized);
        entries[0] += check_skip_list(ctx, &kept, &quantized);
        entries[1] += check_ignore_list(ctx, &kept, &quantized);
        entries[2] += check_star_list(ctx, &kept, &quantized);
        clear(&all);
        clear(&kept);
        clear(&quantized);
    }
    for (int i = 0; i < 3; i++)
        assert_true(entries[i] > 0);
}

static void lists_of_random_names_are_read_as_meant(void **state)
{
    for (int makes = 1; makes <= 32; makes *= 2)
        check_random(*state, add_wild, 150, makes);
}

static void lists_of_random_models_are_read_as_meant(void **state)
{
    check_random(*state, add_random_model, 40, 1);
}

/* ---- published models ---- */

static const model mixtral = {.prefix = "model.", MIXTRAL, .layers = 32, .experts = 8};
static const model qwen2 = {.prefix = "model.", QWEN, .layers = 24, .experts = 60, .shared = true};
static const model qwen3 = {.prefix = "model.", QWEN, .layers = 48, .experts = 128};

/* As many names as there are: no list may compare each with each. */
static const model large = {.prefix = "model.", QWEN, .layers = 48, .experts = 512};

static bool is_expert(const char *name)
{
    return number_of(name, ".experts.") >= 0;
}

static bool all_but_experts(const char *name, const model *m)
{
    (void)m;
    return !is_expert(name);
}

static bool ends_too(const char *name, const model *m)
{
    int layer = number_of(name, "layers.");
    return !is_expert(name) || layer == 0 || layer == m->layers - 1;
}

static bool whole_ends(const char *name, const model *m)
{
    int layer = number_of(name, "layers.");
    return layer == 0 || layer == m->layers - 1 || strstr(name, "gate.") ||
           ends_with(name, "gate") || layer < 0;
}

static bool every_second_too(const char *name, const model *m)
{
    (void)m;
    return number_of(name, ".experts.") % 2;
}

static bool experts_alone(const char *name, const model *m)
{
    (void)m;
    return is_expert(name);
}

static bool first_half_of_experts(const char *name, const model *m)
{
    return is_expert(name) && number_of(name, "layers.") < m->layers / 2;
}

/* Which names are kept, and how many entries tell them. */
static const struct {
    const model *model;
    bool (*keeps)(const char *name, const model *m);
    size_t skipped, ignored;
} published[] = {
    {&mixtral, all_but_experts, 6, 6},
    {&qwen2, all_but_experts, 10, 10},
    {&qwen3, all_but_experts, 6, 6},
    {&mixtral, ends_too, 8, 7},
    {&qwen2, ends_too, 12, 11},
    {&qwen3, ends_too, 8, 7},
    {&mixtral, whole_ends, 4, 3},
    {&qwen2, whole_ends, 5, 4},
    {&qwen3, whole_ends, 4, 3},
    {&mixtral, every_second_too, 18, 7},
    {&qwen2, every_second_too, 25, 11},
    {&qwen3, every_second_too, 21, 7},
    {&mixtral, experts_alone, 4, 1},
    {&qwen2, experts_alone, 25, 1},
    {&qwen3, experts_alone, 4, 1},
    {&mixtral, first_half_of_experts, 16, 1},
    {&qwen2, first_half_of_experts, 12, 1},
    {&qwen3, first_half_of_experts, 24, 1},
    {&large, every_second_too, 21, 7},
};

static void lists_of_published_models_are_short(void **state)
{
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        names all = {0}, kept = {0}, quantized = {0};
        add_model(*state, &all, published[i].model);
        for (size_t j = 0; j < all.count; j++)
            add(*state, published[i].keeps(all.list[j], published[i].model) ? &kept : &quantized,
                all.list[j]);
        size_t skipped = check_skip_list(*state, &kept, &quantized);
        size_t ignored = check_ignore_list(*state, &kept, &quantized);
        if (skipped != published[i].skipped || ignored != published[i].ignored)
            fail_msg("case %zu has %zu and %zu entries, expected %zu and %zu", i, skipped, ignored,
                     published[i].skipped, published[i].ignored);
        clear(&all);
        clear(&kept);
        clear(&quantized);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(lists_of_random_names_are_read_as_meant),
        TEST(lists_of_random_models_are_read_as_meant),
        TEST(lists_of_published_models_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
