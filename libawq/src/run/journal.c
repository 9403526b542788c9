/* What lets an interrupted run go on: which layers are on disk, and of what run they are. */
#include "run/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define JOURNAL "awq_journal.json"
#define SAMPLE_BYTES 64

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return awq__hash(hash, text, strlen(text) + 1);
}

uint64_t awq__calibration_hash(const awq__sequences *sequences)
{
    if (!sequences->count)
        return 0;
    uint64_t hash = awq__hash(AWQ__HASH_SEED, sequences->offsets,
                              (size_t)(sequences->count + 1) * sizeof *sequences->offsets);
    return awq__hash(hash, sequences->ids,
                     (size_t)awq__token_count(sequences) * sizeof *sequences->ids);
}

uint64_t awq__fingerprint(const awq__job *job, const char *recipe_yaml)
{
    const awq__arch *arch = job->plan->model->arch;
    uint64_t hash = hash_text(AWQ__HASH_SEED, awq_version());
    hash = hash_text(hash, arch->plugin->table.id);
    hash = hash_text(hash, arch->plugin->table.version);
    hash = hash_text(hash, recipe_yaml);
    uint64_t calibration = awq__calibration_hash(&job->sequences);
    hash = awq__hash(hash, &calibration, sizeof calibration);
    for (size_t i = 0; i < awq__checkpoint_count(arch->checkpoint); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(arch->checkpoint, i);
        size_t sample = tensor->bytes < SAMPLE_BYTES ? tensor->bytes : SAMPLE_BYTES;
        hash = hash_text(hash, tensor->name);
        hash = awq__hash(hash, tensor->shape, sizeof tensor->shape);
        hash = awq__hash(hash, tensor->data + (tensor->bytes - sample) / 2, sample);
    }
    return hash;
}

static void fingerprint_text(uint64_t fingerprint, char text[17])
{
    snprintf(text, 17, "%016" PRIx64, fingerprint);
}

awq_status awq__journal_read(awq_context *ctx, const awq__output *output, uint64_t fingerprint,
                             cJSON **layers)
{
    char expected[17];
    fingerprint_text(fingerprint, expected);
    *layers = NULL;
    char *path = awq__path_join(ctx, awq__output_partial(output), JOURNAL);
    if (!path)
        return AWQ_ERROR_MEMORY;
    cJSON *root = NULL;
    awq_status status = awq__is_file(path) ? awq__json_read(ctx, path, &root) : AWQ_OK;
    const cJSON *found = awq__json_at(root, "fingerprint");
    if (status == AWQ_OK && root &&
        (!cJSON_IsString(found) || strcmp(found->valuestring, expected)))
        status =
            awq__fail(ctx, AWQ_ERROR_EXISTS,
                      "%s: holds an interrupted run of another recipe, model or version; ask for a "
                      "restart to discard it",
                      awq__output_partial(output));
    if (status == AWQ_OK) {
        *layers = cJSON_DetachItemFromObjectCaseSensitive(root, "layers");
        if (!cJSON_IsArray(*layers)) {
            cJSON_Delete(*layers);
            *layers = cJSON_CreateArray();
        }
        if (!*layers)
            status = awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: %s", path);
    }
    cJSON_Delete(root);
    awq__free(path);
    return status;
}

awq_status awq__journal_write(awq__job *job, uint64_t fingerprint)
{
    char text[17];
    fingerprint_text(fingerprint, text);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "fingerprint", text);
    cJSON_AddItemReferenceToObject(root, "layers", job->layers);
    char *printed = cJSON_Print(root);
    cJSON_Delete(root);
    if (!printed)
        return awq__fail(job->ctx, AWQ_ERROR_MEMORY, "out of memory: %s", JOURNAL);
    awq_status status = awq__output_settle(job->output, JOURNAL, printed);
    cJSON_free(printed);
    return status;
}

void awq__journal_remove(awq_context *ctx, const char *directory)
{
    char *path = awq__path_join(ctx, directory, JOURNAL);
    if (path && remove(path))
        awq__log(ctx, AWQ_LOG_WARNING, "%s: could not be removed; nothing needs it any more", path);
    awq__free(path);
}
