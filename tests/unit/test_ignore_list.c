/* The list of modules that stay float, as readers of compressed-tensors match it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "format/format.h"

#include <regex.h>
#include <stdio.h>

enum { MOST = 256, LONGEST = 128 };

typedef struct names {
    const char *list[MOST];
    char text[MOST][LONGEST];
    size_t count;
} names;

static void add(names *n, const char *format, int layer, const char *module)
{
    assert_true(n->count < MOST);
    snprintf(n->text[n->count], sizeof n->text[0], format, layer, module);
    n->list[n->count] = n->text[n->count];
    n->count++;
}

static void add_layer(names *n, int layer, const char *const *modules, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add(n, "model.layers.%d.%s", layer, modules[i]);
}
#define ADD_LAYER(n, layer, modules)                                                               \
    add_layer(n, layer, modules, sizeof(modules) / sizeof *(modules))

/* An entry; a regular expression matches as Python's re.match, from the beginning of the name. */
typedef struct matcher {
    const char *name; /* NULL: it is a regular expression */
    regex_t regex;
} matcher;

static void make_matcher(const char *entry, matcher *m)
{
    *m = (matcher){.name = strncmp(entry, "re:", 3) ? entry : NULL};
    char anchored[512];
    if (m->name)
        return;
    assert_true(snprintf(anchored, sizeof anchored, "^(%s)", entry + 3) < (int)sizeof anchored);
    assert_int_equal(regcomp(&m->regex, anchored, REG_EXTENDED | REG_NOSUB), 0);
}

static void free_matcher(matcher *m)
{
    if (!m->name)
        regfree(&m->regex);
}

static bool any_matches(const matcher *matchers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (matchers[i].name ? !strcmp(matchers[i].name, name)
                             : regexec(&matchers[i].regex, name, 0, NULL, 0) == 0)
            return true;
    return false;
}

static const char *const renamed[][2] = {
    {"block_sparse_moe", "mlp"}, {"mlp", "block_sparse_moe"}, {"self_attn", "attn"},
    {"attn", "self_attn"},       {"w1", "gate_proj"},         {"w2", "down_proj"},
    {"w3", "up_proj"},
};
enum { SPELLINGS = 1 << (sizeof renamed / sizeof *renamed) };

/* The name with the renamings of those bits of `which` that apply to it, component by component. */
static void spell(const char *name, int which, char out[LONGEST])
{
    size_t at = 0;
    while (*name) {
        size_t length = strcspn(name, ".");
        const char *word = name;
        size_t word_length = length;
        for (int i = 0; i < (int)(sizeof renamed / sizeof *renamed); i++)
            if (which >> i & 1 && strlen(renamed[i][0]) == length &&
                !strncmp(renamed[i][0], name, length)) {
                word = renamed[i][1];
                word_length = strlen(word);
            }
        name += length;
        bool more = *name == '.';
        assert_true(at + word_length + 2 < LONGEST);
        memcpy(out + at, word, word_length);
        at += word_length;
        if (more)
            out[at++] = *name++;
    }
    out[at] = 0;
}

/* Expects these entries in this order, and that readers take them as they are meant, whatever the
   spelling that they know. */
static void check(awq_context *ctx, const names *kept, const names *quantized, size_t count,
                  const char *const *expected)
{
    char **list, name[LONGEST];
    size_t found;
    succeeds(ctx, awq__ignore_list(ctx, kept->list, kept->count, quantized->list, quantized->count,
                                   &list, &found));
    for (size_t i = 0; i < found; i++)
        if (i >= count || strcmp(list[i], expected[i]))
            fail_msg("entry %zu is \"%s\", expected \"%s\"", i, list[i],
                     i < count ? expected[i] : "none");
    assert_int_equal(found, count);
    matcher matchers[MOST];
    for (size_t i = 0; i < found; i++)
        make_matcher(list[i], &matchers[i]);
    for (int which = 0; which < SPELLINGS; which++) {
        for (size_t k = 0; k < kept->count; k++) {
            spell(kept->list[k], which, name);
            if (!any_matches(matchers, found, name))
                fail_msg("%s is kept, but no entry matches it", name);
        }
        for (size_t q = 0; q < quantized->count; q++) {
            spell(quantized->list[q], which, name);
            if (any_matches(matchers, found, name))
                fail_msg("%s is quantized, but an entry matches it", name);
        }
    }
    for (size_t i = 0; i < found; i++)
        free_matcher(&matchers[i]);
    awq__name_list_free(list, found);
}
#define CHECK(ctx, kept, quantized, ...)                                                           \
    check(ctx, kept, quantized, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),       \
          (const char *const[]){__VA_ARGS__})

