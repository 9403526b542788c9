/* Is a checkpoint on disk complete, as it was written, and made from its source? */
#include "run/verify.h"
#include "run/job.h"

#include <stdio.h>
#include <string.h>

#define SUMS_SHARE 0.3 /* of the time, roughly */

/* A failure to read the verified files is a finding; any other failure ends the call. */
static awq_status judge(awq_verification *v, awq_status status)
{
    if (status != AWQ_ERROR_FORMAT && status != AWQ_ERROR_UNSUPPORTED && status != AWQ_ERROR_IO &&
        status != AWQ_ERROR_NUMERIC)
        return status;
    status = awq__find_problem(v, "%s", awq_context_message(v->ctx));
    awq__clear(v->ctx);
    return status;
}

/* ---- checksums ---- */

/* What others read beside what is listed. */
static bool is_weights(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".bin") || !strcmp(dot, ".pt"));
}

static awq_status find_additional(awq_verification *v, const char *directory,
                                  const awq__sums *there, const awq__sums *listed)
{
    for (size_t i = 0; i < there->count; i++) {
        const char *name = there->list[i].name;
        if (awq__sums_find(listed, name))
            continue;
        if (is_weights(name))
            AWQ__CHECK(awq__find_problem(v,
                                         "%s/%s: additional: " AWQ__SUMS_FILE
                                         " does not list it, and engines may read it",
                                         directory, name));
        else
            AWQ__CHECK(awq__find_note(v, "%s/%s: additional: " AWQ__SUMS_FILE " does not list it",
                                      directory, name));
    }
    return AWQ_OK;
}

/* Drops from the list what is not there. */
static awq_status find_missing(awq_verification *v, const char *directory, const awq__sums *there,
                               awq__sums *listed)
{
    awq_status status = AWQ_OK;
    size_t kept = 0;
    for (size_t i = 0; i < listed->count; i++) {
        if (awq__sums_find(there, listed->list[i].name)) {
            awq__sum swap = listed->list[kept];
            listed->list[kept++] = listed->list[i];
            listed->list[i] = swap;
        } else {
            AWQ__TRY(awq__find_problem(v, "%s/%s: missing: " AWQ__SUMS_FILE " lists it", directory,
                                       listed->list[i].name));
        }
    }
done:
    while (listed->count > kept)
        awq__free(listed->list[--listed->count].name);
    return status;
}

static awq_status compare_sums(awq_verification *v, const char *directory, awq__sums *listed)
{
    awq__sums found = {0};
    char(*expected)[AWQ__SHA256_HEX] = NULL;
    const awq_progress progress = {.stage = "checksums", .fraction = SUMS_SHARE};
    awq_status status;
    AWQ__TRY(awq__sums_list(v->ctx, directory, NULL, &found));
    AWQ__TRY(find_additional(v, directory, &found, listed));
    AWQ__TRY(find_missing(v, directory, &found, listed));
    expected = awq__alloc(v->ctx, listed->count, sizeof *expected, "checksums");
    AWQ__TRY_ALLOC(expected);
    for (size_t i = 0; i < listed->count; i++)
        memcpy(expected[i], listed->list[i].hex, sizeof *expected);
    AWQ__TRY(awq__sums_compute(v->ctx, directory, listed, &progress));
    for (size_t i = 0; i < listed->count; i++)
        if (strcmp(expected[i], listed->list[i].hex))
            AWQ__TRY(awq__find_problem(v, "%s/%s: changed: SHA-256 is %s, expected %s", directory,
                                       listed->list[i].name, listed->list[i].hex, expected[i]));
done:
    v->result.files = (int64_t)listed->count;
    awq__sums_free(&found);
    awq__free(expected);
    return status;
}

static awq_status verify_sums(awq_verification *v, const char *directory)
{
    awq__sums listed;
    awq_status status;
    AWQ__TRY(awq__sums_read(v->ctx, directory, &listed));
    AWQ__TRY(compare_sums(v, directory, &listed));
done:
    awq__sums_free(&listed);
    return judge(v, status);
}

