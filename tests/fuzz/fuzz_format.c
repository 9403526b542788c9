/*
 * A small quantized checkpoint: config.json, then a list of tensors (tensors.c) that are added to
 * those of a plain model, or stand in their place. Its layer is read: what is read without an error
 * has no NaN and no infinity. Then it is evaluated.
 */
#include "fuzz.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

#define BLOCK "model.layers.0."
#define EXPERT(n) BLOCK "block_sparse_moe.experts." n "."

/* One layer of Mixtral: H 64, two heads of 8, two experts, I 32, eight ids. */
static const char mixtral[] =
    "model.embed_tokens.weight BF16 8x64 803f003f003e80bf\n"
    "lm_head.weight BF16 8x64 003f80bf\n"
    "model.norm.weight BF16 64 803f\n" BLOCK "input_layernorm.weight BF16 64 803f\n" BLOCK
    "post_attention_layernorm.weight BF16 64 803f\n" BLOCK
    "self_attn.q_proj.weight BF16 16x64 003d\n" BLOCK
    "self_attn.k_proj.weight BF16 8x64 003d00bd803d\n" BLOCK
    "self_attn.v_proj.weight BF16 8x64 003d\n" BLOCK
    "self_attn.o_proj.weight BF16 64x16 003d\n" BLOCK
    "block_sparse_moe.gate.weight BF16 2x64 003d80bd003c\n" EXPERT(
        "0") "w1.weight BF16 32x64 003d\n" EXPERT("0") "w2.weight BF16 64x32 "
                                                       "003d\n" EXPERT(
                                                           "0") "w3.weight "
                                                                "BF16 32x64 "
                                                                "003d"
                                                                "\n" EXPERT(
                                                                    "1") "w1.weight BF16 "
                                                                         "32x64 "
                                                                         "003d\n" EXPERT(
                                                                             "1") "w2.weight BF16 "
                                                                                  "64x32 "
                                                                                  "003d\n" EXPERT(
                                                                                      "1") "w3."
                                                                                           "weight "
                                                                                           "BF16 "
                                                                                           "32x64 "
                                                                                           "003d\n";

/* The same sizes of GPT-OSS, with experts in MXFP4. */
static const char gpt_oss[] =
    "model.embed_tokens.weight BF16 8x64 803f003f003e80bf\n"
    "lm_head.weight BF16 8x64 003f80bf\n"
    "model.norm.weight BF16 64 803f\n" BLOCK "input_layernorm.weight BF16 64 803f\n" BLOCK
    "post_attention_layernorm.weight BF16 64 803f\n" BLOCK
    "self_attn.q_proj.weight BF16 16x64 003d\n" BLOCK
    "self_attn.k_proj.weight BF16 8x64 003d00bd803d\n" BLOCK
    "self_attn.v_proj.weight BF16 8x64 003d\n" BLOCK
    "self_attn.o_proj.weight BF16 64x16 003d\n" BLOCK "self_attn.q_proj.bias BF16 16 003d\n" BLOCK
    "self_attn.k_proj.bias BF16 8 003d\n" BLOCK "self_attn.v_proj.bias BF16 8 003d\n" BLOCK
    "self_attn.o_proj.bias BF16 64 003d\n" BLOCK "self_attn.sinks BF16 2\n" BLOCK
    "mlp.router.weight BF16 2x64 003d80bd003c\n" BLOCK "mlp.router.bias BF16 2 003d\n" BLOCK
    "mlp.experts.gate_up_proj_blocks U8 2x64x2x16 10325476\n" BLOCK
    "mlp.experts.gate_up_proj_scales U8 2x64x2 7b\n" BLOCK
    "mlp.experts.gate_up_proj_bias BF16 2x64 003d\n" BLOCK
    "mlp.experts.down_proj_blocks U8 2x64x1x16 98badcfe\n" BLOCK
    "mlp.experts.down_proj_scales U8 2x64x1 7a\n" BLOCK
    "mlp.experts.down_proj_bias BF16 2x64 003d\n";

