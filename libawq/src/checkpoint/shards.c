/* The written part of an output's shards: made durable, hashed, and closed. */
#include "checkpoint/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define STEP_BYTES ((uint64_t)1 << 20) /* bytes hashed between two checks for a stop */

awq_status awq__output_sync(awq__output *output)
{
    for (size_t i = 0; i < output->layout.shard_count; i++) {
        const awq__shard *shard = &output->layout.shards[i];
        AWQ__CHECK(awq__sync_file(output->ctx, shard->path, shard->fd));
    }
    return awq__sync_directory(output->ctx, output->partial);
}

/* The offset of the first tensor that is not written yet: nothing before it changes any more. */
static uint64_t written_end(awq__shard *shard)
{
    const awq__entry *last = NULL;
    for (; shard->whole < shard->count; shard->whole++)
        if (atomic_load(&shard->entries[shard->whole]->written) <
            shard->entries[shard->whole]->bytes)
            break;
    if (shard->whole)
        last = shard->entries[shard->whole - 1];
    return last ? last->offset + last->bytes : 0;
}

awq_status awq__output_hash(awq__output *output, const _Atomic bool *stop)
{
    for (size_t i = 0; i < output->layout.shard_count; i++) {
        awq__shard *shard = &output->layout.shards[i];
        uint64_t end = written_end(shard);
        while (shard->sha.bytes < end && !atomic_load(stop)) {
            uint64_t left = end - shard->sha.bytes;
            AWQ__CHECK(awq__sha256_read(output->ctx, &shard->sha, shard->path, shard->fd,
                                        left < STEP_BYTES ? left : STEP_BYTES));
        }
    }
    return AWQ_OK;
}

/* After a failure the layout closes what is still open. */
static awq_status close_shard(awq_context *ctx, awq__shard *shard)
{
    int fd = shard->fd;
    shard->fd = -1;
    if (fd >= 0 && close(fd) != 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be closed: %s", shard->path,
                         strerror(errno));
    return AWQ_OK;
}

awq_status awq__output_close_shards(awq__output *output)
{
    AWQ__CHECK(awq__output_sync(output));
    for (size_t i = 0; i < output->layout.shard_count; i++)
        AWQ__CHECK(close_shard(output->ctx, &output->layout.shards[i]));
    return AWQ_OK;
}
