/* The checksums of a directory's files, in the form that sha256sum writes and checks. */
#include "checkpoint/internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SUMS_BYTES ((size_t)16 << 20)
#define DIGITS (AWQ__SHA256_HEX - 1)
#define TURN_BYTES ((uint64_t)64 << 20) /* bytes of a file hashed in one turn */

static int compare_sums(const void *a, const void *b)
{
    return strcmp(((const awq__sum *)a)->name, ((const awq__sum *)b)->name);
}

static awq_status add(awq_context *ctx, awq__sums *sums, const char *name, size_t length)
{
    AWQ__CHECK(awq__grow(ctx, &sums->list, &sums->capacity, sums->count + 1, sizeof *sums->list,
                         "checksums"));
    awq__sum *sum = &sums->list[sums->count];
    *sum = (awq__sum){.name = awq__alloc(ctx, length + 1, 1, "checksums")};
    AWQ__CHECK_ALLOC(sum->name);
    memcpy(sum->name, name, length);
    awq__sha256_begin(&sum->sha);
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

typedef struct listing {
    awq_context *ctx;
    awq__sums *sums;
    const char *directory, *except;
} listing;

static awq_status add_template(void *user, const char *name)
{
    const listing *l = user;
    char *path = awq__path_join(l->ctx, AWQ__TEMPLATE_FOLDER, name);
    AWQ__CHECK_ALLOC(path);
    awq_status status = add(l->ctx, l->sums, path, strlen(path));
    awq__free(path);
    return status;
}

/* A file with the folder's name is treated like any other file. */
static awq_status add_templates(listing *l)
{
    char *path = awq__path_join(l->ctx, l->directory, AWQ__TEMPLATE_FOLDER);
    AWQ__CHECK_ALLOC(path);
    awq_status status =
        awq__is_directory(path) && !awq__is_link(path)
            ? awq__list_directory(l->ctx, path, add_template, l)
            : add(l->ctx, l->sums, AWQ__TEMPLATE_FOLDER, strlen(AWQ__TEMPLATE_FOLDER));
    awq__free(path);
    return status;
}

static awq_status add_name(void *user, const char *name)
{
    listing *l = user;
    if (!strcmp(name, AWQ__TEMPLATE_FOLDER))
        return add_templates(l);
    if (!strcmp(name, AWQ__SUMS_FILE) || (l->except && !strcmp(name, l->except)) ||
        !strncmp(name, AWQ__PRIVATE_PREFIX, strlen(AWQ__PRIVATE_PREFIX)))
        return AWQ_OK;
    return add(l->ctx, l->sums, name, strlen(name));
}

awq_status awq__sums_list(awq_context *ctx, const char *directory, const char *except,
                          awq__sums *sums)
{
    listing l = {ctx, sums, directory, except};
    *sums = (awq__sums){0};
    AWQ__CHECK(awq__list_directory(ctx, directory, add_name, &l));
    if (sums->count)
        qsort(sums->list, sums->count, sizeof *sums->list, compare_sums);
    return AWQ_OK;
}

typedef struct sum_job {
    awq_context *ctx;
    const char *directory;
    awq__sum *list;
} sum_job;

static awq_status sum_open_file(awq_context *ctx, awq__sum *sum, const char *path, int fd)
{
    if (sum->sha.bytes > sum->bytes)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: has %llu bytes, but had %llu when it was read",
                         path, (unsigned long long)sum->bytes, (unsigned long long)sum->sha.bytes);
    uint64_t left = sum->bytes - sum->sha.bytes;
    AWQ__CHECK(awq__sha256_read(ctx, &sum->sha, path, fd, left < TURN_BYTES ? left : TURN_BYTES));
    sum->ended = sum->sha.bytes == sum->bytes;
    if (sum->ended)
        awq__sha256_end(&sum->sha, sum->hex);
    return AWQ_OK;
}

static awq_status sum_turn(void *arg, int64_t index, int worker)
{
    sum_job *j = arg;
    awq__sum *sum = &j->list[index];
    awq_status status = AWQ_OK;
    int fd = -1;
    (void)worker;
    if (sum->ended)
        return AWQ_OK;
    char *path = awq__path_join(j->ctx, j->directory, sum->name);
    AWQ__TRY_ALLOC(path);
    fd = awq__open_file(j->ctx, path, &sum->bytes);
    AWQ__TRY(fd < 0 ? AWQ_ERROR_IO : sum_open_file(j->ctx, sum, path, fd));
done:
    if (fd >= 0)
        close(fd);
    awq__free(path);
    return status;
}

