/*
 * Going on with an interrupted run: anything that may have changed meanwhile and must not have, one
 * after the other; then damage to each kind of what the run left. All ends with the bytes of a run
 * without a break, and no layer is done again that is whole.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/json.h"
#include "damage.h"
#include "runs.h"
#include "support/synthetic.h"

#define SEQUENCES 8
#define LENGTH 64
#define LAYERS 3

static char source[1024], partial[1100]; /* of the test that runs */

/* What a run did, by its progress and log. */
typedef struct trace {
    int64_t stop_at; /* cancel where this layer begins; -1: never */
    bool searched[LAYERS], measured[LAYERS];
    char warnings[4096], infos[4096];
} trace;

static int watch(void *user, const awq_progress *progress)
{
    trace *t = user;
    if (progress->layer < LAYERS && !strcmp(progress->stage, "scale search"))
        t->searched[progress->layer] = true;
    if (progress->layer < LAYERS && !strcmp(progress->stage, "sensitivity"))
        t->measured[progress->layer] = true;
    return strcmp(progress->stage, "sensitivity") && progress->layer == t->stop_at;
}

static void listen(void *user, awq_log_level level, const char *text)
{
    trace *t = user;
    char *to = level == AWQ_LOG_WARNING ? t->warnings : t->infos;
    size_t used = strlen(to);
    if (level != AWQ_LOG_DEBUG)
        snprintf(to + used, sizeof t->warnings - used, "%s\n", text);
}

static int set_up_resume(void **state)
{
    if (set_up_run(state))
        return -1;
    const fixture *f = *state;
    snprintf(source, sizeof source, "%s/source", f->directory);
    snprintf(partial, sizeof partial, "%s.partial", output);
    return 0;
}

static void write_ids(const fixture *f, const char *name, uint64_t seed)
{
    char directory[1024];
    snprintf(directory, sizeof directory, "%s/%s", f->directory, name);
    assert_ok(f, synthetic_random_ids(f->ctx, directory, SEQUENCES, LENGTH, 128, seed));
}

/* A model of LAYERS layers, ids to calibrate and to evaluate with, and a recipe. */
static awq_recipe *begin(const fixture *f)
{
    synthetic model = SYNTHETIC_SMALL;
    char path[1100];
    model.layers = LAYERS;
    model.intermediate = 128;
    assert_ok(f, synthetic_write(f->ctx, source, &model));
    write_ids(f, "calibration", 7);
    write_ids(f, "evaluation", 8);
    const char *none[] = {NULL};
    awq_recipe *recipe = recipe_of(f, source, none);
    snprintf(path, sizeof path, "%s/calibration/" MODEL_FILE, f->directory);
    assert_ok(f, awq_recipe_set(recipe, "calibration.data", path, NULL));
    assert_ok(f, awq_recipe_set(recipe, "calibration.samples", "8", NULL));
    assert_ok(f, awq_recipe_set(recipe, "calibration.sequence_length", "64", NULL));
    snprintf(path, sizeof path, "%s/evaluation/" MODEL_FILE, f->directory);
    assert_ok(f, awq_recipe_set(recipe, "evaluation.data", path, NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.group_size", "32", NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.ratio_steps", "4", NULL));
    return recipe;
}

static awq_status run_watched(const fixture *f, const awq_recipe *recipe, trace *t)
{
    awq_context_set_progress(f->ctx, watch, t);
    awq_context_set_log(f->ctx, listen, t);
    awq_status status = awq_quantize(f->ctx, recipe, NULL, NULL);
    awq_context_set_progress(f->ctx, NULL, NULL);
    awq_context_set_log(f->ctx, NULL, NULL);
    return status;
}

/* Leaves the work on the layers before `layer` in the partial directory. */
static void stop_at(const fixture *f, const awq_recipe *recipe, int64_t layer)
{
    trace t = {.stop_at = layer};
    assert_int_equal(run_watched(f, recipe, &t), AWQ_ERROR_CANCELLED);
    assert_true(awq__is_directory(partial));
}

/* A run without a break, whose result then lies in `whole`. */
static void run_whole(const fixture *f, const awq_recipe *recipe, char whole[1024])
{
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    snprintf(whole, 1024, "%s/whole", f->directory);
    assert_int_equal(rename(output, whole), 0);
}

