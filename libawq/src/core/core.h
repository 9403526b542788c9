/*
 * The ground floor: context and error record, allocation, checked arithmetic,
 * number formats, parallel loops. Includes nothing of ours but the public types.
 */
#ifndef AWQ__CORE_H
#define AWQ__CORE_H

#include "awq/types.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are little-endian and are read and written as they lie in memory"
#endif

#if defined(__GNUC__)
#define AWQ__PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define AWQ__PRINTF(format_index, first)
#endif

/*
 * Steps that may fail, in a function that returns awq_status. The first failure ends the steps.
 * AWQ__TRY keeps it in `status` and goes to the function's one label, `done:`. Behind that label
 * the function frees what it owns, after success and after failure. AWQ__CHECK returns the failure
 * at once; it is for functions with nothing to free. The _ALLOC forms do the same where an
 * allocation gave NULL.
 */
#define AWQ__TRY(step)                                                                             \
    do {                                                                                           \
        status = (step);                                                                           \
        if (status != AWQ_OK)                                                                      \
            goto done;                                                                             \
    } while (0)
#define AWQ__CHECK(step)                                                                           \
    do {                                                                                           \
        awq_status awq__checked = (step);                                                          \
        if (awq__checked != AWQ_OK)                                                                \
            return awq__checked;                                                                   \
    } while (0)
#define AWQ__TRY_ALLOC(pointer) AWQ__TRY((pointer) ? AWQ_OK : AWQ_ERROR_MEMORY)
#define AWQ__CHECK_ALLOC(pointer) AWQ__CHECK((pointer) ? AWQ_OK : AWQ_ERROR_MEMORY)

typedef struct awq_context awq_context;
struct awq__compute;
struct awq__backend;
struct awq__gpu;

/* ---- message.c: errors and log ---- */

/*
 * Records a failure and returns its status. The message is one line that names
 * the file, key or tensor, what was found and what would be right. Within
 * awq__parallel_for the failure of the lowest task wins, whatever the timing;
 * elsewhere the latest call does. Safe on any thread.
 */
awq_status awq__fail(awq_context *ctx, awq_status status, const char *format, ...)
    AWQ__PRINTF(3, 4);
/* The status of the failure that the message tells; AWQ_OK if there is none. */
awq_status awq__failure(const awq_context *ctx);
void awq__clear(awq_context *ctx); /* forgets the last failure */
typedef struct awq__argument {
    const char *name;
    const void *value;
} awq__argument;
/* Where a public function begins: forgets the last failure. AWQ_ERROR_ARGUMENT if the context is
   NULL, without a message, or if an argument is NULL; the message names it. `arguments` ends with
   one that has no name; NULL is an empty list. */
awq_status awq__enter(awq_context *ctx, const char *function, const awq__argument *arguments);
/* Where a public function ends: after success there is no message, whatever was tried before. */
awq_status awq__leave(awq_context *ctx, awq_status status);
/*
 * Reads a struct of options that begins with its size, from a program that was compiled with an
 * older or newer version. `size` is the present size of *options. A shorter struct leaves the rest
 * 0, every member's default. In a longer struct the rest must be 0. AWQ_ERROR_ARGUMENT for a size
 * that no version can have: 8 bytes or fewer, no multiple of 8, or over a kibibyte. A new member
 * must begin behind the former size, because padding at the end of a struct may hold anything.
 */
awq_status awq__read_options(awq_context *ctx, const char *name, const void *given, size_t size,
                             void *options);
void awq__log(awq_context *ctx, awq_log_level level, const char *format, ...) AWQ__PRINTF(3, 4);

/* ---- progress.c ---- */

/* AWQ_OK, or AWQ_ERROR_CANCELLED (recorded) when the caller's callback says so. The stage's name is
   borrowed: loops report it again. */
awq_status awq__progress(awq_context *ctx, const awq_progress *progress);
/* For parallel.c, on the thread that called the library: reports the latest progress again, with
   the time that has passed, if that was some time ago. False if the caller's callback cancels. */
bool awq__progress_again(awq_context *ctx);
/* Records that the callback cancelled, in the stage of the latest progress. */
awq_status awq__cancelled(awq_context *ctx);
double awq__now_seconds(void);

