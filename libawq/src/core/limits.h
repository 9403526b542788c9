/* How much memory the system lets this process take. */
#ifndef AWQ__LIMITS_H
#define AWQ__LIMITS_H

#include "core/core.h"

typedef struct awq__memory_limit {
    uint64_t bytes;   /* 2^62: there is none */
    char source[192]; /* "memory.max of the memory cgroup /user.slice"; "" where there is none */
    bool asked;       /* it is the one that was asked for */
} awq__memory_limit;

/*
 * The smallest of `asked` (0: nothing is asked for) and the limits of this process's memory cgroup
 * and of those above it. If nothing is asked for, the machine's memory is a limit too.
 */
void awq__memory_limit_find(uint64_t asked, awq__memory_limit *limit);
/* Bytes of the address space that are used, as RLIMIT_AS counts them, 0 where that is not known;
   and that it leaves, INT64_MAX where it is not limited. */
size_t awq__address_space_used(void);
int64_t awq__address_space_left(void);
/* Lowers the limit to that of the cgroups, as /proc/self/cgroup and mountinfo tell of them. */
void awq__cgroup_limit(const char *cgroup_file, const char *mounts_file, awq__memory_limit *limit);

#endif
