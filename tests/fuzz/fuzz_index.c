/*
 * A checkpoint of shards: its index, then what three files hold (tensors.c). What is opened has
 * every tensor once, in the file that the index says.
 */
#include "fuzz.h"
#include "checkpoint/checkpoint.h"

#include <stdio.h>
#include <string.h>

#define SHARDS 3

static void write_shards(const fuzz_part *parts)
{
    for (int i = 0; i < SHARDS; i++) {
        char name[64], *list = fuzz_string(&parts[i]);
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i + 1, SHARDS);
        fuzz_write_tensors(name, "", list);
        free(list);
    }
}

static void check(const awq__checkpoint *checkpoint)
{
    uint64_t bytes = 0;
    const awq__tensor *tensor;
    for (size_t i = 0; (tensor = awq__checkpoint_at(checkpoint, i)); i++) {
        MUST(i < awq__checkpoint_count(checkpoint));
        MUST(!i || strcmp(awq__checkpoint_at(checkpoint, i - 1)->name, tensor->name) < 0);
        MUST(awq__checkpoint_find(checkpoint, tensor->name) == tensor);
        bytes += tensor->bytes;
    }
    MUST(bytes == awq__checkpoint_bytes(checkpoint));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part parts[1 + SHARDS];
    awq__checkpoint *checkpoint;
    bool absent;
    fuzz_split(data, size, parts, 1 + SHARDS);
    fuzz_write_part("model.safetensors.index.json", &parts[0]);
    write_shards(parts + 1);
    awq_status status = awq__checkpoint_open(fuzz_context(), fuzz_path(""), &checkpoint);
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (checkpoint != NULL));
    if (checkpoint)
        check(checkpoint);
    awq__checkpoint_free(checkpoint);
    MUST(awq__checkpoint_is_absent(fuzz_context(), fuzz_path(""), &absent) == AWQ_OK && !absent);
    fuzz_free(parts, 1 + SHARDS);
    return 0;
}
