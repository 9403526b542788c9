/* A checkpoint directory: one safetensors file, shards with an index that agrees with them, or a
 * whole set of shards without an index. */
#include "checkpoint/internal.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

struct awq__checkpoint {
    char *directory;
    awq__safetensors **files;
    size_t file_count;
    const awq__tensor **tensors; /* of all files, sorted by name */
    size_t count;
    uint64_t bytes;
};

/* One line of the index; both strings belong to its JSON. */
typedef struct place {
    const char *tensor, *file;
} place;

static int compare_tensors(const void *a, const void *b)
{
    const awq__tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_place_tensors(const void *a, const void *b)
{
    return strcmp(((const place *)a)->tensor, ((const place *)b)->tensor);
}

static int compare_place_files(const void *a, const void *b)
{
    return strcmp(((const place *)a)->file, ((const place *)b)->file);
}

static awq_status open_file(awq_context *ctx, awq__checkpoint *checkpoint, const char *name)
{
    char *path = awq__path_join(ctx, checkpoint->directory, name);
    AWQ__CHECK_ALLOC(path);
    awq_status status;
    AWQ__TRY(awq__safetensors_open(ctx, path, &checkpoint->files[checkpoint->file_count]));
    checkpoint->file_count++;
done:
    awq__free(path);
    return status;
}

/* Gathers the tensors of all files, sorted by name. No two files may have a tensor of the same
 * name. */
static awq_status gather(awq_context *ctx, awq__checkpoint *checkpoint)
{
    size_t count = 0;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        count += awq__safetensors_count(checkpoint->files[i]);
    const awq__tensor **tensors = awq__alloc(ctx, count, sizeof *tensors, "tensors of a model");
    AWQ__CHECK_ALLOC(tensors);
    checkpoint->tensors = tensors;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        for (size_t j = 0; j < awq__safetensors_count(checkpoint->files[i]); j++) {
            const awq__tensor *tensor = awq__safetensors_at(checkpoint->files[i], j);
            tensors[checkpoint->count++] = tensor;
            checkpoint->bytes += tensor->bytes;
        }
    qsort(tensors, count, sizeof *tensors, compare_tensors);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(tensors[i - 1]->name, tensors[i]->name))
            return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: tensor \"%s\": stands in both %s and %s",
                             checkpoint->directory, tensors[i]->name,
                             awq__base_name(tensors[i - 1]->file),
                             awq__base_name(tensors[i]->file));
    return AWQ_OK;
}

static awq_status open_single(awq_context *ctx, awq__checkpoint *checkpoint)
{
    checkpoint->files = awq__alloc(ctx, 1, sizeof(awq__safetensors *), "a file of a model");
    AWQ__CHECK_ALLOC(checkpoint->files);
    AWQ__CHECK(open_file(ctx, checkpoint, AWQ__SINGLE_FILE));
    return gather(ctx, checkpoint);
}

/* Lists the index; *out is the caller's to free. */
static awq_status read_places(awq_context *ctx, const char *path, const cJSON *root, place **out,
                              size_t *count)
{
    *out = NULL;
    *count = 0;
    const cJSON *map = cJSON_IsObject(root) ? awq__json_at(root, "weight_map") : NULL;
    if (!cJSON_IsObject(map))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: weight_map is missing or not an object", path);
    size_t entries = 0;
    for (const cJSON *item = map->child; item; item = item->next)
        entries++;
    place *places = *out = awq__alloc(ctx, entries, sizeof *places, "the index of a model");
    AWQ__CHECK_ALLOC(places);
    for (const cJSON *item = map->child; item; item = item->next) {
        if (!cJSON_IsString(item))
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: weight_map: the file of \"%s\" is not a string", path,
                             item->string);
        if (!awq__is_plain_name(item->valuestring))
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: weight_map: \"%s\" is placed in \"%s\", which is not the plain "
                             "name of a file in the same directory",
                             path, item->string, item->valuestring);
        places[(*count)++] = (place){item->string, item->valuestring};
    }
    return AWQ_OK;
}

