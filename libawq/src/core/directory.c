/* The names in a directory. */
#include "core/core.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

awq_status awq__system_status(int error)
{
    return error == ENOMEM ? AWQ_ERROR_MEMORY : AWQ_ERROR_IO;
}

awq_status awq__cannot_list(awq_context *ctx, const char *path, int error)
{
    return awq__fail(ctx, awq__system_status(error), "%s: cannot be listed: %s", path,
                     strerror(error));
}

awq_status awq__list_directory(awq_context *ctx, const char *path, awq__name_fn see, void *user)
{
    awq_status status = AWQ_OK;
    DIR *directory = opendir(path);
    if (!directory)
        return awq__cannot_list(ctx, path, errno);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry && errno)
            AWQ__TRY(awq__cannot_list(ctx, path, errno));
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            AWQ__TRY(see(user, entry->d_name));
    }
done:
    closedir(directory);
    return status;
}
