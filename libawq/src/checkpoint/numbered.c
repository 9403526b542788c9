/* Shards without an index: model-00001-of-00003.safetensors tells how many there are. */
#include "checkpoint/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Moves *at past a number of five digits or more that a text follows. False where there is none. */
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

/* The number of shards that a file's name tells; 0 if it is the name of none. */
static int64_t shards_by(const char *name)
{
    static const char begin[] = "model-";
    const char *at = name + sizeof begin - 1;
    int64_t shard, count;
    bool is = !strncmp(name, begin, sizeof begin - 1) && scan_number(&at, "-of-", &shard) &&
              scan_number(&at, ".safetensors", &count) && !*at;
    return is && shard >= 1 && shard <= count ? count : 0;
}

awq_status awq__numbered_shards(awq_context *ctx, const char *path, int64_t *count)
{
    *count = 0;
    DIR *directory = opendir(path);
    if (!directory)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: not a directory that can be read: %s", path,
                         strerror(errno));
    awq_status status = AWQ_OK;
    const struct dirent *entry;
    while ((entry = readdir(directory))) {
        int64_t told = shards_by(entry->d_name);
        if (told && *count && told != *count)
            AWQ__TRY(
                awq__fail(ctx, AWQ_ERROR_FORMAT,
                          "%s: %s is one of %lld shards, and others of %lld; with " AWQ__INDEX_FILE
                          " it would be plain which are meant",
                          path, entry->d_name, (long long)told, (long long)*count));
        *count = told ? told : *count;
    }
done:
    closedir(directory);
    return status;
}

void awq__numbered_shard(int64_t shard, int64_t count, char name[AWQ__NUMBERED_BYTES])
{
    snprintf(name, AWQ__NUMBERED_BYTES, "model-%05lld-of-%05lld.safetensors", (long long)shard,
             (long long)count);
}
