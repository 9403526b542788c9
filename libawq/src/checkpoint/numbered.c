/* Shards without an index: the name model-00001-of-00003.safetensors says how many there are. */
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

/* Moves *at past a number of five or more digits and a text; false if it finds none. */
static bool scan_number(const char **at, const char *end, int64_t *number)
{
    size_t digits = strspn(*at, "0123456789"), length = strlen(end);
    *number = 0;
    if (digits < 5 || digits > 9 || strncmp(*at + digits, end, length) != 0)
        return false;
    for (size_t i = 0; i < digits; i++)
        *number = *number * 10 + ((*at)[i] - '0');
    *at += digits + length;
    return true;
}

/* The number of shards that a file's name claims; 0 if it is not the name of a shard. */
static int64_t shards_by(const char *name)
{
    static const char begin[] = "model-";
    const char *at = name + sizeof begin - 1;
    char same[AWQ__NUMBERED_BYTES];
    int64_t shard, count;
    if (strncmp(name, begin, sizeof begin - 1) != 0 || !scan_number(&at, "-of-", &shard) ||
        !scan_number(&at, ".safetensors", &count) || shard < 1 || shard > count)
        return 0;
    awq__numbered_shard(shard, count, same);
    return strcmp(name, same) ? 0 : count;
}

typedef struct shard_counter {
    awq_context *ctx;
    const char *directory;
    int64_t count; /* that the names so far claim; 0: none has */
} shard_counter;

static awq_status count_by(void *user, const char *name)
{
    shard_counter *counter = user;
    int64_t told = shards_by(name);
    if (told && counter->count && told != counter->count)
        return awq__fail(counter->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s is one of %lld shards, and others of %lld; with " AWQ__INDEX_FILE
                         " it would be plain which are meant",
                         counter->directory, name, (long long)told, (long long)counter->count);
    counter->count = told ? told : counter->count;
    return AWQ_OK;
}

awq_status awq__numbered_shards(awq_context *ctx, const char *directory, int64_t *count)
{
    shard_counter counter = {.ctx = ctx, .directory = directory};
    *count = 0;
    AWQ__CHECK(awq__list_directory(ctx, directory, count_by, &counter));
    *count = counter.count;
    return AWQ_OK;
}

void awq__numbered_shard(int64_t shard, int64_t count, char name[AWQ__NUMBERED_BYTES])
{
    snprintf(name, AWQ__NUMBERED_BYTES, "model-%05lld-of-%05lld.safetensors", (long long)shard,
             (long long)count);
}
