/* The name of the model that a result is made from. */
#include "run/job.h"

#include <string.h>

bool awq__is_name_letter(char letter, const char *others)
{
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || (letter && strchr(others, letter));
}

/* A directory in a download cache names its repository: .../models--OWNER--NAME/snapshots/HASH.
 * NULL: it is no such directory. */
static const char *find_repository(const char *path)
{
    const char *name = strstr(path, "/models--");
    const char *end = name ? strchr(name + 1, '/') : NULL;
    return end && !strncmp(end, "/snapshots/", 11) ? name + 9 : NULL;
}

static void read_base(const char *path, char *to, bool *on_hub)
{
    const char *name = find_repository(path);
    *on_hub = name != NULL;
    for (name = name ? name : strrchr(path, '/') + 1; *name && *name != '/'; name++) {
        bool slash = *on_hub && name[0] == '-' && name[1] == '-';
        *to++ = (char)(slash ? '/' : awq__is_name_letter(*name, "._-") ? *name : '-');
        name += slash;
    }
    *to = 0;
}

awq_status awq__base_model(awq_context *ctx, const char *directory, char **name, bool *on_hub)
{
    char *real;
    AWQ__CHECK(awq__resolve(ctx, directory, &real));
    *name = awq__strdup(ctx, real); /* the name is a part of the path: it is long enough */
    if (*name)
        read_base(real, *name, on_hub);
    awq__free(real);
    return *name ? AWQ_OK : AWQ_ERROR_MEMORY;
}