static void assert_same(const fixture *f, const char *whole)
{
    static const char *const files[] = {MODEL_FILE, "config.json", "awq_report.json",
                                        "awq_provenance.json", "README.md"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_same_file(f, whole, output, files[i]);
}

/* Goes on, and must come to the same bytes. */
static trace go_on(const fixture *f, const awq_recipe *recipe, const char *whole)
{
    trace t = {.stop_at = -1};
    assert_ok(f, run_watched(f, recipe, &t));
    assert_same(f, whole);
    assert_ok(f, synthetic_remove(f->ctx, output));
    return t;
}

/* Must be refused for another `item`, whose old and new value the message tells. */
static void refuses(const fixture *f, const awq_recipe *recipe, const char *item)
{
    char part[256];
    assert_string_equal(awq_status_name(awq_quantize(f->ctx, recipe, NULL, NULL)),
                        awq_status_name(AWQ_ERROR_EXISTS));
    snprintf(part, sizeof part, "another %s", item);
    assert_message(f, part);
    assert_message(f, "then, ");
    assert_message(f, "restart");
    assert_true(awq__is_directory(partial));
    assert_false(awq__is_directory(output));
}

/* ---- what must not change ---- */

static void files_of_the_source(void **state)
{
    fixture *f = *state;
    static const char *const edits[][2] = {
        {"\"rms_norm_eps\": ", "\"rms_norm_eps\": 1"},
        {"\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 1"},
        {"{", "{ "}};
    char whole[1024];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 2);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        assert_ok(f, synthetic_edit_config(f->ctx, source, edits[i][0], edits[i][1]));
        refuses(f, recipe, "config.json");
        assert_ok(f, synthetic_edit_config(f->ctx, source, edits[i][1], edits[i][0]));
    }
    static const char *const files[] = {"tokenizer.json", "generation_config.json"};
    for (size_t i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "source/%s", files[i]);
        write_text(f, name, "{}");
        refuses(f, recipe, files[i]);
        assert_message(f, "no file then, xxh3:");
        assert_int_equal(unlink(path_of(f, name)), 0);
    }
    go_on(f, recipe, whole);
    awq_recipe_free(recipe);
}

static void the_recipe(void **state)
{
    fixture *f = *state;
    static const char *const options[][3] = {
        {"quantize.symmetric", "true", "auto then, true now"},
        {"quantize.group_size", "64", "32 then, 64 now"},
        {"quantize.ratio_steps", "5", "4 then, 5 now"},
        {"shard_size", "2MB", "5GB then, 2MB now"},
        {"evaluation.windows", "3", "then, 3 now"},
        {"quantize.modules", "*", "then, * now"},
    };
    char whole[1024];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 1);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        char old[64];
        const char *value = awq_recipe_get(recipe, options[i][0], 0);
        snprintf(old, sizeof old, "%s", value ? value : "");
        assert_ok(f, awq_recipe_set(recipe, options[i][0], options[i][1], NULL));
        refuses(f, recipe, options[i][0]);
        assert_message(f, options[i][2]);
        assert_ok(f, awq_recipe_clear(recipe, options[i][0]));
        if (value)
            assert_ok(f, awq_recipe_set(recipe, options[i][0], old, NULL));
    }
    go_on(f, recipe, whole);
    stop_at(f, recipe, 1);
    assert_ok(f, awq_recipe_add_rule(recipe));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "layers", "0"));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "keep", "true"));
    refuses(f, recipe, "number of rules");
    awq_recipe_free(recipe);
}

static void its_rules(void **state)
{
    fixture *f = *state;
    awq_recipe *recipe = begin(f);
    assert_ok(f, awq_recipe_add_rule(recipe));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "layers", "0"));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "keep", "true"));
    stop_at(f, recipe, 1);
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "layers", "1"));
    refuses(f, recipe, "rules[0].layers");
    assert_message(f, "0 then, 1 now");
    awq_recipe_free(recipe);
}

static void ids(void **state)
{
    fixture *f = *state;
    char whole[1024];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 1);
    write_ids(f, "calibration", 9);
    refuses(f, recipe, "set of calibration ids");
    write_ids(f, "calibration", 7);
    write_ids(f, "evaluation", 9);
    refuses(f, recipe, "set of evaluation ids");
    write_ids(f, "evaluation", 8);
    go_on(f, recipe, whole);
    awq_recipe_free(recipe);
}

