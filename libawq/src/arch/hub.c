/* Names of the Hugging Face Hub that stand where a directory is expected. */
#include "arch/arch.h"

#include <string.h>
#include <unistd.h>

/* The last two components of a path, OWNER/NAME (no file's name), where OWNER is not there, but the
   directory around it is; else NULL. `work` is a copy of the path to be cut. */
static const char *owner_and_name(const char *path, char *work)
{
    char *name = strrchr(work, '/');
    if (!name || !name[1] || awq__ends_with(path, ".json") || awq__ends_with(path, ".gguf"))
        return NULL;
    *name = 0;
    char *owner = strrchr(work, '/');
    size_t first = owner ? (size_t)(owner - work) + 1 : 0;
    if (!work[first] || work[first] == '.' || access(work, F_OK) == 0)
        return NULL;
    if (owner)
        *owner = 0;
    return !owner || owner == work || access(work, F_OK) == 0 ? path + first : NULL;
}

awq_status awq__check_hub_name(awq_context *ctx, const char *path)
{
    char *work = awq__strdup(ctx, path);
    AWQ__CHECK_ALLOC(work);
    const char *name = owner_and_name(path, work);
    awq__free(work);
    if (!name)
        return AWQ_OK;
    return awq__fail(
        ctx, AWQ_ERROR_IO,
        "%s: there is no such directory; if %s is a repository of the Hugging Face Hub, "
        "download it first: hf download %s --local-dir DIRECTORY",
        path, name, name);
}
