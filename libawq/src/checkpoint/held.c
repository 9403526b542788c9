/* Tensors in memory: asked for one by one, read all at once. */
#include "checkpoint/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIGNMENT ((size_t)64)

/* A part of a tensor, of at most AWQ__READ_BLOCK bytes. */
typedef struct piece {
    size_t tensor, offset, bytes;
} piece;

/* One task reads pieces that follow one another in a file, up to AWQ__READ_BLOCK. */
typedef struct reading {
    const awq__held *held;
    piece *pieces;
    size_t *first; /* [tasks + 1] piece of each task */
    size_t count, tasks;
} reading;

/* Orders pieces as they lie on disk; where that is the same, by address. */
static int compare_places(const void *a, const void *b)
{
    const awq__tensor *x = *(const awq__tensor *const *)a, *y = *(const awq__tensor *const *)b;
    int files = strcmp(x->file, y->file);
    if (files)
        return files;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x > y) - (x < y);
}

const uint8_t *awq__held_at(awq__held *held, const awq__tensor *tensor)
{
    if (!held)
        return NULL;
    if (held->memory) {
        const awq__tensor **found =
            bsearch(&tensor, held->tensors, held->count, sizeof *held->tensors, compare_places);
        return found ? held->data[found - held->tensors] : NULL;
    }
    if (awq__grow(held->ctx, &held->tensors, &held->capacity, held->count + 1,
                  sizeof *held->tensors, "tensors to read") == AWQ_OK)
        held->tensors[held->count++] = tensor;
    else
        held->incomplete = true;
    return NULL;
}

/* ---- reading ---- */

static void sort_tensors(awq__held *held)
{
    size_t kept = 0;
    if (held->count)
        qsort(held->tensors, held->count, sizeof *held->tensors, compare_places);
    for (size_t i = 0; i < held->count; i++)
        if (!i || held->tensors[i] != held->tensors[i - 1])
            held->tensors[kept++] = held->tensors[i];
    held->count = kept;
}

/* Gives each tensor its place in memory. */
static awq_status make_room(awq__held *held)
{
    size_t total = ALIGNMENT;
    for (size_t i = 0; i < held->count; i++)
        total += (held->tensors[i]->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    held->data = awq__alloc(held->ctx, held->count, sizeof *held->data, "tensors to read");
    held->memory = held->data ? awq__alloc(held->ctx, total, 1, "weights") : NULL;
    AWQ__CHECK_ALLOC(held->memory);
    held->bytes = total;
    awq__context_count(held->ctx, (int64_t)total);
    uint8_t *at = held->memory;
    at += (ALIGNMENT - (uintptr_t)at % ALIGNMENT) % ALIGNMENT;
    for (size_t i = 0; i < held->count; i++) {
        held->data[i] = at;
        at += (held->tensors[i]->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return AWQ_OK;
}

static size_t pieces_of(const awq__tensor *tensor)
{
    return (tensor->bytes + AWQ__READ_BLOCK - 1) / AWQ__READ_BLOCK;
}

static void cut_tensor(reading *r, size_t tensor)
{
    size_t bytes = r->held->tensors[tensor]->bytes;
    for (size_t offset = 0; offset < bytes; offset += AWQ__READ_BLOCK) {
        size_t left = bytes - offset;
        r->pieces[r->count++] =
            (piece){tensor, offset, left < AWQ__READ_BLOCK ? left : AWQ__READ_BLOCK};
    }
}

static void cut_tasks(reading *r)
{
    const awq__tensor *const *tensors = r->held->tensors;
    size_t taken = 0;
    for (size_t i = 0; i < r->count; i++) {
        const piece *p = &r->pieces[i];
        if (!i || taken + p->bytes > AWQ__READ_BLOCK ||
            tensors[p->tensor]->source != tensors[r->pieces[i - 1].tensor]->source) {
            r->first[r->tasks++] = i;
            taken = 0;
        }
        taken += p->bytes;
    }
    r->first[r->tasks] = r->count;
}

static awq_status plan_reading(const awq__held *held, reading *r)
{
    size_t pieces = 0;
    for (size_t i = 0; i < held->count; i++)
        pieces += pieces_of(held->tensors[i]);
    r->pieces = awq__alloc(held->ctx, pieces, sizeof *r->pieces, "parts of tensors");
    r->first = awq__alloc(held->ctx, pieces + 1, sizeof *r->first, "parts of tensors");
    AWQ__CHECK_ALLOC(r->pieces && r->first);
    for (size_t i = 0; i < held->count; i++)
        cut_tensor(r, i);
    cut_tasks(r);
    return AWQ_OK;
}

static awq_status read_pieces(void *arg, int64_t index, int worker)
{
    const reading *r = arg;
    const awq__held *held = r->held;
    const awq__file *file = held->tensors[r->pieces[r->first[index]].tensor]->source;
    int fd;
    (void)worker;
    AWQ__CHECK(awq__file_open(held->ctx, file, &fd));
    awq_status status = AWQ_OK;
    for (size_t i = r->first[index]; i < r->first[index + 1]; i++) {
        const piece *p = &r->pieces[i];
        AWQ__TRY(awq__read_at(held->ctx, file->path, fd,
                              held->tensors[p->tensor]->offset + p->offset, p->bytes,
                              held->data[p->tensor] + p->offset));
    }
done:
    close(fd);
    return status;
}

awq_status awq__held_read(awq__held *held)
{
    reading r = {.held = held};
    sort_tensors(held);
    awq_status status;
    AWQ__TRY(held->incomplete ? AWQ_ERROR_MEMORY : make_room(held));
    AWQ__TRY(plan_reading(held, &r));
    AWQ__TRY(awq__parallel_for(held->ctx, (int64_t)r.tasks, read_pieces, &r));
done:
    awq__free(r.pieces);
    awq__free(r.first);
    if (status != AWQ_OK)
        awq__held_free(held);
    return status;
}

void awq__held_free(awq__held *held)
{
    if (held->memory)
        awq__context_count(held->ctx, -(int64_t)held->bytes);
    awq__free(held->memory);
    awq__free(held->data);
    awq__free(held->tensors);
    *held = (awq__held){.ctx = held->ctx};
}

awq_status awq__held_look(awq_context *ctx, awq__held *held, const awq__tensor *tensor,
                          size_t limit, uint8_t **copy, const uint8_t **data)
{
    *copy = NULL;
    *data = held && held->memory ? awq__held_at(held, tensor) : NULL;
    if (*data)
        return AWQ_OK;
    awq_status status = awq__tensor_copy(ctx, tensor, limit, copy);
    *data = *copy;
    return status;
}