/* ---- structure ---- */

static awq_status read_provenance(awq_verification *v, const char *directory, cJSON **root)
{
    char *path = awq__path_join(v->ctx, directory, AWQ__PROVENANCE_FILE);
    awq_status status;
    AWQ__TRY_ALLOC(path);
    *root = NULL;
    if (awq__is_file(path))
        AWQ__TRY(judge(v, awq__json_read(v->ctx, path, root)));
    else
        AWQ__TRY(awq__find_problem(v, "%s: missing: it tells what the result was made of", path));
done:
    awq__free(path);
    return status;
}

static awq_status verify_module(awq_verification *v, const awq_model *model, size_t index)
{
    awq__found found;
    awq_status status = awq__model_find(model, &model->arch->modules[index], NULL, &found);
    if (status != AWQ_OK)
        return judge(v, status);
    v->result.modules++;
    v->result.quantized += found.packed;
    return AWQ_OK;
}

/* As many modules are in codes as were quantized: else a format reads one as a kept module. */
static awq_status verify_count(awq_verification *v, const awq_model *model, const cJSON *provenance)
{
    int64_t count;
    if (!awq__json_int(awq__json_at(provenance, "quantized_modules"), &count) ||
        count == v->result.quantized)
        return AWQ_OK;
    return awq__find_problem(
        v, "%s: %lld modules are quantized, but " AWQ__PROVENANCE_FILE " says %lld",
        model->directory, (long long)v->result.quantized, (long long)count);
}

static awq_status open_result(awq_verification *v, const char *directory, const char *plugin,
                              awq_model **model)
{
    awq_status status;
    AWQ__TRY(awq__model_open_partial(v->ctx, directory, plugin, model));
    AWQ__TRY(awq__model_require_weights(*model, "verified"));
done:
    if (status != AWQ_OK) {
        awq_model_free(*model);
        *model = NULL;
    }
    return status;
}

/* Opens the checkpoint and adds a finding for each module that differs from its plan. */
static awq_status verify_structure(awq_verification *v, const char *directory, const char *plugin,
                                   const cJSON *provenance, awq_model **model)
{
    awq_status status = open_result(v, directory, plugin, model);
    if (status != AWQ_OK)
        return judge(v, status);
    for (size_t i = 0; i < (*model)->arch->module_count; i++)
        AWQ__CHECK(verify_module(v, *model, i));
    return verify_count(v, *model, provenance);
}

/* ---- the source ---- */

static awq_status verify_hash(awq_verification *v, const awq_model *source, const char *what,
                              uint64_t hash, const cJSON *expected)
{
    char text[AWQ__HASH_TEXT];
    awq__hash_text(hash, text);
    if (awq__json_is_text(expected, text))
        return AWQ_OK;
    return awq__find_problem(v, "%s: %s is not what the result was made of: %s, expected %s",
                             source->directory, what, text,
                             cJSON_IsString(expected) ? expected->valuestring : "a hash");
}

/* A tensor of both checkpoints, and its source's hash in the provenance. */
typedef struct compared {
    awq_verification *v;
    const awq_model *result, *source;
    const cJSON *provenance;
    bool gptq;
} compared;

static awq_status compare_held(const compared *c, int64_t layer, size_t first, size_t count,
                               awq__held *result, awq__held *source)
{
    const awq__verified part = {.result = c->result,
                                .source = c->source,
                                .result_held = result,
                                .source_held = source,
                                .layer = layer,
                                .first = first,
                                .count = count,
                                .gptq = c->gptq};
    return awq__verify_values(c->v, &part);
}