/* Opens each file that the index names once. Sorts the places by file. */
static awq_status open_shards(awq_context *ctx, awq__checkpoint *checkpoint, const char *index,
                              place *places, size_t count)
{
    checkpoint->files = awq__alloc(ctx, count, sizeof(awq__safetensors *), "files of a model");
    AWQ__CHECK_ALLOC(checkpoint->files);
    qsort(places, count, sizeof *places, compare_place_files);
    for (size_t i = 0; i < count; i++) {
        if (i && !strcmp(places[i - 1].file, places[i].file))
            continue;
        char *path = awq__path_join(ctx, checkpoint->directory, places[i].file);
        AWQ__CHECK_ALLOC(path);
        bool there = awq__is_file(path);
        awq__free(path);
        if (!there)
            return awq__fail(ctx, AWQ_ERROR_IO,
                             "%s: weight_map: \"%s\" is placed in \"%s\", which is not there",
                             index, places[i].tensor, places[i].file);
        AWQ__CHECK(open_file(ctx, checkpoint, places[i].file));
    }
    return AWQ_OK;
}

/* Index and files must place every tensor in the same file. Sorts the places by tensor. */
static awq_status compare_with_index(awq_context *ctx, const awq__checkpoint *checkpoint,
                                     const char *index, place *places, size_t count)
{
    qsort(places, count, sizeof *places, compare_place_tensors);
    size_t i = 0, j = 0;
    while (i < count || j < checkpoint->count) {
        const awq__tensor *tensor = j < checkpoint->count ? checkpoint->tensors[j] : NULL;
        int order = i == count ? 1 : !tensor ? -1 : strcmp(places[i].tensor, tensor->name);
        if (order < 0)
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: weight_map: \"%s\" is placed in \"%s\", and no file holds it",
                             index, places[i].tensor, places[i].file);
        if (order > 0)
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: tensor \"%s\": not listed in the weight_map of %s", tensor->file,
                             tensor->name, awq__base_name(index));
        if (strcmp(places[i].file, awq__base_name(tensor->file)))
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: weight_map: \"%s\" is placed in \"%s\", but \"%s\" holds it",
                             index, tensor->name, places[i].file, awq__base_name(tensor->file));
        i++;
        j++;
    }
    return AWQ_OK;
}

static awq_status open_index(awq_context *ctx, awq__checkpoint *checkpoint, const char *path)
{
    cJSON *root = NULL;
    place *places = NULL;
    size_t count = 0;
    awq_status status;
    AWQ__TRY(awq__json_read(ctx, path, &root));
    AWQ__TRY(read_places(ctx, path, root, &places, &count));
    AWQ__TRY(open_shards(ctx, checkpoint, path, places, count));
    AWQ__TRY(gather(ctx, checkpoint));
    AWQ__TRY(compare_with_index(ctx, checkpoint, path, places, count));
done:
    awq__free(places);
    cJSON_Delete(root);
    return status;
}

/* A file's name can claim any number of shards: the files are looked for before memory is taken for
 * so many. */
static awq_status look_for_numbered(awq_context *ctx, const awq__checkpoint *checkpoint,
                                    int64_t count)
{
    for (int64_t i = 1; i <= count; i++) {
        char name[AWQ__NUMBERED_BYTES];
        awq__numbered_shard(i, count, name);
        char *path = awq__path_join(ctx, checkpoint->directory, name);
        AWQ__CHECK_ALLOC(path);
        bool there = awq__is_file(path);
        awq__free(path);
        if (!there)
            return awq__fail(ctx, AWQ_ERROR_IO, "%s: %s is not there, one of %lld files of weights",
                             checkpoint->directory, name, (long long)count);
    }
    return AWQ_OK;
}

/* Shards without an index: their headers name all tensors. */
static awq_status open_numbered(awq_context *ctx, awq__checkpoint *checkpoint, int64_t count)
{
    AWQ__CHECK(look_for_numbered(ctx, checkpoint, count));
    checkpoint->files =
        awq__alloc(ctx, (size_t)count, sizeof(awq__safetensors *), "files of a model");
    AWQ__CHECK_ALLOC(checkpoint->files);
    for (int64_t i = 1; i <= count; i++) {
        char name[AWQ__NUMBERED_BYTES];
        awq__numbered_shard(i, count, name);
        AWQ__CHECK(open_file(ctx, checkpoint, name));
    }
    return gather(ctx, checkpoint);
}

/* The pickled weights of older checkpoints. */
static bool is_pickle(const char *name)
{
    size_t length = strlen(name);
    return !strncmp(name, "pytorch_model", 13) && length > 4 && !strcmp(name + length - 4, ".bin");
}

/* A file of weights, an index, or a partial download of one. */
static bool is_of_weights(const char *name)
{
    return strstr(name, ".safetensors") || is_pickle(name);
}

