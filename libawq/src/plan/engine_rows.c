/*
 * What serving engines take, as data: a row says what an engine asks of a result in some format,
 * since when or until when, and where that is written. Engines change: a new version is new rows,
 * and a row that no longer holds for the newest becomes one of level OLD with the versions that it
 * held for.
 *
 * Read: vLLM to 0.32.0, SGLang to 0.5.23, transformers 4.57 and to 5.24, llama.cpp of 2026-08-21,
 * TensorRT-LLM of 2026. Results were loaded in vLLM 0.32.0, in transformers 5.24.0 and 5.17.0, and
 * in transformers 4.51.3 with autoawq 0.2.9 and compressed-tensors 0.9.4: "run" in `source` means
 * one of these. "by reading": it rests on more than a check in plain sight, and has not been run.
 */
#include "plan/engine_table.h"

static const awq__engine_row others[] = {
    /* ---- transformers ---- */
    {.engine = "transformers",
     .formats = NOT_MXFP4,
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__ONLY,
     .constraint = AWQ__NONE_TAKEN,
     .why = "of such a model it has tensors of all experts, which it reads in MXFP4 or float alone",
     .source = "transformers models/gpt_oss, conversion_mapping.py"},
    {.engine = "transformers",
     .versions = "5",
     .formats = "awq",
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__NOT,
     .constraint = AWQ__NONE_TAKEN,
     .why = "it has tensors of all experts and replaces linears alone; transformers 4 with autoawq "
            "loads them",
     .source = "transformers #41567, by reading"},
    {.engine = "transformers",
     .versions = "5",
     .formats = "gptq",
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__NOT,
     .constraint = AWQ__NONE_TAKEN,
     .why = "it has tensors of all experts and replaces linears alone; GPTQModel's own loader "
            "takes them apart",
     .source = "transformers quantizer_gptq.py, by reading"},
    {.engine = "transformers",
     .versions = "5",
     .formats = "bitsandbytes",
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__NOT,
     .constraint = AWQ__NONE_TAKEN,
     .why = "it has tensors of all experts and replaces linears alone",
     .source = "bitsandbytes #1849"},
    {.engine = "transformers",
     .formats = "awq",
     .roles = AWQ__HEAD,
     .constraint = AWQ__NONE_TAKEN,
     .why = "it skips lm_head by itself",
     .source = "transformers quantizer_awq.py"},
    {.engine = "transformers",
     .formats = "awq|bitsandbytes",
     .roles = AWQ__ALL_ROLES,
     .constraint = AWQ__ALIKE,
     .values = {AWQ__UNIT_MODEL},
     .why = ONE_CONFIG,
     .source = "transformers AwqConfig, BitsAndBytesConfig"},
    {.engine = "transformers",
     .formats = "compressed-tensors",
     .roles = EXPERTS,
     .constraint = AWQ__SYMMETRIC_TAKEN,
     .why = "it does not collect the zero points of experts",
     .source = "transformers update_weight_conversions, #45630, #47652, run"},
    {.engine = "transformers",
     .versions = "5",
     .formats = "compressed-tensors",
     .roles = EXPERTS,
     .constraint = AWQ__ALIKE,
     .values = {AWQ__UNIT_MODEL},
     .why = "it unpacks all experts by the scheme of the first",
     .source = "transformers get_experts_scheme, run"},
    {.engine = "transformers",
     .versions = "5",
     .formats = "compressed-tensors",
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__NOT,
     .constraint = AWQ__NONE_KEPT,
     .why =
         "it collects packed experts alone and leaves others at random values, as a rule without "
         "a message",
     .source = "transformers update_weight_conversions, run"},
    {.engine = "transformers",
     .versions = "5.0 to 5.12",
     .level = AWQ__ENGINE_OLD,
     .formats = "compressed-tensors",
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__NOT,
     .constraint = AWQ__NONE_TAKEN,
     .source = "transformers #45630"},
    {.engine = "transformers",
     .level = AWQ__ENGINE_NOTE,
     .formats = "compressed-tensors",
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__NOT,
     .constraint = AWQ__NONE_TAKEN,
     .why = "unpacks experts as it loads them, so that they take as much memory as in 16 bits",
     .source = "transformers DecompressExperts, #45630"},
    {.engine = "transformers",
     .level = AWQ__ENGINE_NOTE,
     .formats = "compressed-tensors",
     .roles = EXPERTS,
     .native_mxfp4 = AWQ__NOT,
     .constraint = AWQ__MODEL_TYPES,
     .model_types = "mixtral|minimax_m2|qwen2_moe|qwen3_moe|qwen3_next|deepseek_v2|deepseek_v3|"
                    "ernie4_5_moe|glm4_moe|glm4_moe_lite|hunyuan_v1_moe|olmoe",
     .why = "it needs a rule how packed experts become its tensors of all, and these are known to "
            "have one",
     .source = "transformers conversion_mapping.py"},
    MXFP4_ROWS("transformers", "transformers models/gpt_oss, quantizer_mxfp4.py"),
    {.engine = "transformers",
     .versions = "before 4.55",
     .level = AWQ__ENGINE_OLD,
     .formats = "mxfp4",
     .roles = EXPERTS,
     .constraint = AWQ__NONE_TAKEN,
     .source = "transformers 4.55"},
    {.engine = "transformers",
     .level = AWQ__ENGINE_NOTE,
     .formats = "mxfp4",
     .roles = EXPERTS,
     .constraint = AWQ__NONE_TAKEN,
     .why = "unpacks experts to 16 bits where triton 3.4 and the package kernels are missing",
     .source = "transformers quantizer_mxfp4.py"},

    GGUF_ROW("transformers"),

    /* ---- llama.cpp ---- */
    {.engine = "llama.cpp",
     .formats = NOT_MXFP4,
     .roles = AWQ__ALL_ROLES,
     .constraint = AWQ__NONE_TAKEN,
     .why = "it reads GGUF, which format: gguf writes; its converter keeps no packed weights but "
            "the MXFP4 of GPT-OSS",
     .source = "llama.cpp convert_hf_to_gguf.py"},
    {.engine = "llama.cpp",
     .formats = "mxfp4",
     .roles = EXPERTS,
     .constraint = AWQ__MODEL_TYPES,
     .model_types = "gpt_oss",
     .source = "llama.cpp convert_hf_to_gguf.py"},
    {.engine = "llama.cpp",
     .formats = "mxfp4",
     .roles = ~EXPERTS,
     .constraint = AWQ__NONE_TAKEN,
     .why = "its converter knows the blocks of experts alone",
     .source = "llama.cpp convert_hf_to_gguf.py"},
    {.engine = "llama.cpp",
     .level = AWQ__ENGINE_NOTE,
     .formats = "mxfp4",
     .roles = EXPERTS,
     .constraint = AWQ__NONE_TAKEN,
     .why = "reads GGUF: convert_hf_to_gguf.py makes it of the result, with the same blocks",
     .source = "llama.cpp convert_hf_to_gguf.py, ggml MXFP4"},

    /* ---- TensorRT-LLM ---- */
    {.engine = "tensorrt-llm",
     .formats = NOT_MXFP4,
     .roles = EXPERTS,
     .constraint = AWQ__NONE_TAKEN,
     .why = "its kernels for routed experts take integers of 4 bits with activations of 8 alone "
            "(W4A8_AWQ)",
     .source = "tensorrt-llm MOE_DEVELOPER_GUIDE.md, fused_moe/quantization.py, by reading"},
    MXFP4_ROWS("tensorrt-llm", "tensorrt-llm MOE_DEVELOPER_GUIDE.md, by reading"),
    GGUF_ROW("tensorrt-llm"),
};

static const awq__engine_table *const tables[] = {
    &awq__engine_vllm, &awq__engine_sglang, &(const awq__engine_table)AWQ__ENGINE_TABLE(others)};
enum { TABLES = sizeof tables / sizeof *tables };

size_t awq__engine_row_count(void)
{
    size_t count = 0;
    for (size_t i = 0; i < TABLES; i++)
        count += tables[i]->count;
    return count;
}

const awq__engine_row *awq__engine_row_of(size_t index)
{
    size_t table = 0;
    for (; index >= tables[table]->count; table++)
        index -= tables[table]->count;
    return &tables[table]->rows[index];
}
