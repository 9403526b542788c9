/* Experts in the fused tensors of newer releases are the same model as experts by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/families.h"
#include "model/model.h"
#include "support/fp8_copy.h"

#define QWEN2 AWQ_TEST_DATA "/qwen2_moe-tiny"
#define QWEN3 AWQ_TEST_DATA "/qwen3_moe-tiny"

/* A tensor of the fused copy: a part for each expert, in the layout that tensors of one have. */
static void write_fused(const fixture *f, const awq__checkpoint *from, awq__output *to,
                        const char *const parts[], int count, int64_t layer, const char *name)
{
    char full[256];
    size_t at = 0;
    snprintf(full, sizeof full, "model.layers.%d.mlp.experts.%s", (int)layer, name);
    for (int64_t e = 0; e < 8; e++)
        for (int i = 0; i < count; i++) {
            char part[256];
            snprintf(part, sizeof part, "model.layers.%d.mlp.experts.%d.%s.weight", (int)layer,
                     (int)e, parts[i]);
            const awq__tensor *tensor = awq__checkpoint_find(from, part);
            assert_ok(f, awq__output_write_from(to, full, at, tensor, 0, tensor->bytes));
            at += tensor->bytes;
        }
}

/* The model with gate_up_proj [E,2I,H] and down_proj [E,H,I] in place of one tensor a matrix. */
static void fuse(const fixture *f, const char *model, const char *directory)
{
    static const char *const gate_up[] = {"gate_proj", "up_proj"}, *const down[] = {"down_proj"};
    const int64_t gate_up_shape[] = {8, 256, 128}, down_shape[] = {8, 128, 128};
    awq__checkpoint *from;
    awq__output *to;
    char path[1024];
    assert_ok(f, awq__checkpoint_open(f->ctx, model, &from));
    assert_ok(f, awq__output_begin(f->ctx, directory, false, &to));
    for (size_t i = 0; i < awq__checkpoint_count(from); i++) {
        const awq__tensor *t = awq__checkpoint_at(from, i);
        if (!strstr(t->name, ".experts."))
            assert_ok(f, awq__output_declare(to, t->name, t->dtype, t->rank, t->shape));
    }
    for (int layer = 0; layer < 2; layer++) {
        snprintf(path, sizeof path, "model.layers.%d.mlp.experts.gate_up_proj", layer);
        assert_ok(f, awq__output_declare(to, path, AWQ_BF16, 3, gate_up_shape));
        snprintf(path, sizeof path, "model.layers.%d.mlp.experts.down_proj", layer);
        assert_ok(f, awq__output_declare(to, path, AWQ_BF16, 3, down_shape));
    }
    assert_ok(f, awq__output_layout(to, 1 << 30));
    for (size_t i = 0; i < awq__checkpoint_count(from); i++) {
        const awq__tensor *t = awq__checkpoint_at(from, i);
        if (!strstr(t->name, ".experts."))
            assert_ok(f, awq__output_write_from(to, t->name, 0, t, 0, t->bytes));
    }
    for (int layer = 0; layer < 2; layer++) {
        write_fused(f, from, to, gate_up, 2, layer, "gate_up_proj");
        write_fused(f, from, to, down, 1, layer, "down_proj");
    }
    static const char *const files[] = {"config.json", "tokenizer.json", "calib.jsonl", "eval.txt"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", model, files[i]);
        assert_ok(f, awq__output_copy(to, path));
    }
    assert_ok(f, awq__output_commit(to));
    awq__output_free(to);
    awq__checkpoint_free(from);
}

static void fused_experts_are_the_same_model(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *model, *options[3];
    } cases[] = {{QWEN3, {NULL}}, {QWEN2, {"quantize.modules", "*", NULL}}};
    char fused[1024], separate[1024];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(fused, sizeof fused, "%s/fused-%zu", f->directory, i);
        fuse(f, cases[i].model, fused);
        snprintf(output, sizeof output, "%s/separate-%zu", f->directory, i);
        snprintf(separate, sizeof separate, "%s", output);
        run_short(f, cases[i].model, cases[i].options, false);
        snprintf(output, sizeof output, "%s/from-fused-%zu", f->directory, i);
        run_short(f, fused, cases[i].options, false);
        assert_same_file(f, separate, output, "model.safetensors");
        assert_same_file(f, separate, output, "config.json");
    }
}

/* Experts that stay float stay fused, changed where the shared expert's scales ask for it. */
static void fused_experts_that_are_kept(void **state)
{
    fixture *f = *state;
    char fused[1024], separate[1024];
    const char *options[] = {"quantize.modules", "*.shared_expert.*", NULL};
    snprintf(fused, sizeof fused, "%s/fused", f->directory);
    fuse(f, QWEN2, fused);
    snprintf(separate, sizeof separate, "%s", output);
    awq_eval_result expected = run_short(f, QWEN2, options, false);
    snprintf(output, sizeof output, "%s/kept", f->directory);
    awq_eval_result found = run_short(f, fused, options, false);
    assert_true(found.kl == expected.kl && found.perplexity == expected.perplexity);
    awq_model *model;
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &model));
    assert_non_null(
        awq__checkpoint_find(model->arch->checkpoint, "model.layers.1.mlp.experts.gate_up_proj"));
    awq_model_free(model);
}

/* Grids of scales go over gate and up alike, and their blocks need not end between the two. */
static void fused_experts_in_fp8(void **state)
{
    const fixture *f = *state;
    /* A format in which nothing stays FP8. */
    static const char *const quantized[] = {"format", "awq", NULL};
    static const char *const kept[] = {"quantize.modules", "*.shared_expert.*", NULL};
    static const fp8_copy copies[] = {
        {FP8_OF_BLOCKS, 48, 80, AWQ_F32, .compressed = false},
        {FP8_OF_ROWS, .scale_dtype = AWQ_BF16, .compressed = false},
        {FP8_OF_WHOLE, .scale_dtype = AWQ_BF16, .compressed = false},
    };
    char fused[1024], fp8[1024], twin[1024], from_twin[1024];
    snprintf(fused, sizeof fused, "%s/fused", f->directory);
    fuse(f, QWEN2, fused);
    for (size_t i = 0; i < COUNT(copies); i++) {
        snprintf(fp8, sizeof fp8, "%s/fp8-%zu", f->directory, i);
        snprintf(twin, sizeof twin, "%s/twin-%zu", f->directory, i);
        assert_ok(f, fp8_copy_write(f->ctx, fused, fp8, twin, &copies[i]));
        snprintf(output, sizeof output, "%s/from-twin", f->directory);
        snprintf(from_twin, sizeof from_twin, "%s", output);
        run_short(f, twin, quantized, true);
        awq_eval_result expected = i ? (awq_eval_result){0} : run_short(f, twin, kept, true);
        if (!i)
            run_short(f, twin, quantized, true);
        snprintf(output, sizeof output, "%s/from-fp8", f->directory);
        run_short(f, fp8, quantized, true);
        assert_same_file(f, from_twin, output, "model.safetensors");
        assert_same_file(f, from_twin, output, "config.json");
        awq_eval_result found = i ? expected : run_short(f, fp8, kept, true);
        assert_true(found.kl == expected.kl && found.perplexity == expected.perplexity);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY_TEST(fused_experts_are_the_same_model),
        FAMILY_TEST(fused_experts_that_are_kept),
        FAMILY_TEST(fused_experts_in_fp8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