static void refuse(awq_context *ctx, const names *kept, const names *quantized, const char *message)
{
    char **list;
    size_t found;
    fails(ctx,
          awq__ignore_list(ctx, kept->list, kept->count, quantized->list, quantized->count, &list,
                           &found),
          AWQ_ERROR_RECIPE, message);
    assert_null(list);
    assert_int_equal(found, 0);
}

static const char *const attention[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.o_proj"};
static const char *const mixtral_experts[] = {
    "block_sparse_moe.experts.0.w1", "block_sparse_moe.experts.0.w2",
    "block_sparse_moe.experts.0.w3", "block_sparse_moe.experts.10.w1",
    "block_sparse_moe.experts.10.w2"};
static const char *const experts[] = {"mlp.experts.0.gate_proj", "mlp.experts.0.up_proj",
                                      "mlp.experts.0.down_proj", "mlp.experts.10.gate_proj",
                                      "mlp.experts.10.up_proj",  "mlp.experts.10.down_proj"};
static const char *const shared[] = {"mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj",
                                     "mlp.shared_expert.down_proj"};
static const char *const dense[] = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};

static void mixtral_routers_and_head(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 3; layer++) {
        add(&kept, "model.layers.%d.%s", layer, "block_sparse_moe.gate");
        ADD_LAYER(&quantized, layer, attention);
        ADD_LAYER(&quantized, layer, mixtral_experts);
    }
    add(&kept, "%.0d%s", 0, "lm_head");
    CHECK(*state, &kept, &quantized, "re:.*\\.gate$", "lm_head");
}

static void attention_is_kept_everywhere_or_in_a_layer(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 12; layer++) {
        ADD_LAYER(&kept, layer, attention);
        add(&kept, "model.layers.%d.%s", layer, "mlp.gate");
        ADD_LAYER(&quantized, layer, experts);
    }
    CHECK(*state, &kept, &quantized, "re:.*\\.q_proj$", "re:.*\\.k_proj$", "re:.*\\.v_proj$",
          "re:.*\\.o_proj$", "re:.*\\.gate$");
    kept.count = quantized.count = 0;
    for (int layer = 0; layer < 12; layer++)
        add(layer == 1 ? &kept : &quantized, "model.layers.%d.%s", layer, "self_attn.q_proj");
    CHECK(*state, &kept, &quantized, "re:.*\\.1\\.(self_attn|attn)\\.q_proj$");
}

/* vLLM asks for gate_proj in Mixtral too. */
static void a_kept_matrix_is_named_in_every_spelling(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "model.layers.%d.%s", 0, mixtral_experts[0]);
    for (int layer = 0; layer < 12; layer++)
        add_layer(&quantized, layer, mixtral_experts + !layer, 5 - !layer);
    CHECK(*state, &kept, &quantized,
          "re:.*\\.0\\.(block_sparse_moe|mlp)\\.experts\\.0\\.(w1|gate_proj)$");
}

/* By its beginning, the first component aside: engines put others before it. */
static void layers_are_kept_as_a_whole(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 12; layer++) {
        names *n = layer == 0 || layer == 11 ? &kept : &quantized;
        ADD_LAYER(n, layer, mixtral_experts);
        ADD_LAYER(n, layer, attention);
    }
    CHECK(*state, &kept, &quantized, "re:.*\\.layers\\.(0|11)(\\..*)?$");
    for (int layer = 0; layer < 12; layer += 11)
        add(&quantized, "model.layers.%d.%s", layer, "shared");
    CHECK(*state, &kept, &quantized, "re:.*\\.layers\\.(0|11)\\.(block_sparse_moe|mlp)(\\..*)?$",
          "re:.*\\.layers\\.(0|11)\\.(self_attn|attn)(\\..*)?$");
    for (int layer = 0; layer < 12; layer += 11)
        add(&quantized, "model.layers.%d.%s", layer, "block_sparse_moe.experts_too");
    CHECK(*state, &kept, &quantized,
          "re:.*\\.layers\\.(0|11)\\.(block_sparse_moe|mlp)\\.experts(\\..*)?$",
          "re:.*\\.layers\\.(0|11)\\.(self_attn|attn)(\\..*)?$");
}

