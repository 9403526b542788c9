/*
 * GGUF, the container of llama.cpp: typed key values, then tensors, in one file or several parts.
 * Version 3, little-endian; version 2 has the same layout and is read too.
 */
#ifndef AWQ__GGUF_H
#define AWQ__GGUF_H

#include "checkpoint/checkpoint.h"
#include "core/ggml.h"

#define AWQ__GGUF_MAX_RANK 4
#define AWQ__GGUF_NAME_BYTES 64 /* of a tensor's name, with a NUL */
#define AWQ__GGUF_ALIGNMENT 32  /* where no key says another */
#define AWQ__GGUF_ARCHITECTURE "general.architecture"

/* Types of values, by the numbers that files have for them. */
typedef enum awq__gguf_kind {
    AWQ__GGUF_U8,
    AWQ__GGUF_I8,
    AWQ__GGUF_U16,
    AWQ__GGUF_I16,
    AWQ__GGUF_U32,
    AWQ__GGUF_I32,
    AWQ__GGUF_F32,
    AWQ__GGUF_BOOL,
    AWQ__GGUF_STRING,
    AWQ__GGUF_ARRAY,
    AWQ__GGUF_U64,
    AWQ__GGUF_I64,
    AWQ__GGUF_F64,
    AWQ__GGUF_KINDS
} awq__gguf_kind;

/* ---- gguf.c, gguf_header.c, gguf_tensors.c: reading ---- */

typedef struct awq__gguf awq__gguf;

/* A text in the file; it has no NUL behind it, and may be no UTF-8. */
typedef struct awq__gguf_string {
    const char *data;
    size_t bytes;
} awq__gguf_string;

typedef struct awq__gguf_value {
    const char *key;
    bool is_array;
    awq__gguf_kind kind; /* of an array: of its elements, none of which is an array */
    uint64_t count;      /* of elements; 1 for a single value */
    const uint8_t *data; /* as it is stored: strings with their lengths in front */
    size_t bytes;
    uint64_t offset, key_offset; /* of the data and the key, from the beginning of the file */
    const char *file;            /* path, for messages */
} awq__gguf_value;

/* A tensor with its rows last, as other checkpoints have it: [N,K], or [E,N,K]. `stored` has the
   same shape; of a type that comes in blocks it has the bytes of a row in the place of K, as U8. */
typedef struct awq__gguf_tensor {
    awq__tensor stored;
    const awq__ggml_type *type;
    int rank;
    int64_t shape[AWQ__GGUF_MAX_RANK];
    uint64_t info; /* where the file describes it, for messages */
} awq__gguf_tensor;

/*
 * Reads and checks all that stands before the tensors: values of known types, no key or tensor
 * twice, tensors one behind the other without a hole or overlap, all within the file. What is wrong
 * is AWQ_ERROR_FORMAT, with the file and the byte. Of a model in parts, path names the first; the
 * others are found beside it.
 */
awq_status awq__gguf_open(awq_context *ctx, const char *path, awq__gguf **out);
void awq__gguf_free(awq__gguf *gguf);
const char *awq__gguf_path(const awq__gguf *gguf);
/* The values of the first part, sorted by key. */
size_t awq__gguf_value_count(const awq__gguf *gguf);
const awq__gguf_value *awq__gguf_value_at(const awq__gguf *gguf, size_t index);
/* NULL if absent. */
const awq__gguf_value *awq__gguf_find(const awq__gguf *gguf, const char *key);
/* The tensors of all parts, sorted by name. */
size_t awq__gguf_count(const awq__gguf *gguf);
const awq__gguf_tensor *awq__gguf_at(const awq__gguf *gguf, size_t index);
const awq__gguf_tensor *awq__gguf_find_tensor(const awq__gguf *gguf, const char *name);

/* ---- gguf_value.c: values as numbers and texts ---- */

/* Element `index` of a value, which must have as many. AWQ_ERROR_FORMAT, naming file, byte and key,
   if it is of another kind, or no int64. */
awq_status awq__gguf_integer(awq_context *ctx, const awq__gguf_value *value, uint64_t index,
                             int64_t *out);
awq_status awq__gguf_number(awq_context *ctx, const awq__gguf_value *value, uint64_t index,
                            double *out);
awq_status awq__gguf_text(awq_context *ctx, const awq__gguf_value *value, awq__gguf_string *out);
/* The string at *at of an array of strings, where *at begins at 0 and is moved behind it. False at
   the end. */
bool awq__gguf_next_text(const awq__gguf_value *value, size_t *at, awq__gguf_string *out);

/* ---- gguf_write.c: the head of a file ---- */

/* Key values to write, in this order. Zero-initialise; free with awq__text_free(&values->bytes). */
typedef struct awq__gguf_values {
    awq__text bytes;
    uint64_t count;
} awq__gguf_values;
awq_status awq__gguf_add_u32(awq_context *ctx, awq__gguf_values *values, const char *key,
                             uint32_t number);
awq_status awq__gguf_add_f32(awq_context *ctx, awq__gguf_values *values, const char *key,
                             float number);
awq_status awq__gguf_add_bool(awq_context *ctx, awq__gguf_values *values, const char *key,
                              bool truth);
awq_status awq__gguf_add_text(awq_context *ctx, awq__gguf_values *values, const char *key,
                              const char *text);
awq_status awq__gguf_add_texts(awq_context *ctx, awq__gguf_values *values, const char *key,
                               const char *const *texts, size_t count);
/* Numbers of a kind of 4 bytes. */
awq_status awq__gguf_add_array(awq_context *ctx, awq__gguf_values *values, const char *key,
                               awq__gguf_kind kind, const void *numbers, size_t count);

/* ---- gguf_output.c: GGUF files as an output ---- */

/* Makes an output one of GGUF files, NAME.gguf or NAME-00001-of-00002.gguf, before its tensors are
   declared. The values are those of the first file; they are taken over, and left empty. */
awq_status awq__output_gguf(awq__output *output, const char *name, awq__gguf_values *values);
/* Declares a tensor [.., K] of a type of GGUF. In a file they have the order in which they are
   declared. */
awq_status awq__output_declare_typed(awq__output *output, const char *name,
                                     const awq__ggml_type *type, int rank, const int64_t *shape);

#endif