/* Which kinds of names a directory has. */
typedef struct names_found {
    bool weights, pickles;
} names_found;

static awq_status look_at(void *user, const char *name)
{
    names_found *found = user;
    found->weights |= is_of_weights(name);
    found->pickles |= is_pickle(name);
    return AWQ_OK;
}

awq_status awq__checkpoint_is_absent(awq_context *ctx, const char *directory, bool *absent)
{
    names_found found = {0};
    *absent = false;
    AWQ__CHECK(awq__list_directory(ctx, directory, look_at, &found));
    *absent = !found.weights;
    return AWQ_OK;
}

static awq_status no_weights(awq_context *ctx, const char *path)
{
    names_found found = {0};
    AWQ__CHECK(awq__list_directory(ctx, path, look_at, &found));
    return awq__fail(ctx, AWQ_ERROR_IO,
                     "%s: neither " AWQ__SINGLE_FILE " nor " AWQ__INDEX_FILE " is there%s", path,
                     found.pickles ? "; pytorch_model*.bin is not read, only safetensors is" : "");
}

/* Shards without an index, or nothing. */
static awq_status open_others(awq_context *ctx, awq__checkpoint *checkpoint, const char *directory)
{
    int64_t shards;
    AWQ__CHECK(awq__numbered_shards(ctx, directory, &shards));
    return shards ? open_numbered(ctx, checkpoint, shards) : no_weights(ctx, directory);
}

static awq_status open_directory(awq_context *ctx, awq__checkpoint *checkpoint,
                                 const char *directory)
{
    checkpoint->directory = awq__strdup(ctx, directory);
    char *single = awq__path_join(ctx, directory, AWQ__SINGLE_FILE);
    char *index = awq__path_join(ctx, directory, AWQ__INDEX_FILE);
    awq_status status;
    AWQ__TRY_ALLOC(checkpoint->directory && single && index);
    bool is_single = awq__is_file(single), has_index = awq__is_file(index);
    if (is_single && has_index)
        awq__log(ctx, AWQ_LOG_WARNING, "%s: " AWQ__SINGLE_FILE " is read, not " AWQ__INDEX_FILE,
                 directory);
    AWQ__TRY(is_single   ? open_single(ctx, checkpoint)
             : has_index ? open_index(ctx, checkpoint, index)
                         : open_others(ctx, checkpoint, directory));
done:
    awq__free(single);
    awq__free(index);
    return status;
}

awq_status awq__checkpoint_open(awq_context *ctx, const char *directory, awq__checkpoint **out)
{
    *out = NULL;
    awq__checkpoint *checkpoint = awq__alloc(ctx, 1, sizeof *checkpoint, "a checkpoint");
    AWQ__CHECK_ALLOC(checkpoint);
    awq_status status = open_directory(ctx, checkpoint, directory);
    if (status == AWQ_OK)
        *out = checkpoint;
    else
        awq__checkpoint_free(checkpoint);
    return status;
}

void awq__checkpoint_free(awq__checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        awq__safetensors_free(checkpoint->files[i]);
    awq__free(checkpoint->files);
    awq__free(checkpoint->tensors);
    awq__free(checkpoint->directory);
    awq__free(checkpoint);
}

const char *awq__checkpoint_directory(const awq__checkpoint *checkpoint)
{
    return checkpoint->directory;
}

size_t awq__checkpoint_count(const awq__checkpoint *checkpoint)
{
    return checkpoint->count;
}

const awq__tensor *awq__checkpoint_at(const awq__checkpoint *checkpoint, size_t index)
{
    return index < checkpoint->count ? checkpoint->tensors[index] : NULL;
}

const awq__tensor *awq__checkpoint_find(const awq__checkpoint *checkpoint, const char *name)
{
    awq__tensor tensor = {.name = name};
    const awq__tensor *key = &tensor;
    const awq__tensor **found = bsearch(&key, checkpoint->tensors, checkpoint->count,
                                        sizeof *checkpoint->tensors, compare_tensors);
    return found ? *found : NULL;
}

size_t awq__checkpoint_lower_bound(const awq__checkpoint *checkpoint, const char *name)
{
    size_t low = 0, high = checkpoint->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(checkpoint->tensors[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t awq__checkpoint_bytes(const awq__checkpoint *checkpoint)
{
    return checkpoint->bytes;
}
