/*
 * Starting again: OpenBLAS reads the environment when it is loaded, before main. Where it must be
 * told something, this program changes its environment and takes its own place, once.
 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SELF "/proc/self/exe"
#define CORE_TYPE "OPENBLAS_CORETYPE"
#define STARTED_AGAIN "AWQC_STARTED_AGAIN"

/* ---- kernels that fit the processor: from main ---- */

int fit_kernels(char **argv, bool quiet)
{
    awq_compute_info info;
    awq_compute_describe(&info);
    bool again = getenv(STARTED_AGAIN) != NULL;
    unsetenv(STARTED_AGAIN);
    if (!info.better_core[0] || getenv(CORE_TYPE) || again)
        return DONE;
    if (!quiet)
        fprintf(
            stderr,
            "awqc: %s does not know this processor and took kernels for %s; starting again with "
            "those for %s\n",
            info.blas, info.core, info.better_core);
    if (setenv(CORE_TYPE, info.better_core, 1) == 0 && setenv(STARTED_AGAIN, "1", 1) == 0)
        execv(SELF, argv);
    print_error(
        "cannot start again with kernels for this processor: %s; it does without where " CORE_TYPE
        "=%s is set",
        strerror(errno), info.better_core);
    return FAILED;
}

/* ---- a limited address space: before OpenBLAS is loaded ---- */

/* A sanitizer takes more addresses than any limit, and is not there yet at this moment. */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define BUFFER_BYTES ((rlim_t)128 << 20) /* what OpenBLAS maps for each of its threads */
#define THREAD_BYTES (BUFFER_BYTES + ((rlim_t)72 << 20)) /* and its stack, and malloc's arena */
#define OTHER_BYTES ((rlim_t)96 << 20)                   /* program and libraries */

enum { MOST_NEW = 2, NUMBER_BYTES = 64 };

static const char *value_of(char **environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment; environment++)
        if (!strncmp(*environment, name, length) && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* The environment with `assignment` in it: a new array. The other texts are the old ones. */
static char **with(char **environment, char *assignment)
{
    size_t count = 0, name = strcspn(assignment, "=") + 1, kept = 1;
    while (environment[count])
        count++;
    char **changed = malloc((count + 2) * sizeof *changed);
    if (!changed)
        return NULL;
    changed[0] = assignment;
    for (size_t i = 0; i < count; i++)
        if (strncmp(environment[i], assignment, name) != 0)
            changed[kept++] = environment[i];
    changed[kept] = NULL;
    return changed;
}

static void start_with(char **argv, char **environment, char *assignment)
{
    char **changed = with(environment, assignment);
    if (changed)
        execve(SELF, argv, changed);
    fprintf(stderr,
            "awqc: error: cannot start again with %s, as a limited address space needs: %s\n",
            assignment, strerror(errno));
    _exit(FAILED);
}

/* OpenBLAS of POSIX threads starts as many threads as there are processors, of which each maps its
   buffer: where it cannot, it tries for ever, and the process never ends. They have nothing to do.
 */
static void start_without_threads(char **argv, char **environment)
{
    static char assignment[] = "OPENBLAS_NUM_THREADS=1";
    const char *value = value_of(environment, "OPENBLAS_NUM_THREADS");
    if (!value || strcmp(value, "1") != 0)
        start_with(argv, environment, assignment);
}

/* OpenBLAS of OpenMP maps a buffer for each thread that OpenMP may start, and keeps one of them. */
static void start_with_fewer_threads(char **argv, char **environment, rlim_t limit)
{
    static char assignment[NUMBER_BYTES];
    const char *value = value_of(environment, "OMP_NUM_THREADS");
    if (limit < OTHER_BYTES + BUFFER_BYTES) {
        fprintf(
            stderr,
            "awqc: error: the address space is limited to %llu kB (ulimit -v), in which OpenBLAS "
            "cannot be loaded: at least %llu kB are needed\n",
            (unsigned long long)limit >> 10,
            (unsigned long long)(OTHER_BYTES + BUFFER_BYTES) >> 10);
        _exit(FAILED);
    }
    rlim_t room = (limit - OTHER_BYTES) / THREAD_BYTES;
    room = room > 1 ? room - 1 : 1;
    rlim_t wanted = value ? strtoull(value, NULL, 10) : (rlim_t)sysconf(_SC_NPROCESSORS_CONF);
    snprintf(assignment, sizeof assignment, "OMP_NUM_THREADS=%llu", (unsigned long long)room);
    if (wanted > room)
        start_with(argv, environment, assignment);
}

static void begin_within_limits(int argc, char **argv, char **environment)
{
    (void)argc;
    struct rlimit limit;
    awq_compute_info info;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    awq_compute_describe(&info);
    if (!strcmp(info.threading, "OpenMP"))
        start_with_fewer_threads(argv, environment, limit.rlim_cur);
    else
        start_without_threads(argv, environment);
}

/* What stands here is called once all libraries are there, and before they begin. */
__attribute__((section(".preinit_array"),
               used)) static void (*const before_libraries)(int, char **,
                                                            char **) = begin_within_limits;
#endif
