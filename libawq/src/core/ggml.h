/* Types of the tensors in GGUF files, by the numbers that those have for them. */
#ifndef AWQ__GGML_H
#define AWQ__GGML_H

#include "core/core.h"

/* symbol, number, name in recipes and messages, elements of a block, bytes of a block, dtype of
   plain elements. Numbers that are missing were withdrawn. */
#define AWQ__GGML_LIST(X)                                                                          \
    X(AWQ__GGML_F32, 0, "f32", 1, 4, AWQ_F32)                                                      \
    X(AWQ__GGML_F16, 1, "f16", 1, 2, AWQ_F16)                                                      \
    X(AWQ__GGML_Q4_0, 2, "q4_0", 32, 18, AWQ_DTYPE_COUNT)                                          \
    X(AWQ__GGML_Q4_1, 3, "q4_1", 32, 20, AWQ_DTYPE_COUNT)                                          \
    X(AWQ__GGML_Q5_0, 6, "q5_0", 32, 22, AWQ_DTYPE_COUNT)                                          \
    X(AWQ__GGML_Q5_1, 7, "q5_1", 32, 24, AWQ_DTYPE_COUNT)                                          \
    X(AWQ__GGML_Q8_0, 8, "q8_0", 32, 34, AWQ_DTYPE_COUNT)                                          \
    X(AWQ__GGML_Q8_1, 9, "q8_1", 32, 36, AWQ_DTYPE_COUNT)                                          \
    X(AWQ__GGML_Q2_K, 10, "q2_k", 256, 84, AWQ_DTYPE_COUNT)                                        \
    X(AWQ__GGML_Q3_K, 11, "q3_k", 256, 110, AWQ_DTYPE_COUNT)                                       \
    X(AWQ__GGML_Q4_K, 12, "q4_k", 256, 144, AWQ_DTYPE_COUNT)                                       \
    X(AWQ__GGML_Q5_K, 13, "q5_k", 256, 176, AWQ_DTYPE_COUNT)                                       \
    X(AWQ__GGML_Q6_K, 14, "q6_k", 256, 210, AWQ_DTYPE_COUNT)                                       \
    X(AWQ__GGML_Q8_K, 15, "q8_k", 256, 292, AWQ_DTYPE_COUNT)                                       \
    X(AWQ__GGML_IQ2_XXS, 16, "iq2_xxs", 256, 66, AWQ_DTYPE_COUNT)                                  \
    X(AWQ__GGML_IQ2_XS, 17, "iq2_xs", 256, 74, AWQ_DTYPE_COUNT)                                    \
    X(AWQ__GGML_IQ3_XXS, 18, "iq3_xxs", 256, 98, AWQ_DTYPE_COUNT)                                  \
    X(AWQ__GGML_IQ1_S, 19, "iq1_s", 256, 50, AWQ_DTYPE_COUNT)                                      \
    X(AWQ__GGML_IQ4_NL, 20, "iq4_nl", 32, 18, AWQ_DTYPE_COUNT)                                     \
    X(AWQ__GGML_IQ3_S, 21, "iq3_s", 256, 110, AWQ_DTYPE_COUNT)                                     \
    X(AWQ__GGML_IQ2_S, 22, "iq2_s", 256, 82, AWQ_DTYPE_COUNT)                                      \
    X(AWQ__GGML_IQ4_XS, 23, "iq4_xs", 256, 136, AWQ_DTYPE_COUNT)                                   \
    X(AWQ__GGML_I8, 24, "i8", 1, 1, AWQ_I8)                                                        \
    X(AWQ__GGML_I16, 25, "i16", 1, 2, AWQ_I16)                                                     \
    X(AWQ__GGML_I32, 26, "i32", 1, 4, AWQ_I32)                                                     \
    X(AWQ__GGML_I64, 27, "i64", 1, 8, AWQ_I64)                                                     \
    X(AWQ__GGML_F64, 28, "f64", 1, 8, AWQ_F64)                                                     \
    X(AWQ__GGML_IQ1_M, 29, "iq1_m", 256, 56, AWQ_DTYPE_COUNT)                                      \
    X(AWQ__GGML_BF16, 30, "bf16", 1, 2, AWQ_BF16)                                                  \
    X(AWQ__GGML_TQ1_0, 34, "tq1_0", 256, 54, AWQ_DTYPE_COUNT)                                      \
    X(AWQ__GGML_TQ2_0, 35, "tq2_0", 256, 66, AWQ_DTYPE_COUNT)                                      \
    X(AWQ__GGML_MXFP4, 39, "mxfp4", 32, 17, AWQ_DTYPE_COUNT)                                       \
    X(AWQ__GGML_NVFP4, 40, "nvfp4", 64, 36, AWQ_DTYPE_COUNT)                                       \
    X(AWQ__GGML_Q1_0, 41, "q1_0", 128, 18, AWQ_DTYPE_COUNT)                                        \
    X(AWQ__GGML_Q2_0, 42, "q2_0", 64, 18, AWQ_DTYPE_COUNT)

typedef enum awq__ggml {
#define AWQ__GGML_ENUM(symbol, number, name, block, bytes, dtype) symbol = number,
    AWQ__GGML_LIST(AWQ__GGML_ENUM)
#undef AWQ__GGML_ENUM
} awq__ggml;

typedef struct awq__ggml_type {
    awq__ggml id;
    const char *name;
    int block, block_bytes;
    awq_dtype dtype; /* AWQ_DTYPE_COUNT for blocks of several elements */
} awq__ggml_type;

/* NULL for a number or name that is none. */
const awq__ggml_type *awq__ggml_type_of(uint32_t id);
const awq__ggml_type *awq__ggml_type_by_name(const char *name);
/* The dtype and shape of what is stored: plain elements as they are, rows of whole blocks as bytes.
   False if a row has too many. */
bool awq__ggml_stored(const awq__ggml_type *type, int rank, const int64_t *shape, awq_dtype *dtype,
                      int64_t *stored);

#endif
