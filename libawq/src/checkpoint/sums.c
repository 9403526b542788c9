/* The checksums of a directory's files, in the form that sha256sum writes and checks. */
#include "checkpoint/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SUMS_BYTES ((size_t)16 << 20)
#define DIGITS (AWQ__SHA256_HEX - 1)

static int compare_sums(const void *a, const void *b)
{
    return strcmp(((const awq__sum *)a)->name, ((const awq__sum *)b)->name);
}

static awq_status add(awq_context *ctx, awq__sums *sums, const char *name, size_t length)
{
    awq_status status = awq__grow(ctx, &sums->list, &sums->capacity, sums->count + 1,
                                  sizeof *sums->list, "checksums");
    if (status != AWQ_OK)
        return status;
    awq__sum *sum = &sums->list[sums->count];
    *sum = (awq__sum){.name = awq__alloc(ctx, length + 1, 1, "checksums")};
    if (!sum->name)
        return AWQ_ERROR_MEMORY;
    memcpy(sum->name, name, length);
    sums->count++;
    return AWQ_OK;
}

void awq__sums_free(awq__sums *sums)
{
    for (size_t i = 0; i < sums->count; i++)
        awq__free(sums->list[i].name);
    awq__free(sums->list);
    *sums = (awq__sums){0};
}

const awq__sum *awq__sums_find(const awq__sums *sums, const char *name)
{
    const awq__sum key = {.name = (char *)(uintptr_t)name};
    return sums->count ? bsearch(&key, sums->list, sums->count, sizeof key, compare_sums) : NULL;
}

/* ---- the files of a directory ---- */

static bool is_bookkeeping(const char *name, const char *except)
{
    return !awq__is_plain_name(name) || !strcmp(name, AWQ__SUMS_FILE) ||
           !strncmp(name, AWQ__PRIVATE_PREFIX, strlen(AWQ__PRIVATE_PREFIX)) ||
           (except && !strcmp(name, except));
}

awq_status awq__sums_list(awq_context *ctx, const char *directory, const char *except,
                          awq__sums *sums)
{
    *sums = (awq__sums){0};
    DIR *stream = opendir(directory);
    if (!stream)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: %s", directory, strerror(errno));
    awq_status status = AWQ_OK;
    const struct dirent *entry;
    while (status == AWQ_OK && (entry = readdir(stream)))
        if (!is_bookkeeping(entry->d_name, except))
            status = add(ctx, sums, entry->d_name, strlen(entry->d_name));
    closedir(stream);
    if (sums->count)
        qsort(sums->list, sums->count, sizeof *sums->list, compare_sums);
    return status;
}

typedef struct sum_job {
    awq_context *ctx;
    const char *directory;
    awq__sum *list;
} sum_job;

static awq_status sum_file(void *arg, int64_t index, int worker)
{
    sum_job *j = arg;
    (void)worker;
    char *path = awq__path_join(j->ctx, j->directory, j->list[index].name);
    awq_status status =
        path ? awq__sha256_file(j->ctx, path, j->list[index].hex) : AWQ_ERROR_MEMORY;
    awq__free(path);
    return status;
}

awq_status awq__sums_compute(awq_context *ctx, const char *directory, awq__sums *sums,
                             const awq_progress *progress)
{
    awq_status status = AWQ_OK;
    size_t threads = (size_t)awq__threads(ctx);
    double start = awq__now_seconds();
    for (size_t first = 0; first < sums->count && status == AWQ_OK; first += threads) {
        size_t left = sums->count - first;
        sum_job j = {ctx, directory, sums->list + first};
        awq_progress now = progress ? *progress : (awq_progress){0};
        now.fraction *= (double)first / (double)sums->count;
        now.elapsed_seconds += awq__now_seconds() - start;
        status = progress ? awq__progress(ctx, &now) : AWQ_OK;
        if (status == AWQ_OK)
            status =
                awq__parallel_for(ctx, (int64_t)(left < threads ? left : threads), sum_file, &j);
    }
    return status;
}

/* ---- SHA256SUMS ---- */

awq_status awq__output_sums(awq__output *output, const char *except)
{
    awq_context *ctx = output->ctx;
    awq__sums sums;
    awq__text text = {0};
    awq_status status = awq__sums_list(ctx, output->partial, except, &sums);
    if (status == AWQ_OK)
        status = awq__sums_compute(ctx, output->partial, &sums, NULL);
    for (size_t i = 0; i < sums.count && status == AWQ_OK; i++)
        status = awq__text_append(ctx, &text, "%s  %s\n", sums.list[i].hex, sums.list[i].name);
    if (status == AWQ_OK)
        status = awq__output_text(output, AWQ__SUMS_FILE, text.data, text.length);
    awq__text_free(&text);
    awq__sums_free(&sums);
    return status;
}

/* "DIGITS  NAME", where the second space may be a star. */
static awq_status read_line(awq_context *ctx, const char *path, const char *line, size_t length,
                            awq__sums *sums)
{
    bool fits = length > DIGITS + 2 && strspn(line, "0123456789abcdef") == DIGITS &&
                line[DIGITS] == ' ' && strchr(" *", line[DIGITS + 1]);
    awq_status status = fits ? add(ctx, sums, line + DIGITS + 2, length - DIGITS - 2) : AWQ_OK;
    if (status == AWQ_OK && fits)
        memcpy(sums->list[sums->count - 1].hex, line, DIGITS);
    if (status == AWQ_OK && fits && awq__is_plain_name(sums->list[sums->count - 1].name))
        return AWQ_OK;
    return status != AWQ_OK ? status
                            : awq__fail(ctx, AWQ_ERROR_FORMAT,
                                        "%s: \"%.*s\" is no checksum of a file here, which is 64 "
                                        "digits, two spaces and a name",
                                        path, (int)(length < 100 ? length : 100), line);
}

static awq_status read_lines(awq_context *ctx, const char *path, const char *text, size_t bytes,
                             awq__sums *sums)
{
    awq_status status = AWQ_OK;
    if (memchr(text, 0, bytes))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: not a text", path);
    for (const char *line = text; *line && status == AWQ_OK;) {
        size_t length = strcspn(line, "\n");
        status = read_line(ctx, path, line, length, sums);
        line += length + (line[length] == '\n');
    }
    if (sums->count)
        qsort(sums->list, sums->count, sizeof *sums->list, compare_sums);
    for (size_t i = 1; i < sums->count && status == AWQ_OK; i++)
        if (!strcmp(sums->list[i - 1].name, sums->list[i].name))
            status =
                awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: has \"%s\" twice", path, sums->list[i].name);
    return status;
}

awq_status awq__sums_read(awq_context *ctx, const char *directory, awq__sums *sums)
{
    *sums = (awq__sums){0};
    char *path = awq__path_join(ctx, directory, AWQ__SUMS_FILE), *text = NULL;
    size_t bytes;
    awq_status status =
        path ? awq__read_text_file(ctx, path, MAX_SUMS_BYTES, &text, &bytes) : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = read_lines(ctx, path, text, bytes, sums);
    awq__free(text);
    awq__free(path);
    return status;
}
