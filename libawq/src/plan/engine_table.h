/* What the files with the rows of engines share. */
#ifndef AWQ__ENGINE_TABLE_H
#define AWQ__ENGINE_TABLE_H

#include "plan/engine_rows.h"

typedef struct awq__engine_table {
    const awq__engine_row *rows;
    size_t count;
} awq__engine_table;
#define AWQ__ENGINE_TABLE(rows)                                                                    \
    {                                                                                              \
        rows, sizeof(rows) / sizeof *(rows)                                                        \
    }

extern const awq__engine_table awq__engine_vllm;
extern const awq__engine_table awq__engine_sglang;

/* ---- words of rows ---- */

#define EXPERTS AWQ__EXPERTS
#define LINEARS AWQ__OTHER_LINEARS
#define PACKED "awq|compressed-tensors|gptq"
#define NOT_MXFP4 PACKED "|bitsandbytes"
#define MARLIN_GROUPS                                                                              \
    {                                                                                              \
        -1, 32, 64, 128                                                                            \
    }
#define GROUPS_ALONE                                                                               \
    {                                                                                              \
        32, 64, 128                                                                                \
    }
#define INTEGER AWQ__CODE_INTEGER

#define ONE_PARAMETER "they are slices of one parameter"
#define ONE_KERNEL "one kernel computes all of them"
#define ONE_CONFIG "its config.json has room for one scheme"
#define WHOLE_GROUPS "a device gets whole groups"
#define MARLIN "the Marlin kernels take no others"
#define WITHOUT_DYNAMIC "MoeWNA16 does not look at the rules of layers (`dynamic`)"
#define LINEAR_RULES "it follows the rules of layers (`dynamic`) for linears alone"
#define SLOWER "others run the slower MoeWNA16 kernels"

/* Engines that do not read GGUF. */
#define GGUF_ROW(name)                                                                             \
    {                                                                                              \
        .engine = name, .formats = "gguf", .roles = AWQ__ALL_ROLES, .constraint = AWQ__NONE_TAKEN, \
        .why = "GGUF is for llama.cpp and what is built on it", .source = "by reading"             \
    }
/* GPT-OSS's own layout, in engines that read it as it is. */
#define MXFP4_ROWS(name, where)                                                                    \
    {.engine = name,                                                                               \
     .formats = "mxfp4",                                                                           \
     .roles = EXPERTS,                                                                             \
     .constraint = AWQ__MODEL_TYPES,                                                               \
     .model_types = "gpt_oss",                                                                     \
     .source = where},                                                                             \
        {.engine = name,                                                                           \
         .formats = "mxfp4",                                                                       \
         .roles = ~EXPERTS,                                                                        \
         .constraint = AWQ__NONE_TAKEN,                                                            \
         .why = "beside the experts all weights are read as they are",                             \
         .source = where},                                                                         \
        {.engine = name,                                                                           \
         .formats = "mxfp4",                                                                       \
         .roles = EXPERTS,                                                                         \
         .constraint = AWQ__CODES_TAKEN,                                                           \
         .values = {AWQ__CODE_E2M1, 4},                                                            \
         .source = where},                                                                         \
        {.engine = name,                                                                           \
         .formats = "mxfp4",                                                                       \
         .roles = EXPERTS,                                                                         \
         .constraint = AWQ__GROUPS_TAKEN,                                                          \
         .values = {32},                                                                           \
         .source = where},                                                                         \
    {                                                                                              \
        .engine = name, .formats = "mxfp4", .roles = EXPERTS, .constraint = AWQ__ALIKE,            \
        .values = {AWQ__UNIT_MODEL, 1},                                                            \
        .why = "its tensors are those of all experts of a layer, in every layer", .source = where  \
    }

#endif
