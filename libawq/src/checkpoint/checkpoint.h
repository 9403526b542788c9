/*
 * A checkpoint directory on disk: safetensors files, read in parts, their
 * index, and the writing of a new one as a transaction.
 */
#ifndef AWQ__CHECKPOINT_H
#define AWQ__CHECKPOINT_H

#include "core/core.h"
#include "core/sha256.h"

#define AWQ__MAX_RANK 8

/* One stored tensor; borrowed from its file or checkpoint. Its data is little-endian, row-major,
   and on disk: awq__tensor_read, or awq__held for many tensors. */
typedef struct awq__tensor {
    const char *name;
    awq_dtype dtype;
    int rank;
    int64_t shape[AWQ__MAX_RANK];
    size_t bytes;
    const char *file;        /* path, for messages */
    const awq__file *source; /* what it lies in */
    uint64_t offset;         /* there, from the beginning of the file */
} awq__tensor;

/* Product of the shape; 1 for rank 0. */
int64_t awq__tensor_elements(const awq__tensor *tensor);
/* What copies of tensors go through memory by, and what a task of a loop reads. */
#define AWQ__READ_BLOCK ((size_t)16 << 20)
/* Its bytes from `offset` on, which must be within it. AWQ_ERROR_IO where the file has changed its
   size or cannot be read. On any thread. */
awq_status awq__tensor_read(awq_context *ctx, const awq__tensor *tensor, uint64_t offset,
                            size_t bytes, void *to);
/* The bytes of a tensor of at most `limit`, in memory that the caller frees; NULL on failure. */
awq_status awq__tensor_copy(awq_context *ctx, const awq__tensor *tensor, size_t limit,
                            uint8_t **data);
/* Have two tensors of the same size the same bytes? */
awq_status awq__tensor_compare(awq_context *ctx, const awq__tensor *a, const awq__tensor *b,
                               bool *same);

/* ---- held.c: tensors in memory ---- */

/*
 * Tensors whose bytes are in memory together: those of a layer. They are asked for one by one, then
 * read all at once, then asked for again. Zero-initialise but for ctx.
 */
typedef struct awq__held {
    awq_context *ctx;
    const awq__tensor **tensors; /* asked for; once they are read, each once, as they lie on disk */
    size_t count, capacity;
    bool incomplete; /* there was no memory to note what was asked for */
    void *memory;    /* NULL until they are read */
    size_t bytes;    /* of that */
    uint8_t **data;  /* [count] of each, aligned to 64 bytes */
} awq__held;
/* Before awq__held_read: NULL, and the tensor will be read. After it: where its bytes are, until
   awq__held_free; NULL if it was not asked for before. A `held` of NULL holds nothing. */
const uint8_t *awq__held_at(awq__held *held, const awq__tensor *tensor);
/* Reads what was asked for, on all threads. What is held is empty after a failure. */
awq_status awq__held_read(awq__held *held);
void awq__held_free(awq__held *held);
/* The bytes of a small tensor, to look at: as they are held, else read into *copy, which the caller
   frees. More than `limit` are AWQ_ERROR_FORMAT. */
awq_status awq__held_look(awq_context *ctx, awq__held *held, const awq__tensor *tensor,
                          size_t limit, uint8_t **copy, const uint8_t **data);

/* ---- safetensors.c: one file ---- */

typedef struct awq__safetensors awq__safetensors;
/* Reads the header and checks every rule of the format: its length, JSON, offsets without hole or
   overlap, sizes equal to shape times dtype, end equal to the file's. */
awq_status awq__safetensors_open(awq_context *ctx, const char *path, awq__safetensors **out);
void awq__safetensors_free(awq__safetensors *file);
size_t awq__safetensors_count(const awq__safetensors *file);
/* Sorted by name. */
const awq__tensor *awq__safetensors_at(const awq__safetensors *file, size_t index);
/* NULL if absent. */
const awq__tensor *awq__safetensors_find(const awq__safetensors *file, const char *name);

/* ---- checkpoint.c: a directory ---- */

typedef struct awq__checkpoint awq__checkpoint;
/* Opens model.safetensors, or else the shards that model.safetensors.index.json lists; where both
   exist the single file is read (as transformers does) and a warning logged. A shard outside the
   directory, a tensor that the index places in another file than the one that holds it or does not
   list, or a tensor in two files, is refused. The index's total_size is not looked at. */
awq_status awq__checkpoint_open(awq_context *ctx, const char *directory, awq__checkpoint **out);
/* Has the directory no weights at all: no safetensors file, no index of such, not even a part of a
   download, and no older format? */
awq_status awq__checkpoint_is_absent(awq_context *ctx, const char *directory, bool *absent);
void awq__checkpoint_free(awq__checkpoint *checkpoint);
const char *awq__checkpoint_directory(const awq__checkpoint *checkpoint);
size_t awq__checkpoint_count(const awq__checkpoint *checkpoint);
/* Sorted by name. */
const awq__tensor *awq__checkpoint_at(const awq__checkpoint *checkpoint, size_t index);
const awq__tensor *awq__checkpoint_find(const awq__checkpoint *checkpoint, const char *name);
/* The number of the first tensor whose name is not below `name`; the count if there is none. */
size_t awq__checkpoint_lower_bound(const awq__checkpoint *checkpoint, const char *name);
/* Sum of all tensors' bytes. */
uint64_t awq__checkpoint_bytes(const awq__checkpoint *checkpoint);

