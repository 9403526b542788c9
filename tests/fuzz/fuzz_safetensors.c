/*
 * One safetensors file: all of it, or, after a first byte "h", its header and, behind a NUL, its
 * data, to which the length is put. An accepted file's tensors lie in its data, one after the
 * other.
 */
#include "fuzz.h"
#include "checkpoint/checkpoint.h"

#include <string.h>

static void write_headed(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    uint64_t header = end ? (uint64_t)(end - data) : size;
    size_t rest = end ? size - (size_t)header - 1 : 0;
    uint8_t *file = malloc(sizeof header + (size_t)header + rest);
    MUST(file);
    memcpy(file, &header, sizeof header);
    memcpy(file + sizeof header, data, (size_t)header);
    if (rest)
        memcpy(file + sizeof header + header, end + 1, rest);
    fuzz_write("model.safetensors", file, sizeof header + (size_t)header + rest);
    free(file);
}

static void check_tensor(const awq__safetensors *file, size_t index)
{
    const awq__tensor *tensor = awq__safetensors_at(file, index);
    int64_t bits = awq__tensor_elements(tensor) * awq_dtype_bits(tensor->dtype);
    MUST(tensor->rank >= 0 && tensor->rank <= AWQ__MAX_RANK);
    MUST(bits >= 0 && bits % 8 == 0 && (uint64_t)bits / 8 == tensor->bytes);
    MUST(awq__safetensors_find(file, tensor->name) == tensor);
    MUST(!index || strcmp(awq__safetensors_at(file, index - 1)->name, tensor->name) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    awq__safetensors *file;
    if (size && *data == 'h')
        write_headed(data + 1, size - 1);
    else
        fuzz_write("model.safetensors", data, size);
    awq_status status =
        awq__safetensors_open(fuzz_context(), fuzz_path("model.safetensors"), &file);
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (file != NULL));
    size_t count = file ? awq__safetensors_count(file) : 0, bytes = 0;
    for (size_t i = 0; i < count; i++) {
        check_tensor(file, i);
        bytes += awq__safetensors_at(file, i)->bytes;
    }
    MUST(bytes <= size);
    MUST(!file || !awq__safetensors_at(file, count));
    awq__safetensors_free(file);
    return 0;
}
