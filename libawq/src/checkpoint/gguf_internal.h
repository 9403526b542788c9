/* What the files that read and write GGUF share, for them alone. */
#ifndef AWQ__GGUF_INTERNAL_H
#define AWQ__GGUF_INTERNAL_H

#include "checkpoint/gguf.h"
#include "checkpoint/internal.h"

#define AWQ__GGUF_MAGIC "GGUF"
#define AWQ__GGUF_VERSION 3
#define AWQ__GGUF_SPLIT_NO "split.no"
#define AWQ__GGUF_SPLIT_COUNT "split.count"
#define AWQ__GGUF_SPLIT_TENSORS "split.tensors.count"
#define AWQ__GGUF_ALIGNMENT_KEY "general.alignment"

/* One file, whose head is read as far as it is needed. */
typedef struct awq__gguf_part {
    awq_context *ctx;
    awq__file file;
    int fd;        /* -1 once the head is read */
    uint8_t *head; /* from the beginning of the file */
    size_t have, capacity;
    size_t at; /* how much of it has been understood */
    uint64_t value_count, tensor_count;
    awq__gguf_value *values; /* sorted by key */
    awq__gguf_tensor *tensors;
    size_t value_capacity, tensor_capacity;
    int64_t alignment;
} awq__gguf_part;

/* AWQ_ERROR_FORMAT of what is at a byte. */
awq_status awq__gguf_fail(awq_context *ctx, const char *file, uint64_t offset, const char *format,
                          ...) AWQ__PRINTF(4, 5);
/* Has `bytes` more at hand from head + at on, and passes them by; *from is where they begin. AWQ_
   ERROR_FORMAT if the file does not have them; `what` names them. */
awq_status awq__gguf_take(awq__gguf_part *part, uint64_t bytes, const char *what, size_t *from);
awq_status awq__gguf_take_u32(awq__gguf_part *part, const char *what, uint32_t *out);
awq_status awq__gguf_take_u64(awq__gguf_part *part, const char *what, uint64_t *out);
/* A name of less than `limit` bytes, in UTF-8, not empty and without NUL. It is moved over its
   length, so that it has a NUL behind it in the head, and *from is where it begins. */
awq_status awq__gguf_take_name(awq__gguf_part *part, const char *what, size_t limit, size_t *from);
/* The magic, the counts and the values; then the tensors. Of both, what the head says of them. */
awq_status awq__gguf_read_values(awq__gguf_part *part);
awq_status awq__gguf_read_tensors(awq__gguf_part *part);
/* Once the head is whole: keys and data are where they stay, keys are sorted, and none stands
   twice; then tensors have names and places in the file. */
awq_status awq__gguf_settle_values(awq__gguf_part *part);
awq_status awq__gguf_settle_tensors(awq__gguf_part *part);
/* The next multiple of an alignment; what is near the end of the numbers stays. */
static inline uint64_t awq__gguf_align(uint64_t offset, int64_t alignment)
{
    uint64_t mask = (uint64_t)alignment - 1;
    return offset > UINT64_MAX - mask ? offset : (offset + mask) & ~mask;
}
/* NULL if absent. */
const awq__gguf_value *awq__gguf_part_find(const awq__gguf_part *part, const char *key);
/* Bytes of a single value; 0 for strings and arrays. */
size_t awq__gguf_kind_bytes(awq__gguf_kind kind);
const char *awq__gguf_kind_name(awq__gguf_kind kind);

/* ---- gguf_write.c ---- */

/* Places the tensors of file `index` and makes its head. */
awq_status awq__gguf_place(awq_context *ctx, awq__layout *layout, size_t index);

#endif
