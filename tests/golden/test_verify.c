/* Whether a result is as it was written, and made of its source. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/json.h"
#include "damage.h"
#include "runs.h"
#include "support/synthetic.h"

#define TINY AWQ_TEST_DATA "/mixtral-tiny"
#define EXPERT "model.layers.1.block_sparse_moe.experts."

static void quantize(const fixture *f, const char *model, const char *const *options)
{
    char calibration[1100];
    const char *few[] = {"calibration.data",
                         calibration,
                         "calibration.samples",
                         "4",
                         "calibration.sequence_length",
                         "128",
                         "quantize.ratio_steps",
                         "4",
                         NULL};
    snprintf(calibration, sizeof calibration, "%s/calib.jsonl", model);
    awq_recipe *recipe = recipe_of(f, model, few);
    for (; *options; options += 2)
        assert_ok(f, awq_recipe_set(recipe, options[0], options[1], NULL));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
}

static awq_verification *verify(const fixture *f, const char *source)
{
    const awq_verify_options options = {
        .struct_size = sizeof options, .directory = output, .source = source};
    awq_verification *verification;
    assert_ok(f, awq_verify(f->ctx, &options, &verification));
    return verification;
}

static awq_verify_result assert_whole(const fixture *f, const char *source)
{
    awq_verification *verification = verify(f, source);
    awq_verify_result result = {.struct_size = sizeof result};
    awq_verification_describe(verification, &result);
    if (result.problems)
        fail_msg("%s", awq_verification_problem_at(verification, 0));
    assert_int_equal(awq_verification_problem_count(verification), 0);
    assert_int_equal(awq_verification_note_count(verification), 0);
    assert_null(awq_verification_problem_at(verification, 0));
    awq_verification_free(verification);
    return result;
}

/* Some problem must name both parts. */
static void assert_told(const fixture *f, const char *source, const char *a, const char *b)
{
    awq_verification *verification = verify(f, source);
    bool told = false;
    for (size_t i = 0; i < awq_verification_problem_count(verification); i++) {
        const char *problem = awq_verification_problem_at(verification, i);
        told |= strstr(problem, a) && strstr(problem, b);
    }
    if (!told)
        fail_msg("%zu problems, and none names \"%s\" and \"%s\"",
                 awq_verification_problem_count(verification), a, b);
    awq_verification_free(verification);
}

/* As who has tampered with a file would, and knows of the checksums. */
static void renew_sums(fixture *f)
{
    awq__sums sums;
    awq__text text = {0};
    assert_ok(f, awq__sums_list(f->ctx, output, NULL, &sums));
    assert_ok(f, awq__sums_compute(f->ctx, output, &sums, NULL));
    for (size_t i = 0; i < sums.count; i++)
        assert_ok(f,
                  awq__text_append(f->ctx, &text, "%s  %s\n", sums.list[i].hex, sums.list[i].name));
    write_file(f, "out/SHA256SUMS", text.data, text.length);
    awq__text_free(&text);
    awq__sums_free(&sums);
}

/* ---- whole results ---- */