/* ---- read_ahead.c ---- */

/* Tells the system that the tensors that have the name `stem`, or begin with it and a dot, will be
   read, so that it may begin to. Returns how many these are. */
size_t awq__checkpoint_read_ahead(const awq__checkpoint *checkpoint, const char *stem);

/* ---- places.c ---- */

/* How a place lies to another. */
typedef enum awq__place {
    AWQ__PLACE_APART,
    AWQ__PLACE_SAME,
    AWQ__PLACE_WITHIN, /* it lies in the other, at any depth */
    AWQ__PLACE_HOLDS,  /* the other lies in it */
} awq__place;
/* How a lies to b. Links are followed, and what is there is told by device and inode; neither need
   be there. */
awq_status awq__place_of(awq_context *ctx, const char *a, const char *b, awq__place *place);
/* The absolute path without links of what a path leads to; what is not there is taken as written.
 *real is the caller's, by awq__free. */
awq_status awq__resolve(awq_context *ctx, const char *path, char **real);
/* The same, but a link in the last place is not followed. */
awq_status awq__resolve_name(awq_context *ctx, const char *path, char **real);

/* ---- output.c, transaction.c, replaced.c, target.c, settle.c: a new checkpoint directory as a
   transaction ---- */

/* Names of files by which a directory is known: all results have the first, and the sums, which are
   written last; the journal is there until the end. */
#define AWQ__PROVENANCE_FILE "awq_provenance.json"
#define AWQ__PRODUCER "libawq" /* as the provenance's "producer" */
#define AWQ__REPORT_FILE "awq_report.json"
#define AWQ__PAGE_FILE "awq_report.html"
#define AWQ__JOURNAL_FILE "awq_journal.json"

/* The one folder that an output may have: transformers looks there for named chat templates. */
#define AWQ__TEMPLATE_FOLDER "additional_chat_templates"

/*
 * Begin, declare every tensor, lay out, write each tensor once, add the small files,
 * commit. Work happens in DIRECTORY.partial. The headers of all shards are complete as soon as
 * awq__output_layout returns, so the partial directory can be opened as a checkpoint and
 * read where tensors have been written already.
 */
typedef struct awq__output awq__output;

/*
 * AWQ_ERROR_EXISTS if `directory` exists and is not empty, and not force; with force, if it is not
 * a result of this library, which its provenance tells, or holds a file that its checksums do not
 * list: what others made is not ours to remove. Also for a mount point.
 *
 * A DIRECTORY.partial left by an earlier run is kept as it is; one that no run has left is
 * AWQ_ERROR_EXISTS. A lock file in it keeps two runs apart (AWQ_ERROR_EXISTS while another holds
 * it). Missing parents are created. Of a run that was killed while it put its output in place, the
 * rest is done, or undone if the output was not there yet. Where `directory` leads is settled here:
 * later changes of links do not matter.
 */
awq_status awq__output_begin(awq_context *ctx, const char *directory, bool force,
                             awq__output **out);
/* What an output would find. */
typedef struct awq__place_found {
    bool replaces;  /* a result is there, which only force replaces */
    int unwritable; /* errno of why the directory around it cannot be written in; 0: it can */
} awq__place_found;
/* Without touching anything: AWQ_ERROR_EXISTS where awq__output_begin fails also with force, but
   for another run that is on; AWQ_ERROR_IO where no directory can be. */
awq_status awq__output_look(awq_context *ctx, const char *directory, awq__place_found *found);
/* Removes what an earlier run has left in the partial directory. */
awq_status awq__output_empty(awq__output *output);
/* The directory in which work happens, "DIRECTORY.partial". */
const char *awq__output_partial(const awq__output *output);
/* In the order in which they will be stored: shards follow it; within a shard, larger
   dtypes come first and then names, which keeps tensors aligned. A size or name that cannot be
   stored is AWQ_ERROR_ARGUMENT; so is a name twice, but only awq__output_layout finds it. */
awq_status awq__output_declare(awq__output *output, const char *name, awq_dtype dtype, int rank,
                               const int64_t *shape);
/*
 * Cuts the tensors into shards of at most shard_bytes of data (a larger tensor gets its own),
 * creates the files at full size with header {"format":"pt"}, and writes the index when there is
 * more than one shard. With resume, files that exist already with the same size and header are kept
 * with their data, and shards of another layout are removed. AWQ_ERROR_IO tells the bytes needed
 * when the disk is too small.
 */
awq_status awq__output_layout(awq__output *output, uint64_t shard_bytes);
/* Of all tensors that were declared. */
uint64_t awq__output_bytes(const awq__output *output);
/* The whole tensor; again replaces it. Safe from several threads for different tensors. bytes must
   be the declared size. */
