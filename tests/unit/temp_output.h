/* A small model that tests write as an output, and checks of what they find afterwards. */
#ifndef TEMP_OUTPUT_H
#define TEMP_OUTPUT_H

#include "temp_files.h"
#include "support/tensor_bytes.h"

static const struct declared {
    const char *name;
    awq_dtype dtype;
    int rank;
    int64_t shape[3];
    size_t bytes;
} model[] = {
    {"layers.0.scales", AWQ_F16, 2, {2, 5}, 20},  {"layers.0.codes", AWQ_I32, 2, {2, 4}, 32},
    {"layers.0.blocks", AWQ_U8, 3, {3, 1, 1}, 3}, {"layers.0.empty", AWQ_F32, 2, {0, 9}, 0},
    {"layers.1.scales", AWQ_BF16, 1, {7}, 14},    {"layers.1.codes", AWQ_I64, 1, {2}, 16},
    {"layers.1.scalar", AWQ_F32, 0, {0}, 4},      {"layers.1.mask", AWQ_BOOL, 1, {1}, 1},
};
enum { MODEL_COUNT = sizeof model / sizeof *model };

static inline awq__output *begin(fixture *f, const char *name, bool force, bool resume)
{
    awq__output *output;
    awq__clear(f->ctx);
    if (awq__output_begin(f->ctx, path_of(f, name), force, &output) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    if (!resume)
        assert_int_equal(awq__output_empty(output), AWQ_OK);
    return output;
}

static inline void begin_fails(fixture *f, const char *name, bool force, awq_status status,
                               const char *message)
{
    awq__output *output;
    awq__clear(f->ctx);
    assert_int_equal(awq__output_begin(f->ctx, path_of(f, name), force, &output), status);
    assert_null(output);
    assert_message(f, message);
}

static inline void check(const fixture *f, awq_status status)
{
    if (status != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
}

static inline void declare_model(fixture *f, awq__output *output)
{
    for (size_t i = 0; i < MODEL_COUNT; i++)
        check(f, awq__output_declare(output, model[i].name, model[i].dtype, model[i].rank,
                                     model[i].shape));
}

/* Byte j of tensor i is i * 16 + j. */
static inline void fill_tensor(size_t i, uint8_t data[32])
{
    for (size_t j = 0; j < model[i].bytes; j++)
        data[j] = (uint8_t)(i * 16 + j);
}

static inline awq_status write_tensor(awq__output *output, size_t i)
{
    uint8_t data[32];
    fill_tensor(i, data);
    return awq__output_write(output, model[i].name, data, model[i].bytes);
}

static inline void write_model(fixture *f, awq__output *output)
{
    for (size_t i = 0; i < MODEL_COUNT; i++)
        check(f, write_tensor(output, i));
}

/* By which a directory is known as a result. */
#define PROVENANCE "{\"producer\": \"libawq\"}"

/* Ends a run, and removes what it has done. */
static inline void discard(fixture *f, awq__output *output)
{
    awq__output_abandon(output);
    check(f, awq__clear_directory(f->ctx, awq__output_partial(output), AWQ__LOCK_FILE));
    awq__output_free(output);
}

/* A whole output of the model above, with a config.json. */
static inline void write_checkpoint(fixture *f, const char *name, bool force, uint64_t shard_bytes)
{
    awq__output *output = begin(f, name, force, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, shard_bytes));
    write_model(f, output);
    check(f, awq__output_text(output, "config.json", "{}", 2));
    check(f, awq__output_text(output, AWQ__PROVENANCE_FILE, PROVENANCE, strlen(PROVENANCE)));
    check(f, awq__output_commit(output));
    awq__output_free(output);
}

static inline void check_model(fixture *f, const char *name)
{
    awq__checkpoint *checkpoint;
    check(f, awq__checkpoint_open(f->ctx, path_of(f, name), &checkpoint));
    assert_int_equal(awq__checkpoint_count(checkpoint), MODEL_COUNT);
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        const awq__tensor *tensor = awq__checkpoint_find(checkpoint, model[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->dtype, model[i].dtype);
        assert_int_equal(tensor->rank, model[i].rank);
        assert_memory_equal(tensor->shape, model[i].shape, (size_t)model[i].rank * sizeof(int64_t));
        assert_int_equal(tensor->bytes, model[i].bytes);
        uint8_t expected[32];
        fill_tensor(i, expected);
        assert_true(tensor_is(f->ctx, tensor, expected, model[i].bytes));
        assert_int_equal(tensor->offset % ((size_t)awq_dtype_bits(tensor->dtype) / 8), 0);
    }
    awq__checkpoint_free(checkpoint);
}

static inline int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Checks that a directory holds just these names, which are sorted and separated by spaces. */
static inline void assert_listing(fixture *f, const char *name, const char *expected)
{
    char *names[32];
    size_t count = 0;
    DIR *directory = opendir(path_of(f, name));
    assert_non_null(directory);
    const struct dirent *entry;
    while ((entry = readdir(directory)))
        if (awq__is_plain_name(entry->d_name) && count < 32)
            names[count++] = awq__strdup(f->ctx, entry->d_name);
    closedir(directory);
    qsort(names, count, sizeof *names, compare_text);
    awq__text listing = {0};
    check(f, awq__text_append(f->ctx, &listing, "%s", ""));
    for (size_t i = 0; i < count; i++) {
        check(f, awq__text_append(f->ctx, &listing, "%s%s", i ? " " : "", names[i]));
        awq__free(names[i]);
    }
    assert_string_equal(listing.data, expected);
    awq__text_free(&listing);
}

#endif
