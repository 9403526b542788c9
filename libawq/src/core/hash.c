/* Identification of data, by XXH3, and reproducible random numbers. */
#include "core/core.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define BLOCK_BYTES ((size_t)16 << 20)
#define READ_BYTES ((size_t)256 << 10) /* stays in the cache until it is hashed */

uint64_t awq__hash(uint64_t seed, const void *data, size_t bytes)
{
    return XXH3_64bits_withSeed(data, bytes, seed);
}

uint64_t awq__random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- large arrays ---- */

/* One task: some bytes of an array, and where their hash goes. */
typedef struct block {
    const awq__hashed *array;
    uint64_t offset;
    size_t bytes;
} block;

typedef struct hash_job {
    awq_context *ctx;
    const block *blocks;
    uint64_t *hashes; /* one a block */
} hash_job;

/* The same as of the bytes in memory, whatever the pieces in which they are read. */
static awq_status hash_file_block(awq_context *ctx, const block *b, uint64_t *hash)
{
    XXH3_state_t *state = XXH3_createState();
    char *buffer = awq__alloc(ctx, READ_BYTES, 1, "a buffer to hash files");
    awq_status status;
    AWQ__TRY_ALLOC(buffer);
    if (!state)
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: the state of a hash"));
    XXH3_64bits_reset(state);
    for (size_t at = 0; at < b->bytes; at += READ_BYTES) {
        size_t bytes = b->bytes - at < READ_BYTES ? b->bytes - at : READ_BYTES;
        AWQ__TRY(awq__read_at(ctx, b->array->path, b->array->fd, b->array->offset + b->offset + at,
                              bytes, buffer));
        XXH3_64bits_update(state, buffer, bytes);
    }
    *hash = XXH3_64bits_digest(state);
done:
    XXH3_freeState(state);
    awq__free(buffer);
    return status;
}

static awq_status hash_block(void *arg, int64_t index, int worker)
{
    hash_job *j = arg;
    (void)worker;
    const block *b = &j->blocks[index];
    if (!b->array->data)
        return hash_file_block(j->ctx, b, &j->hashes[index]);
    j->hashes[index] = awq__hash(AWQ__HASH_SEED, b->array->data + b->offset, b->bytes);
    return AWQ_OK;
}

static size_t block_count(const awq__hashed *array)
{
    return array->bytes / BLOCK_BYTES + (array->bytes % BLOCK_BYTES != 0);
}

awq_status awq__hash_arrays(awq_context *ctx, awq__hashed *arrays, size_t count)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        total += block_count(&arrays[i]);
    block *blocks = awq__alloc(ctx, total, sizeof *blocks, "blocks to hash");
    uint64_t *hashes = awq__alloc(ctx, total, sizeof *hashes, "blocks to hash");
    awq_status status;
    AWQ__TRY_ALLOC(blocks && hashes);
    for (size_t i = 0; i < count; i++)
        for (uint64_t offset = 0; offset < arrays[i].bytes; offset += BLOCK_BYTES) {
            size_t left = arrays[i].bytes - (size_t)offset;
            blocks[at++] = (block){&arrays[i], offset, left < BLOCK_BYTES ? left : BLOCK_BYTES};
        }
    hash_job j = {ctx, blocks, hashes};
    AWQ__TRY(awq__parallel_for(ctx, (int64_t)total, hash_block, &j));
    const uint64_t *own = hashes;
    for (size_t i = 0; i < count; i++) {
        size_t blocks_of_it = block_count(&arrays[i]);
        arrays[i].hash = awq__hash(arrays[i].bytes, own, blocks_of_it * sizeof *own);
        own += blocks_of_it;
    }
done:
    awq__free(blocks);
    awq__free(hashes);
    return status;
}
