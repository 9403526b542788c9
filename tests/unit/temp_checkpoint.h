/* Small checkpoints of tensors that a test has in memory. */
#ifndef TEMP_CHECKPOINT_H
#define TEMP_CHECKPOINT_H

#include "context.h"
#include "numbers.h"
#include "format/format.h"
#include "temp_files.h"

typedef struct stored_tensor {
    const char *name;
    awq_dtype dtype;
    int rank;
    int64_t shape[4];
} stored_tensor;

/* Writes a checkpoint in directory "out"; data NULL, or one of it, is zeros. */
static inline awq__checkpoint *write_checkpoint(fixture *f, const stored_tensor *tensors,
                                                const void *const *data, int count)
{
    awq__output *output;
    succeeds(f->ctx, awq__output_begin(f->ctx, path_of(f, "out"), true, &output));
    for (int i = 0; i < count; i++)
        succeeds(f->ctx, awq__output_declare(output, tensors[i].name, tensors[i].dtype,
                                             tensors[i].rank, tensors[i].shape));
    succeeds(f->ctx, awq__output_layout(output, 1 << 20));
    for (int i = 0; i < count; i++) {
        int64_t elements = 1;
        for (int r = 0; r < tensors[i].rank; r++)
            elements *= tensors[i].shape[r];
        size_t bytes = (size_t)elements * (size_t)awq_dtype_bits(tensors[i].dtype) / 8;
        void *zeros = space_for((int64_t)bytes, 1);
        succeeds(f->ctx, awq__output_write(output, tensors[i].name,
                                           data && data[i] ? data[i] : zeros, bytes));
        free(zeros);
    }
    static const char provenance[] = "{\"producer\": \"libawq\"}"; /* a second one replaces it */
    succeeds(f->ctx, awq__output_text(output, "config.json", "{}", 2));
    succeeds(f->ctx,
             awq__output_text(output, AWQ__PROVENANCE_FILE, provenance, strlen(provenance)));
    succeeds(f->ctx, awq__output_commit(output));
    awq__output_free(output);
    awq__checkpoint *checkpoint;
    succeeds(f->ctx, awq__checkpoint_open(f->ctx, path_of(f, "out"), &checkpoint));
    return checkpoint;
}

/* The tensors of the module that was opened last. */
static awq__held opened;

/* Opens a module as the loader of a layer does: finds its tensors, reads them, finds them there. */
static inline awq_status open_held(fixture *f, const awq__disk_format *format,
                                   const awq__checkpoint *checkpoint,
                                   const awq__stored_scheme *stored, const char *module,
                                   int64_t rows, int64_t cols, awq__weight *weight, bool *found)
{
    awq__held_free(&opened);
    opened = (awq__held){.ctx = f->ctx};
    awq_status status =
        format->open(f->ctx, checkpoint, &opened, stored, module, rows, cols, weight, found);
    if (status != AWQ_OK || !*found)
        return status;
    assert_null(weight->data);
    succeeds(f->ctx, awq__held_read(&opened));
    return format->open(f->ctx, checkpoint, &opened, stored, module, rows, cols, weight, found);
}

static inline void let_go(awq__checkpoint *checkpoint)
{
    awq__held_free(&opened);
    awq__checkpoint_free(checkpoint);
}

#endif