static void every_second_expert_is_one_entry(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 3; layer++)
        for (int e = 0; e < 6; e++) {
            char module[64];
            static const char *const matrices[] = {"gate_proj", "up_proj", "down_proj"};
            for (int i = 0; i < 3; i++) {
                snprintf(module, sizeof module, "mlp.experts.%d.%s", e, matrices[i]);
                add(e % 2 ? &kept : &quantized, "model.layers.%d.%s", layer, module);
            }
        }
    CHECK(*state, &kept, &quantized, "re:.*\\.experts\\.(1|3|5)(\\..*)?$");
    names one = {0}, others = quantized;
    for (size_t i = 0; i < kept.count; i++) /* their down_proj alone */
        add(i % 3 == 2 ? &one : &others, "%.0d%s", 0, kept.list[i]);
    CHECK(*state, &one, &others, "re:.*\\.(1|3|5)\\.down_proj$");
}

/* Engines ask for the experts of a layer by one name. */
static void experts_kept_everywhere_are_named_as_one(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 3; layer++) {
        ADD_LAYER(&kept, layer, experts);
        ADD_LAYER(&quantized, layer, attention);
    }
    CHECK(*state, &kept, &quantized, "re:.*\\.experts(\\..*)?$");
    ADD_LAYER(&quantized, 3, dense); /* the same matrices */
    CHECK(*state, &kept, &quantized, "re:.*\\.experts(\\..*)?$");
    add(&quantized, "model.layers.%d.%s", 3, "mlp.experts.0.up_proj");
    CHECK(*state, &kept, &quantized, "re:.*\\.layers\\.(0|1|2)\\.(block_sparse_moe|mlp)(\\..*)?$");
}

static void towers_are_kept_by_a_part_of_their_names(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 12; layer++) {
        ADD_LAYER(&quantized, layer, attention);
        ADD_LAYER(&quantized, layer, dense);
        for (int i = 0; i < 3; i++)
            add(&kept, "visual.blocks.%d.%s", layer, dense[i]);
    }
    CHECK(*state, &kept, &quantized, "re:.*\\.blocks(\\..*)?$");
    /* Names that have nothing before their layers. */
    kept.count = quantized.count = 0;
    for (int layer = 0; layer < 12; layer++)
        for (int i = 0; i < 4; i++)
            add(layer % 6 ? &quantized : &kept, "layers.%d.%s", layer, attention[i]);
    CHECK(*state, &kept, &quantized, "re:(.*\\.)?layers\\.(0|6)(\\..*)?$");
}

static void qwen2_shared_experts_and_dense_layers(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 1; layer < 12; layer++) {
        add(&kept, "model.layers.%d.%s", layer, "mlp.gate");
        add(&kept, "model.layers.%d.%s", layer, "mlp.shared_expert_gate");
        ADD_LAYER(&quantized, layer, attention);
        ADD_LAYER(&quantized, layer, experts);
        ADD_LAYER(&quantized, layer, shared);
    }
    add(&kept, "%.0d%s", 0, "lm_head");
    CHECK(*state, &kept, &quantized, "re:.*\\.gate$", "re:.*\\.shared_expert_gate$", "lm_head");
    names dense_quantized = quantized;
    ADD_LAYER(&dense_quantized, 0, dense);
    CHECK(*state, &kept, &dense_quantized, "re:.*\\.gate$", "re:.*\\.shared_expert_gate$",
          "lm_head");
    ADD_LAYER(&kept, 0, dense);
    CHECK(*state, &kept, &quantized, "re:.*\\.gate$", "re:.*\\.shared_expert_gate$", "lm_head",
          "re:.*\\.(block_sparse_moe|mlp)\\.gate_proj$",
          "re:.*\\.(block_sparse_moe|mlp)\\.up_proj$",
          "re:.*\\.(block_sparse_moe|mlp)\\.down_proj$");
    kept.count = quantized.count = 0;
    ADD_LAYER(&kept, 3, shared); /* beside the same matrices of experts */
    ADD_LAYER(&quantized, 3, experts);
    CHECK(*state, &kept, &quantized, "re:.*\\.shared_expert\\.gate_proj$",
          "re:.*\\.shared_expert\\.up_proj$", "re:.*\\.shared_expert\\.down_proj$");
}

static void gpt_oss_attention_and_routers(void **state)
{
    names kept = {0}, quantized = {0};
    for (int layer = 0; layer < 4; layer++) {
        ADD_LAYER(&kept, layer, attention);
        add(&kept, "model.layers.%d.%s", layer, "mlp.router");
        ADD_LAYER(&quantized, layer, experts);
    }
    add(&kept, "%.0d%s", 0, "lm_head");
    CHECK(*state, &kept, &quantized, "re:.*\\.q_proj$", "re:.*\\.k_proj$", "re:.*\\.v_proj$",
          "re:.*\\.o_proj$", "re:.*\\.router$", "lm_head");
    kept.count = quantized.count = 0;
    for (int layer = 0; layer < 2; layer++)
        add(layer ? &quantized : &kept, "model.layers.%d.%s", layer, "self_attn.o_proj");
    CHECK(*state, &kept, &quantized, "re:.*\\.0\\.(self_attn|attn)\\.o_proj$");
}

