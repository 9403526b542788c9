/* The lists in config.json name every matrix that is kept, whoever described it: read by the rules
   of engines. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "name_readers.h"
#include "run/job.h"
#include "rules.h"
#include "support/synthetic.h"
#include "temp_files.h"

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"

/* Tensors that no plugin describes: of a layer for prediction, with experts of their own or fused,
   and of other towers. Engines ask for the linear `asked`. */
static const struct {
    const char *tensor, *asked;
    int rank;
} others[] = {
    {"model.layers.2.eh_proj.weight", "model.layers.2.eh_proj", 2},
    {"model.layers.2.enorm.weight", NULL, 1},
    {"model.layers.2.block.self_attn.q_proj.weight", "model.layers.2.block.self_attn.q_proj", 2},
    {"model.layers.2.block_sparse_moe.gate.weight", "model.layers.2.block_sparse_moe.gate", 2},
    {"model.layers.2.block_sparse_moe.experts.0.w1.weight",
     "model.layers.2.block_sparse_moe.experts.0.w1", 2},
    {"model.layers.2.shared_head.head.weight", "model.layers.2.shared_head.head", 2},
    {"mtp.layers.0.mlp.experts.gate_up_proj", "mtp.layers.0.mlp.experts", 3},
    {"mtp.layers.0.mlp.experts.down_proj", "mtp.layers.0.mlp.experts", 3},
    {"multi_modal_projector.linear_1.weight", "multi_modal_projector.linear_1", 2},
    {"visual.blocks.0.attn.qkv.weight", "visual.blocks.0.attn.qkv", 2},
    {"visual.blocks.0.mlp.gate_proj.weight", "visual.blocks.0.mlp.gate_proj", 2},
    {"visual.patch_embed.proj.weight", "visual.patch_embed.proj", 4},
    {"visual.pos_embed", NULL, 2},
};
enum { OTHERS = sizeof others / sizeof *others };

/* ---- a model that has them ---- */

static void add_others(fixture *f, awq__output *output, bool write)
{
    static const int64_t shape[] = {8, 8, 2, 2};
    static const uint8_t zeros[8 * 8 * 2 * 2 * 2];
    for (size_t i = 0; i < OTHERS; i++) {
        size_t bytes = 2;
        for (int r = 0; r < others[i].rank; r++)
            bytes *= (size_t)shape[r];
        succeeds(f->ctx, write ? awq__output_write(output, others[i].tensor, zeros, bytes)
                               : awq__output_declare(output, others[i].tensor, AWQ_BF16,
                                                     others[i].rank, shape));
    }
}

static void add_tiny(fixture *f, const awq__checkpoint *tiny, awq__output *output, bool write)
{
    for (size_t i = 0; i < awq__checkpoint_count(tiny); i++) {
        const awq__tensor *t = awq__checkpoint_at(tiny, i);
        if (strcmp(t->name, "lm_head.weight") != 0)
            succeeds(f->ctx,
                     write ? awq__output_write_from(output, t->name, 0, t, 0, t->bytes)
                           : awq__output_declare(output, t->name, t->dtype, t->rank, t->shape));
    }
}

/* The tiny Mixtral with them, in "model"; its head is its embedding, and is not stored. */
static void write_model(fixture *f)
{
    awq__checkpoint *tiny;
    awq__output *output;
    succeeds(f->ctx, awq__checkpoint_open(f->ctx, MIXTRAL, &tiny));
    succeeds(f->ctx, awq__output_begin(f->ctx, path_of(f, "model"), false, &output));
    for (int write = 0; write < 2; write++) {
        add_tiny(f, tiny, output, write);
        add_others(f, output, write);
        if (!write)
            succeeds(f->ctx, awq__output_layout(output, (uint64_t)1 << 30));
    }
    succeeds(f->ctx, awq__output_copy(output, MIXTRAL "/config.json"));
    succeeds(f->ctx, awq__output_commit(output));
    awq__output_free(output);
    awq__checkpoint_free(tiny);
    succeeds(f->ctx,
             synthetic_edit_config(f->ctx, path_of(f, "model"), "\"tie_word_embeddings\": false",
                                   "\"tie_word_embeddings\": true"));
}

