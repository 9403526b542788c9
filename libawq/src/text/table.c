/* Hash tables with open addressing, for vocabularies and merges. */
#include "text/text_internal.h"

#include <string.h>

#define EMPTY UINT64_MAX
/* At most half of the slots are in use; honest keys then need far fewer steps. */
#define MAX_STEPS 512
/* Strings with the same 64-bit hash are hashed again with another seed, so many times. */
#define MAX_TRIES 4

/* The last steps of splitmix64: every bit of the key changes every bit of the slot. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The slot of the key, or the empty one where it belongs; NULL after too many steps. */
static awq__map_slot *find_slot(awq__map_slot *slots, size_t slot_count, uint64_t key)
{
    size_t at = (size_t)mix(key);
    for (int step = 0; step < MAX_STEPS; step++, at++) {
        awq__map_slot *slot = &slots[at & (slot_count - 1)];
        if (slot->value == EMPTY || slot->key == key)
            return slot;
    }
    return NULL;
}

static awq_status colliding(awq_context *ctx, const char *name)
{
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: more hash collisions than a vocabulary has by chance", name);
}

static awq_status grow_map(awq_context *ctx, const char *name, awq__map *map)
{
    size_t slot_count = map->slot_count ? map->slot_count * 2 : 64;
    awq__map_slot *slots = awq__alloc(ctx, slot_count, sizeof *slots, "a hash table");
    AWQ__CHECK_ALLOC(slots);
    for (size_t i = 0; i < slot_count; i++)
        slots[i].value = EMPTY;
    for (size_t i = 0; i < map->slot_count; i++) {
        if (map->slots[i].value == EMPTY)
            continue;
        awq__map_slot *slot = find_slot(slots, slot_count, map->slots[i].key);
        if (!slot) {
            awq__free(slots);
            return colliding(ctx, name);
        }
        *slot = map->slots[i];
    }
    awq__free(map->slots);
    map->slots = slots;
    map->slot_count = slot_count;
    return AWQ_OK;
}

awq_status awq__map_set(awq_context *ctx, const char *name, awq__map *map, uint64_t key,
                        uint64_t value)
{
    if (map->count * 2 >= map->slot_count)
        AWQ__CHECK(grow_map(ctx, name, map));
    awq__map_slot *slot = find_slot(map->slots, map->slot_count, key);
    if (!slot)
        return colliding(ctx, name);
    map->count += slot->value == EMPTY;
    *slot = (awq__map_slot){key, value};
    return AWQ_OK;
}

bool awq__map_get(const awq__map *map, uint64_t key, uint64_t *value)
{
    if (!map->slot_count)
        return false;
    const awq__map_slot *slot = find_slot(map->slots, map->slot_count, key);
    if (!slot || slot->value == EMPTY)
        return false;
    *value = slot->value;
    return true;
}

void awq__map_free(awq__map *map)
{
    awq__free(map->slots);
    *map = (awq__map){0};
}

/* Looks for a string. Returns its item or, if it is absent, NULL and in *key where it would go;
 *full if there is no place left for it. */
static const awq__name *find_name(const awq__names *names, const char *string, size_t length,
                                  uint64_t *key, bool *full)
{
    *full = false;
    for (uint64_t try = 0; try < MAX_TRIES; try++) {
        uint64_t item;
        *key = awq__hash(mix(AWQ__HASH_SEED + try), string, length);
        if (!awq__map_get(&names->index, *key, &item))
            return NULL;
        const awq__name *name = &names->items[item];
        if (name->length == length && !memcmp(names->bytes.data + name->offset, string, length))
            return name;
    }
    *full = true;
    return NULL;
}

awq_status awq__names_add(awq_context *ctx, const char *file, awq__names *names, const char *string,
                          size_t length, int32_t id)
{
    uint64_t key;
    bool full;
    if (find_name(names, string, length, &key, &full))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: the token \"%.*s\" stands twice", file,
                         length < 64 ? (int)length : 64, string);
    if (full)
        return colliding(ctx, file);
    AWQ__CHECK(awq__grow(ctx, &names->items, &names->capacity, names->count + 1,
                         sizeof *names->items, "the vocabulary"));
    size_t offset = names->bytes.length;
    AWQ__CHECK(awq__text_append_bytes(ctx, &names->bytes, string, length));
    AWQ__CHECK(awq__map_set(ctx, file, &names->index, key, names->count));
    names->items[names->count++] = (awq__name){offset, length, id};
    if (length > names->longest)
        names->longest = length;
    return AWQ_OK;
}

int32_t awq__names_find(const awq__names *names, const char *string, size_t length)
{
    uint64_t key;
    bool full;
    const awq__name *name = find_name(names, string, length, &key, &full);
    return name ? name->id : -1;
}

void awq__names_free(awq__names *names)
{
    awq__text_free(&names->bytes);
    awq__free(names->items);
    awq__map_free(&names->index);
    *names = (awq__names){0};
}
