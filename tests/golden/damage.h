/* Bytes of a checkpoint that a test changes. */
#ifndef DAMAGE_H
#define DAMAGE_H

#include "runs.h"

#include <fcntl.h>

#define MODEL_FILE "model.safetensors"

/* Where the data of a tensor lie in a safetensors file. */
static inline void place_of(const fixture *f, const char *path, const char *name, size_t *offset,
                            size_t *bytes)
{
    char *text;
    size_t size;
    uint64_t length;
    int64_t ends[2];
    cJSON *header;
    read_all(f, path, &text, &size);
    memcpy(&length, text, sizeof length);
    assert_ok(f, awq__json_parse(f->ctx, path, text + 8, length, &header));
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(header, name);
    assert_non_null(entry);
    for (int i = 0; i < 2; i++)
        assert_true(awq__json_int(
            cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(entry, "data_offsets"), i),
            &ends[i]));
    *offset = 8 + (size_t)length + (size_t)ends[0];
    *bytes = (size_t)(ends[1] - ends[0]);
    cJSON_Delete(header);
    awq__free(text);
}

static inline void flip_bits(const char *path, size_t offset, uint8_t bits)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= bits;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static inline void flip(const char *path, size_t offset)
{
    flip_bits(path, offset, 0x10);
}

/* A byte of a tensor, from 0, near the first one, to 1, the last one: of 16-bit floats the higher,
   as the lower may be lost in rounding. */
static inline void flip_bits_in(const fixture *f, const char *directory, const char *tensor,
                                double where, uint8_t bits)
{
    char path[2048];
    size_t offset, bytes;
    snprintf(path, sizeof path, "%s/" MODEL_FILE, directory);
    place_of(f, path, tensor, &offset, &bytes);
    flip_bits(path, offset + ((size_t)(where * (double)(bytes - 1)) | (bytes > 1)), bits);
}

static inline void flip_in(const fixture *f, const char *directory, const char *tensor,
                           double where)
{
    flip_bits_in(f, directory, tensor, where, 0x10);
}

#endif