/* ---- context.c ---- */

#define AWQ__MAX_THREADS 1024
int awq__threads(const awq_context *ctx);
/* True at its first call for this context. */
bool awq__context_begins(awq_context *ctx);
/* For blas.c: no more than these, whatever is asked for. */
void awq__context_limit_threads(awq_context *ctx, int most_threads);

/* Plugin paths and linked-in plugins, kept here for src/arch. */
typedef struct awq__plugin_sources {
    char **paths; /* files or directories, in the order they were added */
    size_t path_count;
    const void **linked; /* const awq_plugin * */
    size_t linked_count;
} awq__plugin_sources;
awq__plugin_sources *awq__context_plugins(awq_context *ctx);

/* ---- arrays.c ---- */

/*
 * Bytes of arrays (awq__alloc_aligned, awq__held) that the context has now, and had at most. The
 * limit is a goal, not a bound: a loop has as many workers as their work space has room for, but at
 * least one.
 */
void awq__context_count(awq_context *ctx, int64_t bytes);
int64_t awq__context_most_bytes(const awq_context *ctx);
void awq__context_limit_bytes(awq_context *ctx, int64_t bytes);
/* For blas.c: how many bytes of arrays a run will have at least, where its address space is
   limited. */
void awq__context_expect_bytes(awq_context *ctx, int64_t bytes);
int64_t awq__context_expected_bytes(const awq_context *ctx);
/* What the goal leaves: INT64_MAX where there is none, never below 0. */
int64_t awq__context_left_bytes(const awq_context *ctx);
/* What a loop's workers may take together: AWQ__WORK_BYTES, or what the goal leaves. */
size_t awq__context_work_bytes(const awq_context *ctx);

/* Where arrays of numbers are: that of the backend that works on them. On any thread. */
typedef struct awq__memory {
    void *(*allocate)(size_t bytes); /* aligned to 64 bytes, not zeroed; NULL if there is no more */
    void (*release)(void *array);
} awq__memory;
extern const awq__memory awq__system_memory; /* alloc.c */
/* For src/compute and src/backend: see awq__compute_use, awq__backend_use. NULL until then. */
void awq__context_set_compute(awq_context *ctx, const struct awq__compute *compute);
void awq__context_set_backend(awq_context *ctx, const struct awq__backend *backend,
                              const awq__memory *memory);
const struct awq__backend *awq__context_backend(const awq_context *ctx);
/* The device of a backend that works on one: for src/backend. NULL: none. */
void awq__context_set_device(awq_context *ctx, struct awq__gpu *device);
struct awq__gpu *awq__context_device(const awq_context *ctx);
const struct awq__compute *awq__context_compute(const awq_context *ctx);
const awq__memory *awq__context_memory(const awq_context *ctx);

/* ---- alloc.c ---- */

/* Zeroed; NULL with AWQ_ERROR_MEMORY recorded, also where count * size overflows.
   A count of 0 gives a valid pointer. `what` names the thing in the message. */
void *awq__alloc(awq_context *ctx, size_t count, size_t size, const char *what);
/* For arrays that a backend's operations work on, in its memory: aligned to 64 bytes and not
   zeroed. */
void *awq__alloc_aligned(awq_context *ctx, size_t count, size_t size, const char *what);
/* The same in the memory of the host, whatever the backend's is. */
void *awq__alloc_host(awq_context *ctx, size_t count, size_t size, const char *what);
/* Of the two above; NULL is fine. */
void awq__free_aligned(void *array);
/* Of the others; NULL is fine. */
void awq__free(void *pointer);
/* Returns to the system what was freed, of which threads keep up to 64 MB each. */
void awq__give_back(void);
/* Grows *array (elements of `size` bytes) so that it holds at least `count`. */
awq_status awq__grow(awq_context *ctx, void *array, size_t *capacity, size_t count, size_t size,
                     const char *what);

/* ---- string.c ---- */

bool awq__ends_with(const char *text, const char *end);

char *awq__strdup(awq_context *ctx, const char *text);
char *awq__format(awq_context *ctx, const char *format, ...) AWQ__PRINTF(2, 3);
/* "a/b" from "a" and "b"; b alone when it is absolute. NULL on failure. */
char *awq__path_join(awq_context *ctx, const char *dir, const char *name);