static void weights_of_the_source(void **state)
{
    fixture *f = *state;
    static const char *const tensors[][2] = {
        {"model.embed_tokens.weight", "embedding, head or last norm"},
        {"lm_head.weight", "embedding, head or last norm"},
        {"model.layers.0.self_attn.q_proj.weight", "source of layer 0"},
        {"model.layers.0.input_layernorm.weight", "source of layer 0"},
        {"model.layers.1.block_sparse_moe.experts.3.w2.weight", "source of layer 1"},
        {"model.layers.1.block_sparse_moe.gate.weight", "source of layer 1"},
    };
    char whole[1024];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 2);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        for (int where = 0; where < 3; where++) {
            flip_in(f, source, tensors[i][0], 0.5 * where);
            refuses(f, recipe, tensors[i][1]);
            flip_in(f, source, tensors[i][0], 0.5 * where);
        }
    go_on(f, recipe, whole);
    awq_recipe_free(recipe);
}

/* Gives tensors of the source another spelling; spaces fill the header up. */
static void respell(fixture *f, const char *from, const char *to)
{
    char *text, *at;
    size_t bytes, old = strlen(from), new = strlen(to);
    uint64_t length;
    read_all(f, path_of(f, "source/" MODEL_FILE), &text, &bytes);
    memcpy(&length, text, sizeof length);
    char *header = text + 8, *end = header + length, data = *end;
    *end = 0;
    assert_non_null(strstr(header, from));
    while ((at = strstr(header, from))) {
        memcpy(at, to, new);
        memmove(at + new, at + old, (size_t)(end - at) - old);
        memset(end - (old - new), ' ', old - new);
    }
    *end = data;
    write_file(f, "source/" MODEL_FILE, text, bytes);
    awq__free(text);
}

/* The plugin of Mixtral knows both spellings. */
static void weights_under_other_names(void **state)
{
    fixture *f = *state;
    static const char *const tensors[][2] = {
        {"model.layers.0.mlp.experts.0.w1.weight", "source of layer 0"},
        {"model.layers.1.mlp.experts.3.w2.weight", "source of layer 1"},
        {"model.layers.1.mlp.gate.weight", "source of layer 1"},
    };
    char whole[1024];
    awq_recipe *recipe = begin(f);
    respell(f, ".block_sparse_moe.", ".mlp.");
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 2);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        flip_in(f, source, tensors[i][0], 0.5);
        refuses(f, recipe, tensors[i][1]);
        flip_in(f, source, tensors[i][0], 0.5);
    }
    go_on(f, recipe, whole);
    awq_recipe_free(recipe);
}

/* Puts another text in the journal, with the hash that goes with it. */
static void edit_journal(fixture *f, const char *from, const char *to)
{
    size_t bytes;
    char *text;
    read_all(f, path_of(f, "out.partial/awq_journal.json"), &text, &bytes);
    char *found = strstr(text, from), *rest = strchr(strchr(text, '\n') + 1, '\n');
    assert_true(found > rest && strlen(from) == strlen(to));
    memcpy(found, to, strlen(to));
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx",
             (unsigned long long)awq__hash(AWQ__HASH_SEED, rest, strlen(rest)));
    memcpy(strstr(text, "\"hash\":\t\"") + 9, hash, 16);
    write_file(f, "out.partial/awq_journal.json", text, bytes);
    awq__free(text);
}

static void versions(void **state)
{
    fixture *f = *state;
    char whole[1024];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 1);
    edit_journal(f, "libawq\":\t\"0", "libawq\":\t\"9");
    refuses(f, recipe, "version of libawq");
    edit_journal(f, "libawq\":\t\"9", "libawq\":\t\"0");
    edit_journal(f, "\"mixtral\"", "\"mixtrol\"");
    refuses(f, recipe, "plugin: mixtrol then, mixtral now");
    edit_journal(f, "\"mixtrol\"", "\"mixtral\"");
    edit_journal(f, "version of the plugin\":\t\"0", "version of the plugin\":\t\"9");
    refuses(f, recipe, "version of the plugin");
    edit_journal(f, "version of the plugin\":\t\"9", "version of the plugin\":\t\"0");
    go_on(f, recipe, whole);
    awq_recipe_free(recipe);
}