static void plan(fixture *f, const char *format, awq__model_plan *plan)
{
    awq_recipe *recipe;
    succeeds(f->ctx, awq_recipe_create(f->ctx, &recipe));
    set_options(f->ctx, recipe,
                PAIRS("model", path_of(f, "model"), "output", "none", "format", format,
                      "calibration.data", MIXTRAL "/eval.txt"));
    succeeds(f->ctx, awq__model_plan_create(f->ctx, recipe, plan));
    awq_recipe_free(recipe);
}

/* ---- the names, and what readers make of them ---- */

static void list_names(fixture *f, const awq__model_plan *plan, names *kept, names *quantized)
{
    const awq__arch *arch = plan->model->arch;
    names asked = {0};
    for (size_t i = 0; i < arch->module_count; i++)
        if (plan->rules.of[i])
            add(f->ctx, quantized, arch->modules[i].name);
        else if (awq__is_linear(&arch->modules[i]))
            add(f->ctx, kept, arch->modules[i].name);
    for (size_t i = 0; i < OTHERS; i++)
        if (others[i].asked)
            add(f->ctx, kept, others[i].asked);
    add(f->ctx, kept, "lm_head");
    sort_out(kept);
    add_experts(f->ctx, &asked, quantized);
    for (size_t i = 0; i < asked.count; i++)
        add(f->ctx, quantized, asked.list[i]);
    clear(&asked);
}

/* The texts of an array, or, of GPTQ's object, the patterns of its keys that keep. */
static char **texts_of(fixture *f, const cJSON *items, size_t *count)
{
    char **list = calloc((size_t)cJSON_GetArraySize(items) + 1, sizeof *list);
    const cJSON *item;
    assert_non_null(list);
    *count = 0;
    cJSON_ArrayForEach(item, items)
    {
        if (item->string)
            assert_memory_equal(item->string, "-:", 2);
        list[*count] = item->string ? awq__format(f->ctx, "re:%s", item->string + 2)
                                    : awq__strdup(f->ctx, item->valuestring);
        assert_non_null(list[(*count)++]);
    }
    return list;
}

static void free_texts(char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        awq__free(list[i]);
    free(list);
}

static void check_substrings(char **list, size_t count, const names *n, bool expected)
{
    check_skips(list, count, n, expected);
}

static void check_patterns(char **list, size_t count, const names *n, bool expected)
{
    matcher *matchers = make_matchers(list, count);
    check_ignored(matchers, count, n, expected);
    free_matchers(matchers, count);
}

/* As transformers reads bitsandbytes: an entry ends a name, or stands in it before a dot. */
static void check_leaves(char **list, size_t count, const names *n, bool expected)
{
    for (size_t i = 0; i < n->count; i++) {
        bool found = false;
        for (size_t j = 0; j < count && !found; j++) {
            char inner[LONGEST];
            snprintf(inner, sizeof inner, "%s.", list[j]);
            found = ends_with(n->list[i], list[j]) || in_name(inner, n->list[i]);
        }
        if (found != expected)
            fail_msg("%s is %s, but readers think otherwise", n->list[i],
                     expected ? "kept" : "quantized");
    }
}

static void lists_name_all_that_is_kept(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *format, *key;
        void (*check)(char **, size_t, const names *, bool);
    } cases[] = {
        {"awq", "modules_to_not_convert", check_substrings},
        {"compressed-tensors", "ignore", check_patterns},
        {"gptq", "dynamic", check_patterns},
        {"bitsandbytes", "llm_int8_skip_modules", check_leaves},
    };
    succeeds(f->ctx, awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS));
    write_model(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__model_plan planned;
        names kept = {0}, quantized = {0};
        cJSON *config;
        size_t count;
        plan(f, cases[i].format, &planned);
        succeeds(f->ctx, awq__model_plan_config(f->ctx, &planned, &config));
        list_names(f, &planned, &kept, &quantized);
        char **list = texts_of(f, awq__json_at(config, cases[i].key), &count);
        cases[i].check(list, count, &kept, true);
        cases[i].check(list, count, &quantized, false);
        free_texts(list, count);
        clear(&kept);
        clear(&quantized);
        cJSON_Delete(config);
        awq__model_plan_free(&planned);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists_name_all_that_is_kept, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