/* A growing, always NUL-terminated text. Zero-initialise; data may be NULL while empty. */
typedef struct awq__text {
    char *data;
    size_t length, capacity;
} awq__text;
awq_status awq__text_append(awq_context *ctx, awq__text *text, const char *format, ...)
    AWQ__PRINTF(3, 4);
awq_status awq__text_append_bytes(awq_context *ctx, awq__text *text, const char *data,
                                  size_t length);
void awq__text_free(awq__text *text);

/* ---- dtype.c ---- */

/* The type of a name in a safetensors header; AWQ_DTYPE_COUNT if it is none of ours. */
awq_dtype awq__dtype_from_name(const char *name);

/* ---- spelling.c ---- */

/* Levenshtein distance of the first 63 bytes: enough to tell which name was meant. */
size_t awq__edit_distance(const char *a, const char *b);

/* ---- checked arithmetic ---- */

static inline bool awq__mul_overflows(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}
static inline bool awq__add_overflows(size_t a, size_t b, size_t *sum)
{
    return __builtin_add_overflow(a, b, sum);
}
static inline int64_t awq__min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t awq__max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t awq__ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ---- hash.c ---- */

#define AWQ__HASH_SEED UINT64_C(0)
/* XXH3, 64 bits (Collet): tells data apart, but is no protection against forgery. A hash may be the
   seed of the next. */
uint64_t awq__hash(uint64_t seed, const void *data, size_t bytes);
/* An array to hash, in memory or, where data is NULL, in an open file. */
typedef struct awq__hashed {
    const uint8_t *data;
    int fd;
    uint64_t offset;  /* in the file */
    const char *path; /* of the file, for messages */
    size_t bytes;
    uint64_t hash; /* the outcome */
} awq__hashed;
/* Hashes large arrays, on all threads. An array's hash is the hash of the hashes of its blocks of
   16 MiB, with its size as the seed. */
awq_status awq__hash_arrays(awq_context *ctx, awq__hashed *arrays, size_t count);
/* The next number of a splitmix64 sequence (Steele, Lea, Flood 2014). */
uint64_t awq__random(uint64_t *state);

/* ---- parallel.c ---- */

/*
 * Runs task(arg, index, worker) for index 0 .. count-1 on the context's threads.
 * Tasks start in rising order; `worker` is below awq__threads(ctx) and selects
 * private work space. After a failure at index i no task above i is begun, and every task below
 * still runs. The failure of the lowest index is returned, so that it does not depend on timing. An
 * outermost loop calls the caller's progress callback now and then, between tasks; if that cancels,
 * no further task is begun, and the loop fails.
 * What a task computes must depend on its index alone. A loop inside a task runs on that task's
 * thread, and its failures count as the task's.
 */
typedef awq_status (*awq__task_fn)(void *arg, int64_t index, int worker);
awq_status awq__parallel_for(awq_context *ctx, int64_t count, awq__task_fn task, void *arg);
/* What workers of a loop take together where memory is not limited. */
#define AWQ__WORK_BYTES ((size_t)1 << 30)
typedef struct awq__scratch awq__scratch;
/*
 * The same for tasks whose workers ask the scratch for so many floats: on as many threads as have
 * room, but at least one. If that is one, the loops inside the tasks have all threads.
 */
awq_status awq__parallel_scratch(awq__scratch *scratch, size_t floats, int64_t count,
                                 awq__task_fn task, void *arg);
/*
 * For tasks that consist of loops, and whose workers need `bytes` each. If there are fewer tasks
 * than threads, or room for fewer, they run one after the other, and the loops inside them have all
 * threads.
 */
awq_status awq__parallel_nested(awq_context *ctx, size_t bytes, int64_t count, awq__task_fn task,
                                void *arg);

/* ---- turns.c ---- */

/*
 * Lets the tasks of a loop do one part of their work in the order of their indices: a task waits
 * for its place, does that part, and passes on. Queues are independent of each other. Places of a
 * queue count from 0 and must rise with the tasks. A task that fails must call awq__turns_fail, or
 * the tasks behind it would wait for ever.
 */
