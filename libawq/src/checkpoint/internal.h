/* What the files of this folder share, for them alone. */
#ifndef AWQ__CHECKPOINT_INTERNAL_H
#define AWQ__CHECKPOINT_INTERNAL_H

#include "checkpoint/checkpoint.h"
#include "core/ggml.h"

#define AWQ__SINGLE_FILE "model.safetensors"
#define AWQ__INDEX_FILE "model.safetensors.index.json"
/* Begins the name of every file in a directory that is bookkeeping and no part of a checkpoint. */
#define AWQ__PRIVATE_PREFIX ".awq-"
#define AWQ__TEMPORARY_SUFFIX ".tmp"
/* In a directory that is worked on; held locked by the run that does. */
#define AWQ__LOCK_FILE AWQ__PRIVATE_PREFIX "lock"
#define AWQ__MAX_HEADER_BYTES 100000000
/* Larger numbers are not exact in every JSON reader. */
#define AWQ__MAX_JSON_INT (INT64_C(1) << 53)

/* ---- numbered.c: shards without an index ---- */

/* How many shards the names of files in the directory tell of; 0 if there is none. */
awq_status awq__numbered_shards(awq_context *ctx, const char *directory, int64_t *count);
#define AWQ__NUMBERED_BYTES 64
/* The name of shard 1 .. count. */
void awq__numbered_shard(int64_t shard, int64_t count, char name[AWQ__NUMBERED_BYTES]);

/* ---- layout.c: where each tensor goes ---- */

typedef struct awq__entry {
    char *name;
    awq_dtype dtype;
    int rank;
    int64_t shape[AWQ__MAX_RANK];
    size_t bytes;
    const awq__ggml_type *type; /* of GGUF, where the shape is of elements; else NULL */
    size_t shard;
    uint64_t offset;          /* from the beginning of the file */
    _Atomic uint64_t written; /* bytes */
} awq__entry;

typedef struct awq__shard {
    char *name, *path;
    awq__text header; /* from the beginning of the file to the data */
    uint64_t file_bytes;
    int fd;
    bool kept;             /* with the data of an earlier run */
    awq__entry **entries;  /* in the order of the file: a part of the layout's `stored` */
    size_t count, whole;   /* entries; how many of the first were seen to be written */
    awq__sha256 sha;       /* of the beginning of the file */
    _Atomic bool replaced; /* a tensor was written again, perhaps after it was hashed */
} awq__shard;

typedef struct awq__layout {
    awq__entry *entries; /* as declared */
    size_t count, capacity;
    awq__entry **by_name, **stored;
    awq__shard *shards;
    size_t shard_count;
    struct awq__gguf_values *gguf; /* of the model, if files are of GGUF; NULL: safetensors */
    char *name;                    /* of files of GGUF, without their ends */
} awq__layout;

/* Fills in everything but the descriptors, from the entries. */
awq_status awq__layout_cut(awq_context *ctx, awq__layout *layout, const char *directory,
                           uint64_t shard_bytes);
awq_status awq__layout_index(awq_context *ctx, const awq__layout *layout, awq__text *index);
/* NULL if absent. */
awq__entry *awq__layout_find(const awq__layout *layout, const char *name);
/* Closes the shards that are open. */
void awq__layout_free(awq__layout *layout);

/* ---- output.c ---- */

/* Declares a tensor, to any format. */
awq_status awq__output_add(awq__output *output, const char *name, awq_dtype dtype, int rank,
                           const int64_t *shape, awq__entry **entry);

/* ---- directory.c: files and directories ---- */

/* Creates a directory and its parents where they are missing, durably. */
awq_status awq__make_directories(awq_context *ctx, const char *path);
/* Removes all that a directory holds but the file `keep` at its top. Removes links, not what they
   point to; anything else than files, directories and links is refused. */
awq_status awq__clear_directory(awq_context *ctx, const char *path, const char *keep);
/* Removes a file of a directory; no error if it is not there. */
awq_status awq__remove_file(awq_context *ctx, const char *directory, const char *name);
/* Makes the names in a directory durable. */
awq_status awq__sync_directory(awq_context *ctx, const char *path);
/* The name of a file or directory in the one that holds it. */
awq_status awq__sync_parent(awq_context *ctx, const char *path);
awq_status awq__sync_file(awq_context *ctx, const char *path, int fd);
#define AWQ__PROBLEM_BYTES 128
/* Why a write failed: an errno in words, and the process's limit where it is that. */
const char *awq__write_problem(int error, char text[AWQ__PROBLEM_BYTES]);
awq_status awq__write_at(awq_context *ctx, const char *path, int fd, const void *data, size_t bytes,
                         uint64_t offset);
/* The last component of a path. */
const char *awq__base_name(const char *path);
/* Names a file of a directory without leaving it. */
bool awq__is_plain_name(const char *name);
/* Names a file that an output may have: a plain name, or that of one in the template folder. */
bool awq__is_output_name(const char *name);

/* ---- places.c ---- */

/* Cuts the last component off an absolute path; the root stays. */
void awq__climb(char *path);

/* ---- target.c: what stands where an output shall be ---- */

/* As anything, a link that leads nowhere too. */
bool awq__exists(const char *path);
/* Is path a directory (no link to one) that holds a regular file of this name? */
bool awq__holds_file(const char *path, const char *name);
/* Is path a directory that is empty, but perhaps for this? NULL: empty. */
awq_status awq__holds_nothing_but(awq_context *ctx, const char *path, const char *name,
                                  bool *nothing);
/* Is it a directory with a provenance file of this library? */
awq_status awq__is_result(awq_context *ctx, const char *directory, bool *result);
/* AWQ_ERROR_EXISTS if an output may not take the place: see awq__output_begin. */
awq_status awq__check_target(awq_context *ctx, const char *directory, bool force);

/* ---- output.c, transaction.c, replaced.c, settle.c ---- */

typedef struct awq__settling awq__settling; /* settle.c */

struct awq__output {
    awq_context *ctx;
    char *directory, *partial;
    char *parent;   /* where it will stand */
    char *replaced; /* where an existing directory is moved to */
    int lock;       /* -1 while it is not held */
    bool force;
    bool laid_out; /* the shards are there and open */
    awq__layout layout;
    awq__settling *settling; /* what a thread makes durable; NULL: nothing */
};

/* Puts the partial directory in the place of the existing one, which awq__drop_replaced then
   removes. */
awq_status awq__replace(const awq__output *output);
/* Removes what was replaced, or finishes its removal; nothing if there is none. */
awq_status awq__drop_replaced(const awq__output *output);
/* Is it marked as what was replaced? */
bool awq__is_replaced(const char *directory);
/* AWQ_ERROR_EXISTS if someone else's directory is where an existing output would be moved. */
awq_status awq__check_replaced(const awq__output *output);
/* Undoes what a run has left that was killed before its output was in place. Fails as
   awq__check_replaced. */
awq_status awq__recover_replaced(const awq__output *output);
/* Makes what was written durable and closes the shards. */
awq_status awq__output_close_shards(awq__output *output);
/* Hashes the shards from where it was left up to the first tensor that is not written yet, or until
   it is told to stop. */
awq_status awq__output_hash(awq__output *output, const _Atomic bool *stop);
/* Waits for what a thread makes durable; its failure is not told, since something else failed. */
void awq__output_abandon(awq__output *output);

#endif