static void check_weight(const awq__weight *weight)
{
    if (!weight->rows)
        return;
    float *row = malloc((size_t)weight->cols * sizeof *row);
    MUST(row);
    for (int64_t n = 0; n < weight->rows; n++) {
        awq__weight_read(awq__compute_of(fuzz_context()), weight, n, 1, row);
        for (int64_t k = 0; k < weight->cols; k++)
            MUST(isfinite(row[k]));
    }
    for (int64_t n = 0; weight->bias && n < weight->rows; n++)
        MUST(isfinite(weight->bias[n]));
    free(row);
}

static awq_status read_layer(const awq_model *model, int64_t n)
{
    awq__loaded_layer loaded;
    awq_status status = awq__model_layer(model, n, &loaded);
    fuzz_judge(status);
    if (status == AWQ_OK) {
        const awq__layer *layer = &loaded.layer;
        const awq__weight *const weights[] = {&layer->attention.q, &layer->attention.k,
                                              &layer->attention.v, &layer->attention.o,
                                              &layer->moe.router,  &layer->moe.token_gate};
        for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
            check_weight(weights[i]);
        for (int64_t e = 0; e < layer->moe.expert_count; e++) {
            check_weight(&layer->moe.experts[e].gate);
            check_weight(&layer->moe.experts[e].up);
            check_weight(&layer->moe.experts[e].down);
        }
    }
    awq__loaded_layer_free(&loaded);
    return status;
}

static awq_status read_end(const awq_model *model, awq__part part)
{
    awq__loaded_module loaded;
    awq_status status = awq__model_end(model, part, &loaded);
    fuzz_judge(status);
    if (status == AWQ_OK)
        check_weight(&loaded.found.weight);
    awq__loaded_module_free(&loaded);
    return status;
}

static awq_status evaluate(void)
{
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = fuzz_path(""),
                                .ids = fuzz_path("ids.safetensors")};
    awq_eval_result result;
    awq_status status = awq_evaluate(fuzz_context(), &options, &result);
    fuzz_judge_public(status);
    MUST(status != AWQ_OK || (isfinite(result.perplexity) && result.perplexity > 0));
    return status;
}

static awq_status open_and_read(void)
{
    awq_model *model;
    awq_status status = awq_model_open(fuzz_context(), fuzz_path(""), NULL, &model);
    fuzz_judge_public(status);
    MUST((status == AWQ_OK) == (model != NULL));
    if (!model)
        return status;
    awq_model_info info;
    fuzz_check_model(model);
    awq_model_describe(model, &info);
    for (int64_t n = 0; n < info.layer_count && status == AWQ_OK && !info.described; n++)
        status = read_layer(model, n);
    if (status == AWQ_OK && !info.described)
        status = read_end(model, AWQ__PART_EMBEDDING);
    if (status == AWQ_OK && !info.described)
        status = read_end(model, AWQ__PART_HEAD);
    awq_model_free(model);
    return status == AWQ_OK && !info.described ? evaluate() : status;
}

static void begin(void)
{
    fuzz_add_plugins();
    fuzz_write_tensors("ids.safetensors", "", "input_ids I32 1x6 010000000700000003000000");
    fuzz_write_tensors("model.safetensors", mixtral, "");
    fuzz_write("config.json", fuzz_good_config, strlen(fuzz_good_config));
    MUST(open_and_read() == AWQ_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;
    fuzz_part parts[2];
    if (!begun)
        begin();
    begun = true;
    fuzz_split(data, size, parts, 2);
    if (!fuzz_is_large(&parts[0])) {
        char *config = fuzz_string(&parts[0]), *list = fuzz_string(&parts[1]);
        fuzz_write_part("config.json", &parts[0]);
        fuzz_write_tensors("model.safetensors", strstr(config, "gpt_oss") ? gpt_oss : mixtral,
                           list);
        open_and_read();
        free(config);
        free(list);
    }
    fuzz_free(parts, 2);
    return 0;
}