static void results_of_every_format_are_whole(void **state)
{
    fixture *f = *state;
    static const char *const cases[][11] = {
        {"mixtral-tiny", NULL},
        {"mixtral-tiny", "quantize.modules", "*", "format", "compressed-tensors", NULL},
        {"mixtral-tiny", "format", "gptq", "quantize.rounding", "gptq", NULL},
        {"mixtral-tiny", "format", "gptq", "quantize.rounding", "gptq", "quantize.bits", "2", NULL},
        {"mixtral-tiny", "format", "bitsandbytes", "quantize.preset", "nf4", NULL},
        {"mixtral-tiny", "format", "bitsandbytes", "quantize.preset", "int8", NULL},
        {"mixtral-tiny", "quantize.method", "rtn", NULL},
        {"mixtral-tiny", "shard_size", "1MB", NULL},
        {"qwen2_moe-tiny", "quantize.modules", "*", NULL},
        {"qwen3_moe-tiny", NULL},
        {"gpt_oss-tiny", NULL},
        {"gpt_oss-tiny", "quantize.modules", "*", "format", "compressed-tensors", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char model[1100];
        snprintf(model, sizeof model, AWQ_TEST_DATA "/%s", cases[i][0]);
        quantize(f, model, cases[i] + 1);
        awq_verify_result result = assert_whole(f, model);
        assert_true(result.files >= 7 && result.rounded == result.quantized);
        assert_int_equal(result.copied + result.rescaled + result.rounded, result.modules);
        if (i == 6)
            assert_int_equal(result.rescaled, 0);
        assert_ok(f, synthetic_remove(f->ctx, output));
    }
}

/* ---- files ---- */

static void files_are_named(void **state)
{
    fixture *f = *state;
    const char *none[] = {NULL};
    quantize(f, TINY, none);
    static const char *const names[] = {
        MODEL_FILE,        "config.json",         "tokenizer.json", "generation_config.json",
        "awq_report.json", "awq_provenance.json", "README.md"};
    char path[1100], aside[1100];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", output, names[i]);
        snprintf(aside, sizeof aside, "%s/aside", f->directory);
        flip(path, 40);
        assert_told(f, NULL, names[i], "changed: SHA-256 is ");
        flip(path, 40);
        assert_int_equal(rename(path, aside), 0);
        assert_told(f, NULL, names[i], "missing");
        assert_int_equal(rename(aside, path), 0);
    }
    write_text(f, "out/model-2.safetensors", "x");
    assert_told(f, NULL, "model-2.safetensors", "additional");
    assert_int_equal(unlink(path_of(f, "out/model-2.safetensors")), 0);
    assert_whole(f, NULL);
    write_text(f, "out/READ\033[2JME.md", "mine");
    awq_verification *verification = verify(f, NULL);
    assert_int_equal(awq_verification_problem_count(verification), 0);
    assert_non_null(strstr(awq_verification_note_at(verification, 0), "READ?[2JME.md: additional"));
    awq_verification_free(verification);
}

static void sums_in_another_form_are_told(void **state)
{
    fixture *f = *state;
    const char *none[] = {NULL};
    quantize(f, TINY, none);
    size_t bytes;
    char *text = read_file(f, "out/SHA256SUMS", &bytes), *changed = malloc(2 * bytes + 200);
    assert_non_null(changed);
    static const char *const wrong[] = {
        "x",
        "\n",
        "00  config.json\n",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  ../config.json\n",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  /etc/passwd\n",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  \n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(changed, 2 * bytes + 200, "%s%s", text, wrong[i]);
        write_text(f, "out/SHA256SUMS", changed);
        assert_told(f, NULL, "SHA256SUMS", "is no checksum of a file here");
    }
    snprintf(changed, 2 * bytes + 200,
             "%sba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\033[2J\xff\n",
             text);
    write_text(f, "out/SHA256SUMS", changed);
    assert_told(f, NULL, "a?[2J?", "missing");
    snprintf(changed, 2 * bytes + 200, "%s%s", text, text);
    write_text(f, "out/SHA256SUMS", changed);
    assert_told(f, NULL, "SHA256SUMS", "twice");
    assert_int_equal(unlink(path_of(f, "out/SHA256SUMS")), 0);
    assert_told(f, NULL, "SHA256SUMS", "No such file");
    /* A star before a name says that it was read as binary. */
    for (char *line = text; *line; line = strchr(line, '\n') + 1)
        line[65] = '*';
    write_file(f, "out/SHA256SUMS", text, bytes);
    assert_whole(f, TINY);
    awq__free(text);
    free(changed);
}

/* ---- tensors, with sums that fit ---- */