static void layer_1_is_not_layer_11(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "model.layers.%d.%s", 1, "linear");
    add(&quantized, "model.layers.%d.%s", 11, "linear");
    CHECK(*state, &kept, &quantized, "re:.*\\.1\\.linear$");
}

static void a_whole_name_is_anchored(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "layers.%d.%s", 3, "proj");
    add(&quantized, "model.layers.%d.%s", 3, "proj");
    CHECK(*state, &kept, &quantized, "re:layers\\.3\\.proj$");
    CHECK(*state, &quantized, &kept, "re:.*\\.layers\\.3\\.proj$");
    kept.count = quantized.count = 0;
    add(&kept, "%.0d%s", 0, "lm_head");
    add(&quantized, "model.%.0d%s", 0, "lm_head");
    CHECK(*state, &kept, &quantized, "lm_head");
}

static void endings_and_whole_names_cover_different_names(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "layers.%d.%s", 3, "proj");
    add(&kept, "other.layers.%d.%s", 3, "proj");
    add(&kept, "other.layers.%d.%s", 3, "gate");
    add(&kept, "%.0d%s", 0, "gate");
    add(&quantized, "model.layers.%d.%s", 3, "proj");
    CHECK(*state, &kept, &quantized, "re:layers\\.3\\.proj$", "re:other\\.layers\\.3\\.proj$",
          "re:.*\\.gate$", "gate");
}

static void special_characters_are_text(void **state)
{
    names kept = {0}, quantized = {0};
    add(&kept, "model.%d.%s", 0, "a+b(c)*[d]{e}|^$?\\f");
    add(&quantized, "model.%d.%s", 0, "aab");
    CHECK(*state, &kept, &quantized, "re:.*\\.a\\+b\\(c\\)\\*\\[d\\]\\{e\\}\\|\\^\\$\\?\\\\f$");
}

static void nothing_kept_is_an_empty_list(void **state)
{
    names kept = {0}, quantized = {0};
    check(*state, &kept, &quantized, 0, NULL);
    ADD_LAYER(&quantized, 0, dense);
    check(*state, &kept, &quantized, 0, NULL);
    CHECK(*state, &quantized, &kept, "re:.*\\.gate_proj$", "re:.*\\.up_proj$",
          "re:.*\\.down_proj$");
}

static void names_that_engines_confuse_are_refused(void **state)
{
    static const char *const pairs[][2] = {
        {"mlp.gate", "mlp.gate"},
        {"mlp.gate", "block_sparse_moe.gate"},
        {"attn.q_proj", "self_attn.q_proj"},
        {"mlp.experts.0.w1", "mlp.experts.0.gate_proj"},
        {"mlp.experts.0.gate_proj", "block_sparse_moe.experts.0.w1"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        names kept = {0}, quantized = {0};
        add(&kept, "model.layers.%d.%s", 7, "good");
        add(&kept, "model.layers.%d.%s", 7, pairs[i][0]);
        add(&quantized, "model.layers.%d.%s", 7, pairs[i][1]);
        refuse(*state, &kept, &quantized, kept.list[1]);
    }
    names kept = {0}, quantized = {0};
    add(&kept, "%.0d%s", 0, "lm_head");
    add(&quantized, "%.0d%s", 0, "lm_head");
    refuse(*state, &kept, &quantized, "lm_head: is kept");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(mixtral_routers_and_head),
        TEST(attention_is_kept_everywhere_or_in_a_layer),
        TEST(a_kept_matrix_is_named_in_every_spelling),
        TEST(layers_are_kept_as_a_whole),
        TEST(every_second_expert_is_one_entry),
        TEST(experts_kept_everywhere_are_named_as_one),
        TEST(towers_are_kept_by_a_part_of_their_names),
        TEST(qwen2_shared_experts_and_dense_layers),
        TEST(gpt_oss_attention_and_routers),
        TEST(layer_1_is_not_layer_11),
        TEST(a_whole_name_is_anchored),
        TEST(endings_and_whole_names_cover_different_names),
        TEST(special_characters_are_text),
        TEST(nothing_kept_is_an_empty_list),
        TEST(names_that_engines_confuse_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
