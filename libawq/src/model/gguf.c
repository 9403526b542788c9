/* Models in GGUF files: they are read as they are, by the names of the architecture's modules. */
#include "compute/blocks.h"
#include "model/model.h"

#include <string.h>

#define SUFFIX ".gguf"
#define FIRST_PART "-00001-of-"

/* ---- where it is ---- */

static bool ends_in_gguf(const char *name)
{
    size_t length = strlen(name), suffix = strlen(SUFFIX);
    return length > suffix && !strcmp(name + length - suffix, SUFFIX);
}

static bool are_digits(const char *text, size_t count)
{
    return strspn(text, "0123456789") >= count;
}

/* A whole model, or the first of parts NAME-00001-of-00002.gguf. */
static bool begins_model(const char *name)
{
    static const size_t tail = sizeof "-00001-of-00002" SUFFIX - 1;
    size_t length = strlen(name);
    if (!ends_in_gguf(name))
        return false;
    const char *part = length > tail ? name + length - tail : "";
    bool is_part = part[0] == '-' && are_digits(part + 1, 5) && !strncmp(part + 6, "-of-", 4) &&
                   are_digits(part + 10, 5);
    return !is_part || !strncmp(part, FIRST_PART, strlen(FIRST_PART));
}

typedef struct finding {
    awq_context *ctx;
    const char *directory;
    char **file;
} finding;

static awq_status see_name(void *user, const char *name)
{
    const finding *f = user;
    if (!begins_model(name))
        return AWQ_OK;
    if (*f->file)
        return awq__fail(f->ctx, AWQ_ERROR_FORMAT,
                         "%s: holds several GGUF models, of which one must be named", f->directory);
    *f->file = awq__path_join(f->ctx, f->directory, name);
    return *f->file ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status look_in(awq_context *ctx, const char *path, char **file)
{
    finding f = {ctx, path, file};
    return awq__list_directory(ctx, path, see_name, &f);
}

awq_status awq__model_gguf_file(awq_context *ctx, const char *path, char **file)
{
    *file = NULL;
    if (awq__is_directory(path)) {
        char *config = awq__path_join(ctx, path, "config.json");
        AWQ__CHECK_ALLOC(config);
        bool described = awq__is_file(config);
        awq__free(config);
        awq_status status = described ? AWQ_OK : look_in(ctx, path, file);
        if (status != AWQ_OK) {
            awq__free(*file);
            *file = NULL;
        }
        return status;
    }
    if (!ends_in_gguf(path))
        return AWQ_OK;
    *file = awq__strdup(ctx, path);
    return *file ? AWQ_OK : AWQ_ERROR_MEMORY;
}

char *awq__model_file(const awq_model *model, const char *name)
{
    const char *slash = strrchr(model->directory, '/');
    if (awq__is_directory(model->directory))
        return awq__path_join(model->ctx, model->directory, name);
    if (!slash)
        return awq__strdup(model->ctx, name);
    return awq__format(model->ctx, "%.*s/%s", (int)(slash - model->directory), model->directory,
                       name);
}

awq_status awq__model_open_gguf(awq_model *model, const char *file, const char *plugin)
{
    cJSON *config;
    AWQ__CHECK(awq__gguf_open(model->ctx, file, &model->gguf));
    AWQ__CHECK(awq__gguf_config(model->ctx, model->gguf, &model->family, &config));
    AWQ__CHECK(awq__arch_open_config(model->ctx, file, config, plugin, &model->arch));
    for (size_t i = 0; i < awq__gguf_count(model->gguf); i++)
        model->bytes += awq__gguf_at(model->gguf, i)->stored.bytes;
    return AWQ_OK;
}

/* ---- modules ---- */

static awq_status wrong_shape(const awq_model *model, const awq__gguf_tensor *tensor,
                              const awq__gguf_place *place)
{
    return awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                     "%s: %s has %d dimensions, of %lld and %lld at the end, expected %d of %lld "
                     "and %lld",
                     tensor->stored.file, place->name, tensor->rank,
                     (long long)(tensor->rank > 1 ? tensor->shape[tensor->rank - 2] : 1),
                     (long long)tensor->shape[tensor->rank - 1], place->rank,
                     (long long)(place->rank > 1 ? place->shape[place->rank - 2] : 1),
                     (long long)place->shape[place->rank - 1]);
}