static void wrong_values_are_told(void **state)
{
    fixture *f = *state;
    /* A code is off by one where its multiplier is known, else by four: a value at the border of
       two codes may be either. */
    static const struct {
        const char *tensor, *module;
        uint8_t bits;
    } cases[] = {
        {EXPERT "0.w1.qweight", EXPERT "0.w1", 0x10},
        {EXPERT "1.w3.qweight", EXPERT "1.w3", 0x40},
        {EXPERT "2.w2.qweight", EXPERT "2.w2", 0x40},
        {EXPERT "3.w1.qzeros", EXPERT "3.w1", 0x10},
        {EXPERT "0.w1.scales", EXPERT "0.w1", 0x10},
        {EXPERT "1.w2.scales", EXPERT "1.w2", 0x10},
        {"model.layers.1.block_sparse_moe.gate.weight", "block_sparse_moe.gate", 0x10},
        {"model.layers.0.self_attn.q_proj.weight", "self_attn.q_proj", 0x10},
        {"model.layers.0.input_layernorm.weight", "model.layers.0", 0x10},
        {"model.layers.1.post_attention_layernorm.weight", "model.layers.1", 0x10},
        {"model.embed_tokens.weight", "model.embed_tokens", 0x10},
        {"model.norm.weight", "model.norm", 0x10},
        {"lm_head.weight", "lm_head", 0x10},
    };
    const char *none[] = {NULL};
    quantize(f, TINY, none);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int where = 0; where < 3; where++) {
            flip_bits_in(f, output, cases[i].tensor, where / 2.0, cases[i].bits);
            renew_sums(f);
            assert_told(f, TINY, "out: ", cases[i].module);
            flip_bits_in(f, output, cases[i].tensor, where / 2.0, cases[i].bits);
        }
    renew_sums(f);
    assert_whole(f, TINY);
}

static void wrong_biases_are_told(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *model, *tensor, *module;
        const char *options[5];
    } cases[] = {
        {"gpt_oss-tiny", "model.layers.1.mlp.experts.gate_up_proj_bias", "mlp.experts.", {NULL}},
        {"gpt_oss-tiny", "model.layers.0.self_attn.k_proj.bias", "self_attn.k_proj", {NULL}},
        {"qwen2_moe-tiny",
         "model.layers.0.self_attn.q_proj.bias",
         "self_attn.q_proj",
         {"quantize.modules", "*", "quantize.rounding", "gptq", NULL}},
        {"qwen2_moe-tiny",
         "model.layers.1.self_attn.v_proj.bias",
         "self_attn.v_proj",
         {"quantize.modules", "*", NULL}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char model[1100];
        snprintf(model, sizeof model, AWQ_TEST_DATA "/%s", cases[i].model);
        quantize(f, model, cases[i].options);
        assert_whole(f, model);
        flip_bits_in(f, output, cases[i].tensor, 0.5, 0x80);
        renew_sums(f);
        assert_told(f, model, "the bias of ", cases[i].module);
        assert_ok(f, synthetic_remove(f->ctx, output));
    }
}

/* Exchanges the data of two tensors. */
static void swap(const fixture *f, const char *a, const char *b)
{
    char path[2048], *text, *copy;
    size_t size, from, to, bytes, same;
    snprintf(path, sizeof path, "%s/" MODEL_FILE, output);
    read_all(f, path, &text, &size);
    place_of(f, path, a, &from, &bytes);
    place_of(f, path, b, &to, &same);
    assert_int_equal(bytes, same);
    copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, text + from, bytes);
    memcpy(text + from, text + to, bytes);
    memcpy(text + to, copy, bytes);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    awq__free(text);
    free(copy);
}