/* The same files at another place are the same. */
static void places_of_files_may_change(void **state)
{
    fixture *f = *state;
    char moved[1100];
    awq_recipe *recipe = begin(f);
    stop_at(f, recipe, 2);
    snprintf(moved, sizeof moved, "%s/moved", f->directory);
    assert_int_equal(rename(source, moved), 0);
    assert_ok(f, awq_recipe_set(recipe, "model", moved, NULL));
    assert_ok(f, awq_recipe_set(recipe, "ignore_engine", "true", NULL)); /* and so is this */
    trace t = {.stop_at = -1};
    assert_ok(f, run_watched(f, recipe, &t));
    assert_false(t.searched[0] || t.searched[1]);
    awq_recipe_free(recipe);
}

/* ---- damage to what the run left ---- */

static void what_goes_on_is_told(void **state)
{
    fixture *f = *state;
    char whole[1024];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 2);
    trace t = go_on(f, recipe, whole);
    assert_false(t.searched[0] || t.searched[1]);
    assert_true(t.searched[2]);
    assert_null(strstr(t.warnings, "done again"));
    assert_non_null(strstr(t.infos, "out.partial: an interrupted run has finished 2 of 3 layers; "
                                    "going on with layer 2"));
    awq_recipe_free(recipe);
}

static void a_run_may_be_stopped_many_times(void **state)
{
    fixture *f = *state;
    char whole[1024];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    for (int64_t layer = 0; layer < LAYERS; layer++)
        for (int again = 0; again < 2; again++)
            stop_at(f, recipe, layer);
    trace t = go_on(f, recipe, whole);
    assert_false(t.searched[0] || t.searched[1]);
    awq_recipe_free(recipe);
}

static void a_damaged_layer_is_done_again(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *tensor;
        int layer;
    } cases[] = {{"model.layers.0.block_sparse_moe.experts.0.w1.qweight", 0},
                 {"model.layers.0.block_sparse_moe.experts.3.w2.scales", 0},
                 {"model.layers.0.block_sparse_moe.experts.1.w3.qzeros", 0},
                 {"model.layers.1.post_attention_layernorm.weight", 1},
                 {"model.layers.1.block_sparse_moe.gate.weight", 1},
                 {"model.layers.1.self_attn.o_proj.weight", 1},
                 {"model.embed_tokens.weight", -1}, /* written by each run */
                 {"model.norm.weight", -1},
                 {"model.layers.2.block_sparse_moe.gate.weight", -1}};
    char whole[1024], line[64];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stop_at(f, recipe, 2);
        flip_in(f, partial, cases[i].tensor, 0.5 * (double)(i % 3));
        trace t = go_on(f, recipe, whole);
        for (int n = 0; n < 2; n++) {
            snprintf(line, sizeof line, "layer %d: ", n);
            assert_int_equal(t.searched[n], cases[i].layer == n);
            assert_int_equal(strstr(t.warnings, line) != NULL, cases[i].layer == n);
        }
    }
    awq_recipe_free(recipe);
}

/* What a power cut or a copy with holes leaves. */
static void lost_data_is_written_again(void **state)
{
    fixture *f = *state;
    char whole[1024], path[2048];
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    snprintf(path, sizeof path, "%s/" MODEL_FILE, partial);
    for (int kind = 0; kind < 4; kind++) {
        stop_at(f, recipe, 2);
        size_t bytes;
        char *text;
        read_all(f, path, &text, &bytes);
        uint64_t length;
        memcpy(&length, text, sizeof length);
        if (kind == 0)
            memset(text + 8 + length, 0, bytes - 8 - (size_t)length);
        else if (kind == 1)
            text[20] ^= 1; /* the header */
        if (kind < 2)
            write_file(f, "out.partial/" MODEL_FILE, text, bytes);
        else if (kind == 2)
            write_file(f, "out.partial/" MODEL_FILE, text, bytes / 2);
        else
            assert_int_equal(unlink(path), 0);
        awq__free(text);
        trace t = go_on(f, recipe, whole);
        assert_true(t.searched[0] && t.searched[1] && t.searched[2]);
        assert_non_null(strstr(t.warnings, "layer 0: "));
        assert_non_null(strstr(t.warnings, "layer 1: "));
    }
    awq_recipe_free(recipe);
}

