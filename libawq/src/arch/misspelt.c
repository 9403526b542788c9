/* A key that config.json misspells is none, and a default would take its place without a word. */
#include "arch/arch.h"

#include <string.h>

#define KEYS ((int)(sizeof((awq__keys *)0)->names / sizeof((awq__keys *)0)->names[0]))
#define SHORTEST 6 /* shorter ones look alike by chance */
#define FURTHEST 2 /* letters that differ */

static bool has(const awq__keys *keys, const char *name)
{
    for (int i = 0; i < keys->count && i < KEYS; i++)
        if (!strncmp(keys->names[i], name, sizeof keys->names[i] - 1))
            return true;
    return false;
}

void awq__host_note(awq__host *host, const char *path, bool found)
{
    awq__keys *keys = found ? &host->found : &host->missed;
    char name[sizeof keys->names[0]] = "";
    size_t length = strcspn(path, ".");
    memcpy(name, path, length < sizeof name ? length : sizeof name - 1);
    if (has(keys, name))
        return;
    if (keys->count < KEYS)
        memcpy(keys->names[keys->count], name, sizeof name);
    keys->count++;
}

static bool similar(const char *a, const char *b)
{
    return strlen(a) >= SHORTEST && strlen(b) >= SHORTEST && awq__edit_distance(a, b) <= FURTHEST;
}

const char *awq__host_similar(const awq__host *host, const char *key)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, host->config) if (item->string && strcmp(item->string, key) != 0 &&
                                               !has(&host->found, item->string) &&
                                               similar(item->string, key)) return item->string;
    return NULL;
}

awq_status awq__host_misspelt(const awq__host *host, awq__text *list)
{
    if (host->found.count > KEYS) /* what is not known to have been asked for may have been */
        return AWQ_OK;
    for (int i = 0; i < host->missed.count && i < KEYS; i++) {
        const char *key = host->missed.names[i], *other = awq__host_similar(host, key);
        if (other)
            AWQ__CHECK(awq__text_append(host->ctx, list, "%s\"%s\" for \"%s\"",
                                        list->length ? ", " : "", other, key));
    }
    return AWQ_OK;
}