static awq_status compare_layer(const compared *c, int64_t n)
{
    char what[32];
    uint64_t hash = 0;
    awq__loaded_layer before = {0}, after = {0};
    const size_t *first = c->source->arch->layer_first;
    const cJSON *layers = awq__json_at(c->provenance, "source.layers");
    awq_status status;
    AWQ__TRY(awq__model_layer(c->source, n, &before));
    AWQ__TRY(awq__source_hash(c->source, n, &before.held, &hash));
    snprintf(what, sizeof what, "layer %lld", (long long)n);
    AWQ__TRY(verify_hash(c->v, c->source, what, hash, cJSON_GetArrayItem(layers, (int)n)));
    status = awq__model_layer(c->result, n, &after);
    AWQ__TRY(status == AWQ_OK
                 ? compare_held(c, n, first[n], first[n + 1] - first[n], &after.held, &before.held)
                 : judge(c->v, status));
done:
    awq__loaded_layer_free(&after);
    awq__loaded_layer_free(&before);
    return status;
}

static awq_status compare_end(const compared *c, size_t index)
{
    awq__loaded_module before = {0}, after = {0};
    awq_status status;
    AWQ__TRY(awq__model_module(c->source, index, &before));
    status = awq__model_module(c->result, index, &after);
    AWQ__TRY(status == AWQ_OK ? compare_held(c, -1, index, 1, &after.held, &before.held)
                              : judge(c->v, status));
done:
    awq__loaded_module_free(&after);
    awq__loaded_module_free(&before);
    return status;
}

static awq_status compare_ends(const compared *c)
{
    uint64_t hash;
    AWQ__CHECK(awq__source_hash(c->source, -1, NULL, &hash));
    AWQ__CHECK(
        verify_hash(c->v, c->source, AWQ__ENDS, hash, awq__json_at(c->provenance, "source.ends")));
    for (size_t i = 0; i < c->source->arch->module_count; i++)
        if (c->source->arch->modules[i].layer < 0)
            AWQ__CHECK(compare_end(c, i));
    return AWQ_OK;
}

/* Values of the source, as BF16, beside the result's. */
typedef struct widened {
    awq_context *ctx;
    const awq__tensor *copy;
    bool same;
} widened;

static awq_status compare_widened(void *user, const awq__tensor *tensor, uint64_t at,
                                  const void *data, size_t bytes)
{
    widened *w = user;
    uint8_t *copy = awq__alloc(w->ctx, bytes, 1, tensor->name);
    AWQ__CHECK_ALLOC(copy);
    awq_status status = awq__tensor_read(w->ctx, w->copy, at, bytes, copy);
    w->same &= status == AWQ_OK && !memcmp(copy, data, bytes);
    awq__free(copy);
    return status;
}

static awq_status is_same_copy(const compared *c, const awq__tensor *tensor, awq__copying copying,
                               const awq__tensor *copy, bool *same)
{
    awq_dtype dtype = copying == AWQ__WIDENED ? AWQ_BF16 : tensor->dtype;
    widened w = {.ctx = c->v->ctx, .copy = copy, .same = true};
    *same = false;
    if (!copy || copy->bytes != awq__copied_bytes(tensor, copying) || copy->dtype != dtype)
        return AWQ_OK;
    if (copying == AWQ__COPIED)
        return awq__tensor_compare(c->v->ctx, copy, tensor, same);
    AWQ__CHECK(awq__widen_undescribed(c->v->ctx, c->source, tensor, compare_widened, &w));
    *same = w.same;
    return AWQ_OK;
}

/* Tensors that no module has must have the source's values. */
static awq_status compare_undescribed(const compared *c, const awq__tensor *tensor)
{
    bool same;
    awq__copying copying;
    const awq__tensor *copy = awq__checkpoint_find(c->result->arch->checkpoint, tensor->name);
    AWQ__CHECK(awq__result_copies(c->v->ctx, c->source, tensor, &copying));
    if (copying != AWQ__COPIED && copying != AWQ__WIDENED)
        return AWQ_OK;
    AWQ__CHECK(is_same_copy(c, tensor, copying, copy, &same));
    if (same)
        return AWQ_OK;
    return awq__find_problem(c->v, "%s: %s is %s", c->result->directory, tensor->name,
                             copy ? "not the same as in the source" : "missing");
}