static void a_damaged_journal_is_told(void **state)
{
    fixture *f = *state;
    char whole[1024];
    size_t bytes;
    awq_recipe *recipe = begin(f);
    run_whole(f, recipe, whole);
    stop_at(f, recipe, 2);
    char *text = read_file(f, "out.partial/awq_journal.json", &bytes);
    for (size_t at = 0; at < bytes; at += 1 + bytes / 64)
        for (int bit = 0; bit < 8; bit += 7) {
            text[at] ^= (char)(1 << bit);
            write_file(f, "out.partial/awq_journal.json", text, bytes);
            assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_FORMAT);
            assert_message(f, "awq_journal.json: damaged");
            assert_message(f, "--restart");
            text[at] ^= (char)(1 << bit);
        }
    for (size_t left = 0; left < bytes; left += 1 + bytes / 8) {
        write_file(f, "out.partial/awq_journal.json", text, left);
        assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_FORMAT);
        assert_message(f, "--restart");
    }
    write_file(f, "out.partial/awq_journal.json", text, bytes);
    awq__free(text);
    go_on(f, recipe, whole);
    stop_at(f, recipe, 2);
    write_text(f, "out.partial/awq_journal.json", "{}");
    awq_quantize_options restart = {.struct_size = sizeof restart, .restart = true};
    assert_ok(f, awq_quantize(f->ctx, recipe, &restart, NULL));
    assert_same(f, whole);
    awq_recipe_free(recipe);
}

/* A result is read back for its evaluation: of what is not yet written nothing may be believed. */
static void what_is_half_written_does_not_matter(void **state)
{
    fixture *f = *state;
    static const char *const formats[][3] = {
        {"compressed-tensors", "4", ".weight_shape"},
        {"gptq", "4", ".g_idx"},
        {"bitsandbytes", "4", ".weight.quant_state.bitsandbytes__nf4"},
        {"bitsandbytes", "4", ".weight.nested_quant_map"}};
    char whole[1024], tensor[256];
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        bool nf4 = !strcmp(formats[i][0], "bitsandbytes");
        awq_recipe *recipe = begin(f);
        assert_ok(f, awq_recipe_set(recipe, "format", formats[i][0], NULL));
        if (nf4) {
            assert_ok(f, awq_recipe_set(recipe, "quantize.preset", "nf4", NULL));
            assert_ok(f, awq_recipe_set(recipe, "quantize.group_size", "64", NULL));
        }
        run_whole(f, recipe, whole);
        stop_at(f, recipe, 1);
        for (int layer = 1; layer < LAYERS; layer++) {
            snprintf(tensor, sizeof tensor, "model.layers.%d.block_sparse_moe.experts.0.w1%s",
                     layer, formats[i][2]);
            flip_in(f, partial, tensor, 0);
            flip_in(f, partial, tensor, 1);
        }
        go_on(f, recipe, whole);
        assert_ok(f, synthetic_remove(f->ctx, whole));
        assert_ok(f, synthetic_remove(f->ctx, source));
        awq_recipe_free(recipe);
    }
}

/* ---- schemes within a target ---- */

static void what_was_measured_is_kept(void **state)
{
    fixture *f = *state;
    char whole[1024];
    awq_recipe *recipe = begin(f);
    assert_ok(f, awq_recipe_set(recipe, "format", "compressed-tensors", NULL));
    assert_ok(f, awq_recipe_clear(recipe, "quantize.group_size"));
    assert_ok(f, awq_recipe_set(recipe, "quantize.target_bits", "5", NULL));
    run_whole(f, recipe, whole);
    for (int64_t layer = 0; layer < 2; layer++) {
        stop_at(f, recipe, layer);
        trace t = go_on(f, recipe, whole);
        assert_false(t.measured[0] || t.measured[1] || t.measured[2]);
    }
    awq_recipe_free(recipe);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_resume, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(files_of_the_source),
        TEST(the_recipe),
        TEST(its_rules),
        TEST(ids),
        TEST(weights_of_the_source),
        TEST(weights_under_other_names),
        TEST(versions),
        TEST(places_of_files_may_change),
        TEST(what_goes_on_is_told),
        TEST(a_run_may_be_stopped_many_times),
        TEST(a_damaged_layer_is_done_again),
        TEST(lost_data_is_written_again),
        TEST(a_damaged_journal_is_told),
        TEST(what_is_half_written_does_not_matter),
        TEST(what_was_measured_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
