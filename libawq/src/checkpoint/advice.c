/* Tells the system what of a mapped checkpoint will be read soon, and what is done with. */
#define _DEFAULT_SOURCE /* madvise: glibc's posix_madvise does nothing for what is done with */

#include "checkpoint/checkpoint.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Whole pages. That it may fail does not matter: it is advice. */
static void advise_tensor(const awq__tensor *tensor, int advice)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (size_t)(uintptr_t)tensor->data % page;
    if (tensor->bytes)
        madvise((void *)((uintptr_t)tensor->data - before), tensor->bytes + before, advice);
}

size_t awq__checkpoint_advise(const awq__checkpoint *checkpoint, const char *stem,
                              awq__advice advice)
{
    size_t length = strlen(stem), advised = 0;
    const awq__tensor *tensor;
    for (size_t i = awq__checkpoint_lower_bound(checkpoint, stem);
         (tensor = awq__checkpoint_at(checkpoint, i)) && !strncmp(tensor->name, stem, length); i++)
        if (!tensor->name[length] || tensor->name[length] == '.') {
            advise_tensor(tensor, advice == AWQ__ADVICE_SOON ? MADV_WILLNEED : MADV_DONTNEED);
            advised++;
        }
    return advised;
}