awq_status awq__output_write(awq__output *output, const char *name, const void *data, size_t bytes);
/* A part of a tensor, from `offset` bytes on. The tensor is written once its parts, each written
   once, add up to it. Safe from several threads. */
awq_status awq__output_write_part(awq__output *output, const char *name, size_t offset,
                                  const void *data, size_t bytes);
/* The same from a tensor of another checkpoint, from its byte `from` on, through memory by blocks.
 */
awq_status awq__output_write_from(awq__output *output, const char *name, size_t offset,
                                  const awq__tensor *tensor, uint64_t from, size_t bytes);
/* Counts a tensor as written although this run did not: its data survived from an earlier one.
   AWQ_ERROR_FORMAT if its shard did not survive the layout: the tensor must be written again. */
awq_status awq__output_keep(awq__output *output, const char *name);
/* Where a tensor lies in its shard, whatever is there yet, to be hashed. */
awq_status awq__output_array(const awq__output *output, const char *name, awq__hashed *array);
/* Makes what was written so far durable (fsync). */
awq_status awq__output_sync(awq__output *output);
/* The same on a thread of its own, if one is to be had, which then creates or replaces a small file
   that says so, and hashes shards for awq__output_sums until it is waited for; more tensors may be
   written meanwhile. Waits for the thread before, and fails if that has failed. The name stays the
   caller's, and in place until the thread is waited for. */
awq_status awq__output_settle(awq__output *output, const char *file_name, const char *text);
/* Waits for that thread, and tells its failure. awq__output_commit and awq__output_free do it too.
 */
awq_status awq__output_wait(awq__output *output);
/* Creates or replaces a small file, durably. The name must be plain, or that of a file in the
   template folder, and not begin with ".awq-". */
awq_status awq__output_text(awq__output *output, const char *file_name, const char *text,
                            size_t bytes);
/* The same for JSON, which is checked first: what is written can be read. */
awq_status awq__output_json(awq__output *output, const char *file_name, const char *text,
                            size_t bytes);
/* Copies a file under its own name; no error if it does not exist. */
awq_status awq__output_copy(awq__output *output, const char *source_path);
/* The same under another name, as awq__output_text takes it. */
awq_status awq__output_copy_as(awq__output *output, const char *source_path, const char *file_name);
/* Checks that every declared tensor was written (else AWQ_ERROR_ARGUMENT names the first), makes
   all durable, renames to DIRECTORY, and removes journal and lock. With force an existing directory
   gives way and is removed last; where the file system can exchange two names, DIRECTORY is never
   missing. What cannot be removed then is a warning: the output is whole. */
awq_status awq__output_commit(awq__output *output);
/* Closes the files. Without a commit the partial directory stays for a later resume, unless there
   is nothing in it. Takes NULL. */
void awq__output_free(awq__output *output);

/* ---- sums.c: checksums of files ---- */

#define AWQ__SUMS_FILE "SHA256SUMS"

typedef struct awq__sum {
    char *name;                /* of a file in the directory */
    char hex[AWQ__SHA256_HEX]; /* empty until it is computed or read */
    awq__sha256 sha;           /* of what is hashed already */
    size_t bytes;              /* of the file, once that has begun */
    bool ended;                /* hex is computed, whatever was read before */
} awq__sum;
/* Sorted by name. Free with awq__sums_free, also after a failure. */
typedef struct awq__sums {
    awq__sum *list;
    size_t count, capacity;
} awq__sums;
void awq__sums_free(awq__sums *sums);
/* NULL if absent. */
const awq__sum *awq__sums_find(const awq__sums *sums, const char *name);
/* Everything in a directory but the checksums themselves, what begins with ".awq-", and `except`,
   which may be NULL. What is in the template folder counts one by one; any other folder is a name.
 */
awq_status awq__sums_list(awq_context *ctx, const char *directory, const char *except,
                          awq__sums *sums);
/* Hashes what is left of the files, several at a time, and asks the caller now and then whether to
   go on. `progress` is told, its fraction as that of the end; NULL: nothing is. */
awq_status awq__sums_compute(awq_context *ctx, const char *directory, awq__sums *sums,
                             const awq_progress *progress);
/* What SHA256SUMS of a directory says. AWQ_ERROR_FORMAT if it has another form, a name that no
   file of an output can have, or a file twice. */
awq_status awq__sums_read(awq_context *ctx, const char *directory, awq__sums *sums);
/* Writes SHA256SUMS, which has every file of the output but itself and `except`. Last of all. What
   awq__output_settle has hashed is not read again. */
awq_status awq__output_sums(awq__output *output, const char *except);

/* ---- link.c ---- */

/* AWQ_ERROR_IO if `path` is a symbolic link whose end lies neither in the directory nor among the
   blobs of a Hugging Face cache: a file that is copied as it is must be the checkpoint's own. */
awq_status awq__check_link(awq_context *ctx, const char *directory, const char *path);

#endif
