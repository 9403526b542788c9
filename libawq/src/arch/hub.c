/* Names of the Hugging Face Hub that stand where a directory is expected. */
#include "arch/arch.h"

#include <string.h>
#include <unistd.h>

/* The last two components of a path, OWNER/NAME, where neither it nor the directory above is there;
   else NULL. */
static const char *owner_and_name(const char *path, const char *parent)
{
    const char *slash = strrchr(path, '/'), *owner = slash;
    if (!slash || slash == path || !slash[1] || access(path, F_OK) == 0 ||
        access(parent, F_OK) == 0)
        return NULL;
    while (owner > path && owner[-1] != '/')
        owner--;
    return owner == slash || owner[0] == '.' ? NULL : owner;
}

awq_status awq__check_hub_name(awq_context *ctx, const char *path)
{
    char *parent = awq__strdup(ctx, path);
    AWQ__CHECK_ALLOC(parent);
    if (strrchr(parent, '/'))
        *strrchr(parent, '/') = 0;
    const char *name = owner_and_name(path, parent);
    awq__free(parent);
    if (!name)
        return AWQ_OK;
    return awq__fail(
        ctx, AWQ_ERROR_IO,
        "%s: there is no such directory; if %s is a repository of the Hugging Face Hub, "
        "download it first: hf download %s --local-dir DIRECTORY",
        path, name, name);
}
