/* Tells the system which parts of a checkpoint will be read soon. */
#include "checkpoint/checkpoint.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A failure does not matter: this is advice. */
static void advise_tensor(const awq__tensor *tensor)
{
    int fd = open(tensor->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    posix_fadvise(fd, (off_t)tensor->offset, (off_t)tensor->bytes, POSIX_FADV_WILLNEED);
    close(fd);
}

size_t awq__checkpoint_read_ahead(const awq__checkpoint *checkpoint, const char *stem)
{
    size_t length = strlen(stem), advised = 0;
    const awq__tensor *tensor;
    for (size_t i = awq__checkpoint_lower_bound(checkpoint, stem);
         (tensor = awq__checkpoint_at(checkpoint, i)) && !strncmp(tensor->name, stem, length); i++)
        if (!tensor->name[length] || tensor->name[length] == '.') {
            advise_tensor(tensor);
            advised++;
        }
    return advised;
}