typedef struct summed {
    double part;  /* of all bytes, what is hashed */
    size_t ended; /* files */
} summed;

static summed look_at(const awq__sums *sums)
{
    double done = 0, bytes = 0;
    summed found = {0};
    for (size_t i = 0; i < sums->count; i++) {
        done += (double)sums->list[i].sha.bytes;
        bytes += (double)sums->list[i].bytes;
        found.ended += sums->list[i].ended;
    }
    found.part = bytes > 0 ? done / bytes : 0; /* the sizes are known after the first turn */
    return found;
}

/* Goes by turns over all files, so that the caller can stop after each turn. */
awq_status awq__sums_compute(awq_context *ctx, const char *directory, awq__sums *sums,
                             const awq_progress *progress)
{
    double start = awq__now_seconds();
    sum_job j = {ctx, directory, sums->list};
    for (;;) {
        summed found = look_at(sums);
        if (found.ended == sums->count)
            return AWQ_OK;
        if (progress) {
            awq_progress now = *progress;
            now.fraction *= found.part;
            now.elapsed_seconds += awq__now_seconds() - start;
            AWQ__CHECK(awq__progress(ctx, &now));
        }
        AWQ__CHECK(awq__parallel_for(ctx, (int64_t)sums->count, sum_turn, &j));
    }
}

/* ---- of an output ---- */

/* Continues with the hashes that the shards have so far. */
static void begin_sums(const awq__layout *layout, awq__sums *sums)
{
    for (size_t i = 0; i < sums->count; i++)
        for (size_t k = 0; k < layout->shard_count; k++)
            if (!strcmp(sums->list[i].name, layout->shards[k].name) &&
                !atomic_load(&layout->shards[k].replaced))
                sums->list[i].sha = layout->shards[k].sha;
}

/* ---- SHA256SUMS ---- */

awq_status awq__output_sums(awq__output *output, const char *except)
{
    awq_context *ctx = output->ctx;
    awq__sums sums = {0};
    awq__text text = {0};
    awq_status status;
    AWQ__TRY(awq__output_wait(output));
    AWQ__TRY(awq__sums_list(ctx, output->partial, except, &sums));
    begin_sums(&output->layout, &sums);
    AWQ__TRY(awq__sums_compute(ctx, output->partial, &sums, NULL));
    for (size_t i = 0; i < sums.count; i++)
        AWQ__TRY(awq__text_append(ctx, &text, "%s  %s\n", sums.list[i].hex, sums.list[i].name));
    AWQ__TRY(awq__output_text(output, AWQ__SUMS_FILE, text.data, text.length));
done:
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
    if (fits) {
        AWQ__CHECK(add(ctx, sums, line + DIGITS + 2, length - DIGITS - 2));
        memcpy(sums->list[sums->count - 1].hex, line, DIGITS);
        if (awq__is_output_name(sums->list[sums->count - 1].name))
            return AWQ_OK;
    }
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: \"%.*s\" is no checksum of a file here, which is 64 "
                     "digits, two spaces and a name",
                     path, (int)(length < 100 ? length : 100), line);
}

static awq_status read_lines(awq_context *ctx, const char *path, const char *text, size_t bytes,
                             awq__sums *sums)
{
    if (memchr(text, 0, bytes))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: not a text", path);
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        AWQ__CHECK(read_line(ctx, path, line, length, sums));
        line += length + (line[length] == '\n');
    }
    if (sums->count)
        qsort(sums->list, sums->count, sizeof *sums->list, compare_sums);
    for (size_t i = 1; i < sums->count; i++)
        if (!strcmp(sums->list[i - 1].name, sums->list[i].name))
            return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: has \"%s\" twice", path,
                             sums->list[i].name);
    return AWQ_OK;
}

awq_status awq__sums_read(awq_context *ctx, const char *directory, awq__sums *sums)
{
    *sums = (awq__sums){0};
    char *path = awq__path_join(ctx, directory, AWQ__SUMS_FILE), *text = NULL;
    size_t bytes;
    awq_status status;
    AWQ__TRY_ALLOC(path);
    AWQ__TRY(awq__read_text_file(ctx, path, MAX_SUMS_BYTES, &text, &bytes));
    AWQ__TRY(read_lines(ctx, path, text, bytes, sums));
done:
    awq__free(text);
    awq__free(path);
    return status;
}
