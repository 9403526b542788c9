/*
 * One GGUF file: all of it, or, after a first byte "h", what stands behind its magic number and
 * version. An accepted file has its tensors within it, one after the other.
 */
#include "fuzz.h"
#include "checkpoint/gguf.h"

#include <string.h>

static void write_headed(const uint8_t *data, size_t size)
{
    static const uint8_t start[] = {'G', 'G', 'U', 'F', 3, 0, 0, 0};
    uint8_t *file = malloc(sizeof start + size);
    MUST(file);
    memcpy(file, start, sizeof start);
    memcpy(file + sizeof start, data, size);
    fuzz_write("model.gguf", file, sizeof start + size);
    free(file);
}

static void check_tensor(const awq__gguf *gguf, size_t index, size_t file_bytes)
{
    const awq__gguf_tensor *tensor = awq__gguf_at(gguf, index);
    const awq__tensor *stored = &tensor->stored;
    int64_t elements = awq__tensor_elements(stored), bits = awq_dtype_bits(stored->dtype);
    MUST(tensor->rank >= 1 && tensor->rank <= AWQ__GGUF_MAX_RANK && tensor->rank == stored->rank);
    MUST(elements >= 0 && (uint64_t)elements * (uint64_t)bits / 8 == stored->bytes);
    MUST(stored->offset <= file_bytes && stored->bytes <= file_bytes - stored->offset);
    MUST(awq__gguf_find_tensor(gguf, stored->name) == tensor);
    MUST(!index || strcmp(awq__gguf_at(gguf, index - 1)->stored.name, stored->name) < 0);
}

/* Every value is read as anything, and every text is within its value. */
static void check_value(const awq__gguf *gguf, size_t index)
{
    const awq__gguf_value *value = awq__gguf_value_at(gguf, index);
    awq__gguf_string string;
    int64_t integer;
    double number;
    size_t at = 0, texts = 0;
    MUST(awq__gguf_find(gguf, value->key) == value);
    for (uint64_t i = 0; i <= value->count && i < 9; i++) {
        fuzz_judge(awq__gguf_integer(fuzz_context(), value, i, &integer));
        fuzz_judge(awq__gguf_number(fuzz_context(), value, i, &number));
    }
    fuzz_judge(awq__gguf_text(fuzz_context(), value, &string));
    while (value->kind == AWQ__GGUF_STRING && awq__gguf_next_text(value, &at, &string)) {
        MUST((const uint8_t *)string.data + string.bytes == value->data + at);
        texts++;
    }
    MUST(at <= value->bytes && (value->kind != AWQ__GGUF_STRING || texts == value->count));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    awq__gguf *gguf;
    if (size && *data == 'h')
        write_headed(data + 1, size - 1);
    else
        fuzz_write("model.gguf", data, size);
    awq_status status = awq__gguf_open(fuzz_context(), fuzz_path("model.gguf"), &gguf);
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (gguf != NULL));
    for (size_t i = 0; gguf && i < awq__gguf_count(gguf); i++)
        check_tensor(gguf, i, size + 8);
    for (size_t i = 0; gguf && i < awq__gguf_value_count(gguf); i++)
        check_value(gguf, i);
    awq__gguf_free(gguf);
    return 0;
}
