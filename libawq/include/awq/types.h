/*
 * awq/types.h - what every other public header builds on: version, visibility,
 * status codes, element types and the two callbacks.
 */
#ifndef AWQ_TYPES_H
#define AWQ_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AWQ_VERSION_MAJOR 0
#define AWQ_VERSION_MINOR 2
#define AWQ_VERSION_PATCH 0
#define AWQ_VERSION_STRING "0.2.0"

#if defined(__GNUC__)
#define AWQ_API __attribute__((visibility("default")))
#else
#define AWQ_API
#endif

/*
 * One list makes the enum, the name and the text of every status.
 * X(symbol, value, text)
 */
#define AWQ_STATUS_LIST(X)                                                                         \
    X(AWQ_OK, 0, "success")                                                                        \
    X(AWQ_ERROR_ARGUMENT, -1, "an argument is outside its allowed range")                          \
    X(AWQ_ERROR_MEMORY, -2, "out of memory")                                                       \
    X(AWQ_ERROR_IO, -3, "a file could not be read or written")                                     \
    X(AWQ_ERROR_FORMAT, -4, "a file is malformed")                                                 \
    X(AWQ_ERROR_UNSUPPORTED, -5, "the input is well formed but not supported")                     \
    X(AWQ_ERROR_RECIPE, -6, "the recipe is incomplete or contradicts itself or the model")         \
    X(AWQ_ERROR_PLUGIN, -7, "an architecture plugin is missing or was refused")                    \
    X(AWQ_ERROR_NUMERIC, -8, "a tensor holds NaN or infinity, or a value out of range")            \
    X(AWQ_ERROR_PROOF, -9, "the folded model does not compute what the original does")             \
    X(AWQ_ERROR_EXISTS, -10, "the output exists already")                                          \
    X(AWQ_ERROR_CANCELLED, -11, "cancelled by the caller")

typedef enum awq_status {
#define AWQ_STATUS_ENUM(symbol, value, text) symbol = value,
    AWQ_STATUS_LIST(AWQ_STATUS_ENUM)
#undef AWQ_STATUS_ENUM
} awq_status;

/*
 * Element types of stored tensors.
 * X(symbol, name in a safetensors header, bits per element)
 */
#define AWQ_DTYPE_LIST(X)                                                                          \
    X(AWQ_BOOL, "BOOL", 8)                                                                         \
    X(AWQ_U8, "U8", 8)                                                                             \
    X(AWQ_I8, "I8", 8)                                                                             \
    X(AWQ_F4, "F4", 4)                                                                             \
    X(AWQ_F6_E2M3, "F6_E2M3", 6)                                                                   \
    X(AWQ_F6_E3M2, "F6_E3M2", 6)                                                                   \
    X(AWQ_F8_E5M2, "F8_E5M2", 8)                                                                   \
    X(AWQ_F8_E4M3, "F8_E4M3", 8)                                                                   \
    X(AWQ_F8_E8M0, "F8_E8M0", 8)                                                                   \
    X(AWQ_F8_E4M3FNUZ, "F8_E4M3FNUZ", 8)                                                           \
    X(AWQ_F8_E5M2FNUZ, "F8_E5M2FNUZ", 8)                                                           \
    X(AWQ_I16, "I16", 16)                                                                          \
    X(AWQ_U16, "U16", 16)                                                                          \
    X(AWQ_F16, "F16", 16)                                                                          \
    X(AWQ_BF16, "BF16", 16)                                                                        \
    X(AWQ_I32, "I32", 32)                                                                          \
    X(AWQ_U32, "U32", 32)                                                                          \
    X(AWQ_F32, "F32", 32)                                                                          \
    X(AWQ_C64, "C64", 64)                                                                          \
    X(AWQ_F64, "F64", 64)                                                                          \
    X(AWQ_I64, "I64", 64)                                                                          \
    X(AWQ_U64, "U64", 64)

typedef enum awq_dtype {
#define AWQ_DTYPE_ENUM(symbol, name, bits) symbol,
    AWQ_DTYPE_LIST(AWQ_DTYPE_ENUM)
#undef AWQ_DTYPE_ENUM
        AWQ_DTYPE_COUNT
} awq_dtype;

typedef enum awq_log_level {
    AWQ_LOG_DEBUG,
    AWQ_LOG_INFO,
    AWQ_LOG_WARNING,
} awq_log_level;

/*
 * Receives one line of text, without a line end. Called on the thread that
 * called the library. The text is valid during the call only.
 */
typedef void (*awq_log_fn)(void *user, awq_log_level level, const char *text);

/* Where a long operation stands. Strings are valid during the call only. */
typedef struct awq_progress {
    const char *stage;   /* "attention", "scale search", "round", ... */
    int64_t layer;       /* from 0; layer_count while finishing */
    int64_t layer_count; /* 0 where the operation has no layers */
    double fraction;     /* of the whole operation, 0 to 1, never falling */
    double elapsed_seconds;
} awq_progress;

/*
 * Called on the thread that called the library, when a stage begins and, where possible, some times
 * a second within it. Returning nonzero cancels the operation, which then fails with
 * AWQ_ERROR_CANCELLED. At a fraction of 1 it is too late: the operation is done and succeeds.
 */
typedef int (*awq_progress_fn)(void *user, const awq_progress *progress);

/* "AWQ_ERROR_IO" for AWQ_ERROR_IO; "AWQ_UNKNOWN" for no known status. Never NULL. */
AWQ_API const char *awq_status_name(awq_status status);
/* What a status means, one phrase. Never NULL. */
AWQ_API const char *awq_status_text(awq_status status);
/* The name that safetensors uses ("BF16"); "?" outside the enum. Never NULL. */
AWQ_API const char *awq_dtype_name(awq_dtype dtype);
/* Bits of one element; 0 outside the enum. */
AWQ_API int awq_dtype_bits(awq_dtype dtype);
/* The version of the library that runs, which may differ from the header's. */
AWQ_API const char *awq_version(void);

#ifdef __cplusplus
}
#endif
#endif
