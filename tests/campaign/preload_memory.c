/*
 * Lets allocations of a program fail. LD_PRELOAD brings it in front of the C library.
 *
 *   MEMORY_FAIL   N: allocation N fails, counted from 1 when all libraries are loaded
 *   MEMORY_LAST   with MEMORY_FAIL: the last that fails; 0: no end (N if it is not set)
 *   MEMORY_COUNT  the number of allocations is written into this file at the end
 *   MEMORY_STACKS for each allocation, a line that tells the call stack of it from others is
 * written into this file at the end
 *
 * Allocations by OpenMP's runtime and by OpenBLAS do not count: both end the program where one
 * fails, and no caller can help that.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char *const not_counted[] = {"libgomp", "libomp.", "libopenblas"};

static bool counting;
static long allocations, first_failing, last_failing; /* 0: none */

/* ---- the C library's own ---- */

#define REAL(name) static __typeof__(name) *real_##name
REAL(malloc);
REAL(calloc);
REAL(realloc);
REAL(free);
REAL(aligned_alloc);
REAL(posix_memalign);

static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    memcpy(function, &found, sizeof found);
}

/* What finding the functions itself allocates comes from here, and is never released. */
static union {
    max_align_t alignment;
    char bytes[1 << 14];
} early;
static size_t early_used;

static void *take_early(size_t bytes)
{
    void *pointer = early.bytes + early_used;
    early_used += (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (early_used > sizeof early)
        abort();
    return pointer;
}

static bool is_early(const void *pointer)
{
    return (uintptr_t)pointer - (uintptr_t)early.bytes < sizeof early;
}

/* False while the functions are being found. */
static bool is_ready(void)
{
    static bool begun;
    if (real_free)
        return true;
    if (begun)
        return false;
    begun = true;
    find(&real_malloc, "malloc");
    find(&real_calloc, "calloc");
    find(&real_realloc, "realloc");
    find(&real_aligned_alloc, "aligned_alloc");
    find(&real_posix_memalign, "posix_memalign");
    find(&real_free, "free");
    return true;
}

/* ---- who asks ---- */

typedef struct range {
    uintptr_t begin, end;
} range;

static range skipped[16];
static size_t skipped_count;

static int add_range(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    (void)user;
    bool skip = false;
    for (size_t i = 0; i < sizeof not_counted / sizeof *not_counted; i++)
        skip |= strstr(info->dlpi_name, not_counted[i]) != NULL;
    for (int i = 0; skip && i < info->dlpi_phnum && skipped_count < 16; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            skipped[skipped_count++] = (range){begin, begin + info->dlpi_phdr[i].p_memsz};
        }
    return 0;
}

/* ---- where from ---- */

enum { DEPTH = 12, OWN = 3, MOST = 1 << 22 }; /* OWN: frames of this file */

static uint64_t *stacks; /* of each allocation; NULL: not asked for */

static void begin_stacks(void)
{
    void *frames[DEPTH + OWN];
    void *space = mmap(NULL, MOST * sizeof *stacks, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        abort();
    backtrace(frames, DEPTH + OWN); /* its first call allocates */
    stacks = space;
}

static __attribute__((noinline)) void record_stack(long n)
{
    void *frames[DEPTH + OWN];
    int count = backtrace(frames, DEPTH + OWN);
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, by words */
    for (int i = OWN; i < count; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * UINT64_C(0x100000001b3);
    if (n <= MOST)
        stacks[n - 1] = hash;
}

static void write_stacks(const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return;
    for (long n = 0; n < allocations && n < MOST; n++)
        fprintf(file, "%016llx\n", (unsigned long long)stacks[n]);
    fclose(file);
}

static __attribute__((noinline)) bool fails(const void *caller)
{
    if (!counting)
        return false;
    for (size_t i = 0; i < skipped_count; i++)
        if ((uintptr_t)caller - skipped[i].begin < skipped[i].end - skipped[i].begin)
            return false;
    long n = __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    if (stacks)
        record_stack(n);
    if (!first_failing || n < first_failing || (last_failing && n > last_failing))
        return false;
    errno = ENOMEM;
    return true;
}

__attribute__((constructor)) static void begin(void)
{
    const char *first = getenv("MEMORY_FAIL"), *last = getenv("MEMORY_LAST");
    first_failing = first ? atol(first) : 0;
    last_failing = last ? atol(last) : first_failing;
    dl_iterate_phdr(add_range, NULL);
    if (getenv("MEMORY_STACKS"))
        begin_stacks();
    counting = true;
}

__attribute__((destructor)) static void end(void)
{
    counting = false;
    const char *path = getenv("MEMORY_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", allocations);
        fclose(file);
    }
    if (stacks)
        write_stacks(getenv("MEMORY_STACKS"));
}

/* ---- in front ---- */

#define CALLER __builtin_return_address(0)

void *malloc(size_t bytes)
{
    if (!is_ready())
        return take_early(bytes);
    return fails(CALLER) ? NULL : real_malloc(bytes);
}

void *calloc(size_t count, size_t size)
{
    if (!is_ready())
        return take_early(count * size);
    return fails(CALLER) ? NULL : real_calloc(count, size);
}

void *realloc(void *pointer, size_t bytes)
{
    if (is_early(pointer) || !is_ready())
        abort();
    return fails(CALLER) ? NULL : real_realloc(pointer, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    if (!is_ready())
        abort();
    return fails(CALLER) ? NULL : real_aligned_alloc(alignment, bytes);
}

void *memalign(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes)
{
    if (!is_ready())
        abort();
    return fails(CALLER) ? NULL : real_aligned_alloc(alignment, bytes);
}

int posix_memalign(void **pointer, size_t alignment, size_t bytes)
{
    if (!is_ready())
        abort();
    return fails(CALLER) ? ENOMEM : real_posix_memalign(pointer, alignment, bytes);
}

void free(void *pointer)
{
    if (pointer && !is_early(pointer) && is_ready())
        real_free(pointer);
}