static void swapped_tensors_are_told(void **state)
{
    fixture *f = *state;
    static const char *const parts[] = {"qweight", "qzeros", "scales"};
    static const char *const roundings[] = {"nearest", "gptq"};
    for (size_t r = 0; r < 2; r++) {
        const char *options[] = {"format", "gptq", "quantize.rounding", roundings[r], NULL};
        quantize(f, TINY, options);
        for (size_t i = 0; i < 3; i++) {
            char a[128], b[128];
            snprintf(a, sizeof a, EXPERT "0.w1.%s", parts[i]);
            snprintf(b, sizeof b, EXPERT "2.w1.%s", parts[i]);
            swap(f, a, b);
        }
        renew_sums(f);
        assert_whole(f, NULL);
        assert_told(f, TINY, "out: ", EXPERT "0.w1");
        assert_told(f, TINY, "out: ", EXPERT "2.w1");
        assert_ok(f, synthetic_remove(f->ctx, output));
    }
}

static void missing_tensors_are_told(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"experts.2.w1.qweight", "experts.0.w3.scales",
                                        "input_layernorm.weight"};
    const char *none[] = {NULL};
    char path[1100];
    snprintf(path, sizeof path, "%s/" MODEL_FILE, output);
    quantize(f, TINY, none);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text, module[64];
        size_t bytes;
        read_all(f, path, &text, &bytes);
        for (size_t at = 0; at < bytes; at++)
            if (!memcmp(text + at, names[i], strlen(names[i]))) {
                text[at + strlen(names[i]) - 1] = 'z';
                break;
            }
        snprintf(module, sizeof module, "%.*s", (int)(strrchr(names[i], '.') - names[i]), names[i]);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, bytes, file), bytes);
        assert_int_equal(fclose(file), 0);
        awq__free(text);
        renew_sums(f);
        assert_told(f, NULL, "out", module);
    }
}

static void another_source_is_told(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *tensor, *what;
    } cases[] = {{"model.embed_tokens.weight", "embedding, head or last norm is not what"},
                 {"model.layers.0.self_attn.v_proj.weight", "layer 0 is not what"},
                 {EXPERT "3.w2.weight", "layer 1 is not what"}};
    const char *none[] = {NULL};
    char source[1100], path[1100];
    snprintf(source, sizeof source, "%s/source", f->directory);
    make_directory(f, "source");
    static const char *const files[] = {MODEL_FILE, "config.json"};
    for (size_t i = 0; i < 2; i++) {
        char *text;
        size_t bytes;
        snprintf(path, sizeof path, TINY "/%s", files[i]);
        read_all(f, path, &text, &bytes);
        snprintf(path, sizeof path, "source/%s", files[i]);
        write_file(f, path, text, bytes);
        awq__free(text);
    }
    quantize(f, TINY, none);
    assert_whole(f, source);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flip_in(f, source, cases[i].tensor, 0.3);
        assert_told(f, source, "source: ", cases[i].what);
        flip_in(f, source, cases[i].tensor, 0.3);
    }
    assert_told(f, AWQ_TEST_DATA "/qwen3_moe-tiny", "qwen3_moe-tiny", "not the same model");
}

static void what_cannot_be_looked_at_is_an_error(void **state)
{
    fixture *f = *state;
    awq_verification *verification;
    awq_verify_options options = {.struct_size = sizeof options, .directory = "nowhere"};
    assert_int_equal(awq_verify(f->ctx, &options, &verification), AWQ_ERROR_IO);
    assert_message(f, "nowhere: ");
    assert_null(verification);
    const char *none[] = {NULL};
    quantize(f, TINY, none);
    options.directory = output;
    options.source = "nowhere";
    assert_int_equal(awq_verify(f->ctx, &options, &verification), AWQ_ERROR_IO);
    assert_message(f, "nowhere/config.json: ");
    awq_verification_free(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(results_of_every_format_are_whole),
        TEST(files_are_named),
        TEST(sums_in_another_form_are_told),
        TEST(wrong_values_are_told),
        TEST(wrong_biases_are_told),
        TEST(swapped_tensors_are_told),
        TEST(missing_tensors_are_told),
        TEST(another_source_is_told),
        TEST(what_cannot_be_looked_at_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