static bool are_alike(const awq__arch *a, const awq__arch *b)
{
    bool alike = a->module_count == b->module_count;
    for (size_t i = 0; i < a->module_count && alike; i++)
        alike = !strcmp(a->modules[i].name, b->modules[i].name) &&
                a->modules[i].rows == b->modules[i].rows &&
                a->modules[i].cols == b->modules[i].cols &&
                a->modules[i].bias == b->modules[i].bias;
    return alike;
}

static awq_status compare_models(const compared *c)
{
    const awq__arch *arch = c->source->arch;
    int64_t layers = arch->model.layer_count;
    if (!are_alike(c->result->arch, arch))
        return awq__find_problem(c->v, "%s: other modules than %s has: they are not the same model",
                                 c->source->directory, c->result->directory);
    AWQ__CHECK(compare_ends(c));
    for (size_t i = 0; i < awq__checkpoint_count(arch->checkpoint); i++)
        AWQ__CHECK(compare_undescribed(c, awq__checkpoint_at(arch->checkpoint, i)));
    for (int64_t n = 0; n < layers; n++) {
        const awq_progress progress = {.stage = "values",
                                       .layer = n,
                                       .layer_count = layers,
                                       .fraction = SUMS_SHARE +
                                                   (1 - SUMS_SHARE) * (double)n / (double)layers,
                                       .elapsed_seconds = awq__now_seconds() - c->v->start_seconds};
        AWQ__CHECK(awq__progress(c->v->ctx, &progress));
        AWQ__CHECK(compare_layer(c, n));
    }
    return AWQ_OK;
}

static awq_status verify_source(awq_verification *v, const awq_model *result, const char *directory,
                                const char *plugin, const cJSON *provenance)
{
    awq_model *source = NULL;
    awq_status status;
    AWQ__TRY(awq_model_open(v->ctx, directory, plugin, &source));
    AWQ__TRY(awq__model_require_weights(source, "compared with"));
    if (result->gguf || source->gguf)
        AWQ__TRY(awq__fail(v->ctx, AWQ_ERROR_UNSUPPORTED,
                           "%s: weights in GGUF are not compared one by one; eval tells how far "
                           "the result is from its source",
                           result->gguf ? result->directory : source->directory));
    const compared c = {.v = v,
                        .result = result,
                        .source = source,
                        .provenance = provenance,
                        .gptq = awq__json_is_text(awq__json_at(provenance, "rounding"), "gptq")};
    AWQ__TRY(compare_models(&c));
done:
    awq_model_free(source);
    return status;
}

/* ---- the call ---- */

static awq_status verify(awq_verification *v, const awq_verify_options *options)
{
    awq_model *result = NULL;
    cJSON *provenance = NULL;
    awq_status status;
    AWQ__TRY(verify_sums(v, options->directory));
    AWQ__TRY(read_provenance(v, options->directory, &provenance));
    AWQ__TRY(verify_structure(v, options->directory, options->plugin, provenance, &result));
    /* An unreadable checkpoint is not compared. */
    if (result && options->source && v->result.modules)
        AWQ__TRY(verify_source(v, result, options->source, options->plugin, provenance));
done:
    cJSON_Delete(provenance);
    awq_model_free(result);
    return status;
}

awq_status awq_verify(awq_context *ctx, const awq_verify_options *options, awq_verification **out)
{
    awq_verify_options known;
    if (out)
        *out = NULL;
    AWQ__CHECK(
        awq__enter(ctx, "awq_verify", (awq__argument[]){{"options", options}, {"out", out}, {0}}));
    AWQ__CHECK(awq__read_options(ctx, "awq_verify_options", options, sizeof known, &known));
    if (!known.directory)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "awq_verify_options: needs a directory");
    if (!awq__is_directory(known.directory))
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: not a directory", known.directory);
    awq_verification *v = awq__alloc(ctx, 1, sizeof *v, "a verification");
    AWQ__CHECK_ALLOC(v);
    v->ctx = ctx;
    v->start_seconds = awq__now_seconds();
    awq_status status = verify(v, &known);
    if (status == AWQ_OK)
        *out = v;
    else
        awq_verification_free(v);
    return awq__leave(ctx, status);
}
