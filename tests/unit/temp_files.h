/* A directory of its own for each test that needs files, and small files in it. */
#ifndef TEMP_FILES_H
#define TEMP_FILES_H

#include "awq/awq.h"
#include "checkpoint/internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fixture {
    awq_context *ctx;
    char directory[512];
    char path[2048]; /* the latest result of path_of */
} fixture;

static inline int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    const char *base = getenv("TMPDIR");
    if (!f || awq_context_create(&f->ctx) != AWQ_OK)
        return -1;
    snprintf(f->directory, sizeof f->directory, "%s/awq-test-XXXXXX", base ? base : "/tmp");
    *state = f;
    return mkdtemp(f->directory) ? 0 : -1;
}

static inline int tear_down(void **state)
{
    fixture *f = *state;
    int result = awq__clear_directory(f->ctx, f->directory, NULL) == AWQ_OK ? 0 : -1;
    if (rmdir(f->directory) != 0)
        result = -1;
    awq_context_free(f->ctx);
    free(f);
    return result;
}

/* A path in the test's directory, valid until the next call. */
static inline const char *path_of(fixture *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->directory, name);
    return f->path;
}

static inline void write_file(fixture *f, const char *name, const void *data, size_t bytes)
{
    FILE *file = fopen(path_of(f, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(fixture *f, const char *name, const char *text)
{
    write_file(f, name, text, strlen(text));
}

static inline void make_directory(fixture *f, const char *name)
{
    assert_int_equal(mkdir(path_of(f, name), 0777), 0);
}

static inline bool is_there(fixture *f, const char *name)
{
    struct stat info;
    return lstat(path_of(f, name), &info) == 0;
}

/* The caller's to free; NUL-terminated. */
static inline char *read_file(fixture *f, const char *name, size_t *bytes)
{
    char *text;
    assert_int_equal(awq__read_text_file(f->ctx, path_of(f, name), (size_t)1 << 30, &text, bytes),
                     AWQ_OK);
    return text;
}

/* A safetensors file of this header and as many data bytes 0, 1, 2 ... */
static inline void write_safetensors(fixture *f, const char *name, const char *header,
                                     size_t data_bytes)
{
    uint64_t length = strlen(header);
    size_t bytes = sizeof length + length + data_bytes;
    uint8_t *file = malloc(bytes);
    assert_non_null(file);
    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, header, length);
    for (size_t i = 0; i < data_bytes; i++)
        file[sizeof length + length + i] = (uint8_t)i;
    write_file(f, name, file, bytes);
    free(file);
}

static inline void assert_message(const fixture *f, const char *part)
{
    const char *message = awq_context_message(f->ctx);
    if (!strstr(message, part))
        fail_msg("the message \"%s\" does not say \"%s\"", message, part);
}

#endif