/* Other tools keep dimensions of 1 before a vector. */
static bool has_shape(const awq__gguf_tensor *tensor, const awq__gguf_place *place)
{
    int extra = tensor->rank - place->rank;
    for (int i = 0; i < tensor->rank; i++) {
        int64_t expected = i < extra ? 1 : place->shape[i - extra];
        if (extra < 0 || tensor->shape[i] != expected)
            return false;
    }
    return true;
}

static awq_status find_place(const awq_model *model, const awq__gguf_place *place,
                             const awq__gguf_tensor **tensor)
{
    *tensor = awq__gguf_find_tensor(model->gguf, place->name);
    if (!*tensor)
        return awq__fail(model->ctx, AWQ_ERROR_FORMAT, "%s: the tensor %s is missing",
                         awq__gguf_path(model->gguf), place->name);
    return has_shape(*tensor, place) ? AWQ_OK : wrong_shape(model, *tensor, place);
}

/* The bytes of one of the matrices or vectors that a tensor has, and where they are. */
static uint64_t slice_of(const awq__gguf_tensor *tensor, const awq__gguf_place *place, int rank,
                         awq__held *held, const uint8_t **data)
{
    int64_t slices = place->rank > rank ? place->shape[0] : 1;
    uint64_t bytes = tensor->stored.bytes / (uint64_t)slices;
    const uint8_t *held_at = awq__held_at(held, &tensor->stored);
    *data = held_at ? held_at + (uint64_t)place->index * bytes : NULL;
    return bytes;
}

static awq_status read_weight(const awq_model *model, const awq__module *module,
                              const awq__gguf_tensor *tensor, const awq__gguf_place *place,
                              const uint8_t *data, awq__found *found)
{
    const awq__block_type *blocks = awq__block_type_of(tensor->type->id);
    awq_dtype dtype = tensor->type->dtype;
    int64_t rows = module->rows, cols = module->cols, head = place->paired_head;
    if (blocks && !module->vector) {
        found->packed = true;
        found->scheme = (awq__scheme){.bits = 8 * blocks->bytes / blocks->block,
                                      .group = blocks->run,
                                      .symmetric = !blocks->has_min,
                                      .blocks = blocks};
        found->weight = awq__weight_blocks(module->name, blocks, data, rows, cols, head);
    } else if (dtype == AWQ_F32 || dtype == AWQ_F16 || dtype == AWQ_BF16) {
        found->weight = head ? awq__weight_paired(module->name, dtype, data, rows, cols, head)
                             : awq__weight_plain(module->name, dtype, data, rows, cols);
    } else {
        return awq__fail(model->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s is of type %s, which is not read", tensor->stored.file,
                         place->name, tensor->type->name);
    }
    return AWQ_OK;
}

static awq_status find_bias(const awq_model *model, const awq__module *module, awq__held *held,
                            awq__found *found)
{
    awq__gguf_place place;
    const awq__gguf_tensor *tensor;
    awq__gguf_place_of(model->family, model->arch, module, true, &place);
    AWQ__CHECK(find_place(model, &place, &tensor));
    if (tensor->type->id != AWQ__GGML_F32)
        return awq__fail(model->ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s is of type %s, expected f32",
                         tensor->stored.file, place.name, tensor->type->name);
    found->bytes += slice_of(tensor, &place, 1, held, &found->bias);
    found->bias_dtype = AWQ_F32;
    found->bias_stride = 1;
    return AWQ_OK;
}

awq_status awq__model_find_gguf(const awq_model *model, const awq__module *module, awq__held *held,
                                awq__found *found)
{
    awq__gguf_place place;
    const awq__gguf_tensor *tensor;
    const uint8_t *data;
    awq__gguf_place_of(model->family, model->arch, module, false, &place);
    AWQ__CHECK(find_place(model, &place, &tensor));
    found->bytes = slice_of(tensor, &place, 2, held, &data);
    AWQ__CHECK(read_weight(model, module, tensor, &place, data, found));
    return module->bias ? find_bias(model, module, held, found) : AWQ_OK;
}
