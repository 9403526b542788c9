/* Hashes of a layer's tensors in the source and in the result. */
#include "write/journal.h"

#include <string.h>
#include <unistd.h>

/* Tensors with one hash: their arrays, and for each a line with its name, type and shape. */
typedef struct tensor_set {
    awq_context *ctx;
    const awq__output *output;
    awq__held *held; /* the source; NULL: the files are opened for this */
    awq__hashed *arrays;
    size_t count, capacity;
    awq__text lines;
} tensor_set;

static awq_status add(tensor_set *set, const char *name, awq_dtype dtype, int rank,
                      const int64_t *shape, const awq__hashed *array)
{
    AWQ__CHECK(awq__grow(set->ctx, &set->arrays, &set->capacity, set->count + 1,
                         sizeof *set->arrays, "tensors to hash"));
    set->arrays[set->count++] = *array;
    AWQ__CHECK(awq__text_append(set->ctx, &set->lines, "%s %s", name, awq_dtype_name(dtype)));
    for (int i = 0; i < rank; i++)
        AWQ__CHECK(awq__text_append(set->ctx, &set->lines, " %lld", (long long)shape[i]));
    return awq__text_append(set->ctx, &set->lines, "\n");
}

/* Arrays of the source belong to the set; others are borrowed. */
static void close_files(const tensor_set *set)
{
    for (size_t i = 0; i < set->count && !set->output; i++)
        if (set->arrays[i].fd >= 0)
            close(set->arrays[i].fd);
}

/* The hash of the lines and of all arrays. */
static awq_status hash_set(tensor_set *set, uint64_t *hash)
{
    AWQ__CHECK(awq__hash_arrays(set->ctx, set->arrays, set->count));
    *hash = awq__hash(AWQ__HASH_SEED, set->lines.data, set->lines.length);
    for (size_t i = 0; i < set->count; i++)
        *hash = awq__hash(*hash, &set->arrays[i].hash, sizeof set->arrays[i].hash);
    return AWQ_OK;
}

static void free_set(tensor_set *set)
{
    close_files(set);
    awq__free(set->arrays);
    awq__text_free(&set->lines);
    *set = (tensor_set){0};
}

/* ---- the source ---- */

static awq_status add_tensor(tensor_set *set, const awq__tensor *tensor)
{
    awq__hashed array = {.data = awq__held_at(set->held, tensor),
                         .fd = -1,
                         .offset = tensor->offset,
                         .path = tensor->file,
                         .bytes = tensor->bytes};
    if (set->held && !array.data)
        return AWQ_OK; /* no tensor of the result comes from it */
    size_t before = set->count;
    awq_status status;
    if (!set->held)
        AWQ__TRY(awq__file_open(set->ctx, tensor->source, &array.fd));
    AWQ__TRY(add(set, tensor->name, tensor->dtype, tensor->rank, tensor->shape, &array));
done:
    if (set->count == before && array.fd >= 0)
        close(array.fd);
    return status;
}

/* Those that have the name `stem`, or begin with it and a dot. */
static awq_status add_stem(tensor_set *set, const awq__checkpoint *checkpoint, const char *stem)
{
    size_t length = strlen(stem);
    const awq__tensor *tensor;
    for (size_t i = awq__checkpoint_lower_bound(checkpoint, stem);
         (tensor = awq__checkpoint_at(checkpoint, i)) && !strncmp(tensor->name, stem, length); i++)
        if (!tensor->name[length] || tensor->name[length] == '.')
            AWQ__CHECK(add_tensor(set, tensor));
    return AWQ_OK;
}

/* Scales of FP8 follow the name. */
static awq_status add_fused(tensor_set *set, const awq__checkpoint *checkpoint, const char *name)
{
    static const char *const suffixes[] = {"_scale_inv", "_scale"};
    AWQ__CHECK(add_stem(set, checkpoint, name));
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const awq__tensor *scale;
        AWQ__CHECK(awq__suffix_find(set->ctx, checkpoint, name, suffixes[i], &scale));
        if (scale)
            AWQ__CHECK(add_tensor(set, scale));
    }
    return AWQ_OK;
}

awq_status awq__source_hash(const awq_model *model, int64_t layer, awq__held *held, uint64_t *hash)
{
    const awq__arch *arch = model->arch;
    tensor_set set = {.ctx = model->ctx, .held = held};
    char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES];
    int fused = 0;
    *hash = 0;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < arch->module_count; i++)
        if (arch->modules[i].layer == layer)
            AWQ__TRY(add_stem(&set, arch->checkpoint, awq__stored_name(&arch->modules[i])));
    if (layer >= 0) {
        const awq_arch_experts *experts = &arch->layers[layer].experts;
        fused = awq__fused_names(experts, experts->layout, names);
    }
    for (int i = 0; i < fused; i++)
        AWQ__TRY(add_fused(&set, arch->checkpoint, names[i]));
    AWQ__TRY(hash_set(&set, hash));
done:
    free_set(&set);
    return status;
}

/* ---- the result ---- */

static awq_status add_written(void *user, const char *name, awq_dtype dtype, int rank,
                              const int64_t *shape)
{
    tensor_set *set = user;
    awq__hashed array;
    AWQ__CHECK(awq__output_array(set->output, name, &array));
    return add(set, name, dtype, rank, shape, &array);
}

awq_status awq__written_hash(const awq__writer *writer, int64_t layer, uint64_t *hash)
{
    tensor_set set = {.ctx = writer->ctx, .output = writer->output};
    *hash = 0;
    awq_status status;
    AWQ__TRY(awq__result_tensors(writer->ctx, writer->plan, layer, add_written, &set));
    AWQ__TRY(hash_set(&set, hash));
done:
    free_set(&set);
    return status;
}