typedef struct awq__turns {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int64_t *next;  /* the place of each queue whose turn it is */
    int64_t failed; /* the lowest task that failed; INT64_MAX: none */
} awq__turns;
awq_status awq__turns_create(awq_context *ctx, int64_t queues, awq__turns *turns);
/* Takes a cleared one too. */
void awq__turns_free(awq__turns *turns);
/* False if a task below has failed and the turn does not come: then this one fails too, and the
   loop tells the failure of the one below. */
bool awq__turns_wait(awq__turns *turns, int64_t queue, int64_t place, int64_t task);
/* Moves the queue's turn on by so many places. */
void awq__turns_pass(awq__turns *turns, int64_t queue, int64_t places);
void awq__turns_fail(awq__turns *turns, int64_t task);

/* ---- scratch.c ---- */

typedef struct awq__work_space {
    float *floats;
    size_t capacity;
} awq__work_space;
/* Work space of a loop's workers, made when a worker first asks for it. */
struct awq__scratch {
    awq_context *ctx;
    const char *what; /* for messages */
    int workers;
    bool host; /* in the host's memory, not the backend's */
    awq__work_space *spaces;
};
awq_status awq__scratch_create(awq_context *ctx, const char *what, awq__scratch *scratch);
/* Aligned to 64 bytes, not cleared; valid until the worker asks for more than before. NULL, with
   the failure recorded, when memory is short. */
float *awq__scratch_get(awq__scratch *scratch, int worker, size_t floats);
/* Takes a cleared one too. */
void awq__scratch_free(awq__scratch *scratch);
/* Cuts work space into parts of so many floats, each aligned as `base` is, up to 64 bytes; returns
   the floats of all. base NULL: each part is NULL. */
size_t awq__cut_space(float *base, const int64_t *sizes, float **const *parts, int count);

/* ---- directory.c ---- */

/* Of a call of the system that has failed: AWQ_ERROR_MEMORY for ENOMEM, else AWQ_ERROR_IO. */
awq_status awq__system_status(int error);
/* Tells that a directory cannot be listed, for this errno. */
awq_status awq__cannot_list(awq_context *ctx, const char *path, int error);
typedef awq_status (*awq__name_fn)(void *user, const char *name);
/* Calls `see` for each name in a directory but "." and "..", in any order, until it fails. */
awq_status awq__list_directory(awq_context *ctx, const char *path, awq__name_fn see, void *user);

/* ---- file.c ---- */

/* Opens a regular file and tells its size. Returns the descriptor, or -1 with AWQ_ERROR_IO
 * recorded.
 */
int awq__open_file(awq_context *ctx, const char *path, size_t *size);
/* A regular file that is read in parts. It is opened for each, so that a model of a thousand files
   takes no descriptors. It is never mapped: one that shrinks or fails while it is read is an error,
   where a map would end the process. */
typedef struct awq__file {
    char *path;
    uint64_t size; /* when it was found; another later is AWQ_ERROR_IO */
} awq__file;
/* Free with awq__file_free, also after a failure. */
awq_status awq__file_find(awq_context *ctx, const char *path, awq__file *file);
void awq__file_free(awq__file *file);
/* *fd is the caller's to close; -1 after a failure. */
awq_status awq__file_open(awq_context *ctx, const awq__file *file, int *fd);
/* AWQ_ERROR_IO tells the file, the offset, and the bytes wanted and found. On any thread. */
awq_status awq__read_at(awq_context *ctx, const char *path, int fd, uint64_t offset, size_t bytes,
                        void *to);
/* All three: opens, reads, closes. */
awq_status awq__file_read(awq_context *ctx, const awq__file *file, uint64_t offset, size_t bytes,
                          void *to);
/* Whole file, NUL-terminated; at most `limit` bytes, else AWQ_ERROR_FORMAT. */
awq_status awq__read_text_file(awq_context *ctx, const char *path, size_t limit, char **text,
                               size_t *bytes);
bool awq__is_file(const char *path);
/* Its size; 0 if it is not there. */
int64_t awq__file_bytes(const char *path);
bool awq__is_directory(const char *path);
bool awq__is_link(const char *path);

#endif
