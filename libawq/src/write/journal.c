/*
 * What lets an interrupted run go on: of what the run is, and which layers it has finished.
 *
 * The file is a JSON object whose first line has a hash of all that follows it. "of" has what the
 * run is of, by name; "layers" an object for each layer, to which members come as they become
 * known: "source", the hash of its tensors in the source; "losses", what each scheme does to it;
 * and once the layer is finished "written", the hash of its tensors in the result, and "report".
 */
#include "run/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES ((size_t)1 << 30)
#define HASH_LINE "{\n\t\"hash\":\t\"%016" PRIx64 "\","
#define HASH_LINE_BYTES 30
#define SHOWN_BYTES 64 /* of a value, in messages */
#define WAY_OUT                                                                                    \
    "that run can be discarded by a restart (awqc quantize --restart, or restart in "              \
    "awq_quantize_options)"

/* ---- the file ---- */

static awq_status damaged(awq_context *ctx, const char *path)
{
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: damaged, so that the interrupted run cannot go on; " WAY_OUT, path);
}

static cJSON *create_empty(int64_t layers)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *of = cJSON_AddObjectToObject(root, "of");
    cJSON *list = cJSON_AddArrayToObject(root, "layers");
    bool whole = of && list;
    for (int64_t n = 0; n < layers && whole; n++)
        whole = cJSON_AddItemToArray(list, cJSON_CreateObject());
    if (whole)
        return root;
    cJSON_Delete(root);
    return NULL;
}

/* Is what the hash vouches for a journal of so many layers? */
static bool has_form(const cJSON *root, int64_t layers)
{
    const cJSON *list = awq__json_at(root, "layers"), *layer;
    bool fits = cJSON_IsObject(awq__json_at(root, "of")) && cJSON_IsArray(list) &&
                cJSON_GetArraySize(list) == layers;
    cJSON_ArrayForEach(layer, list) fits &= cJSON_IsObject(layer);
    return fits;
}

static awq_status parse(awq__job *job, const char *path, const char *text, size_t bytes)
{
    char line[HASH_LINE_BYTES + 1];
    if (bytes < HASH_LINE_BYTES)
        return damaged(job->ctx, path);
    uint64_t hash = awq__hash(AWQ__HASH_SEED, text + HASH_LINE_BYTES, bytes - HASH_LINE_BYTES);
    snprintf(line, sizeof line, HASH_LINE, hash);
    if (memcmp(line, text, HASH_LINE_BYTES))
        return damaged(job->ctx, path);
    awq_status status = awq__json_parse(job->ctx, path, text, bytes, &job->journal);
    if (status == AWQ_OK && !has_form(job->journal, job->plan->model->arch->model.layer_count))
        status = damaged(job->ctx, path);
    /* It is not of what will be written next. */
    cJSON_DeleteItemFromObjectCaseSensitive(job->journal, "hash");
    return status;
}

static awq_status read_file(awq__job *job, const char *path)
{
    char *text;
    size_t bytes;
    awq_status status = awq__read_text_file(job->ctx, path, MAX_BYTES, &text, &bytes);
    if (status == AWQ_OK)
        status = parse(job, path, text, bytes);
    awq__free(text);
    return status;
}

awq_status awq__journal_open(awq__job *job, bool restart)
{
    char *path = awq__path_join(job->ctx, awq__output_partial(job->output), AWQ__JOURNAL_FILE);
    if (!path)
        return AWQ_ERROR_MEMORY;
    awq_status status = AWQ_OK;
    job->resumed = !restart && awq__is_file(path);
    if (job->resumed)
        status = read_file(job, path);
    else if (!(job->journal = create_empty(job->plan->model->arch->model.layer_count)))
        status = awq__fail(job->ctx, AWQ_ERROR_MEMORY, "out of memory: %s", path);
    awq__free(path);
    return status;
}

awq_status awq__journal_write(awq__job *job)
{
    awq__text text = {0};
    char *printed = cJSON_Print(job->journal);
    if (!printed)
        return awq__fail(job->ctx, AWQ_ERROR_MEMORY, "out of memory: %s", AWQ__JOURNAL_FILE);
    /* All but the brace that opens the object. */
    uint64_t hash = awq__hash(AWQ__HASH_SEED, printed + 1, strlen(printed + 1));
    awq_status status = awq__text_append(job->ctx, &text, HASH_LINE "%s", hash, printed + 1);
    if (status == AWQ_OK)
        status = awq__output_settle(job->output, AWQ__JOURNAL_FILE, text.data);
    awq__text_free(&text);
    cJSON_free(printed);
    return status;
}

/* ---- what the run is of ---- */

static awq_status no_memory(awq__job *job)
{
    return awq__fail(job->ctx, AWQ_ERROR_MEMORY, "out of memory: the journal");
}

/* Adds a text, or sees that the one that stands there is the same. */
static awq_status agree(awq__job *job, cJSON *object, const char *key, const char *what,
                        const char *value)
{
    const cJSON *then = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!then)
        return cJSON_AddStringToObject(object, key, value) ? AWQ_OK : no_memory(job);
    if (awq__json_is_text(then, value))
        return AWQ_OK;
    const char *old = cJSON_IsString(then) ? then->valuestring : "?";
    return awq__fail(job->ctx, AWQ_ERROR_EXISTS,
                     "%s: holds an interrupted run with another %s: %.*s%s then, %.*s%s now; it "
                     "goes on with what it was, or " WAY_OUT,
                     awq__output_partial(job->output), what, SHOWN_BYTES, old,
                     strlen(old) > SHOWN_BYTES ? "..." : "", SHOWN_BYTES, value,
                     strlen(value) > SHOWN_BYTES ? "..." : "");
}

awq_status awq__journal_agree(awq__job *job, const char *name, const char *value)
{
    cJSON *of = cJSON_GetObjectItemCaseSensitive(job->journal, "of");
    return agree(job, of, name, name, value);
}

awq_status awq__journal_agree_hash(awq__job *job, const char *name, uint64_t hash)
{
    char text[AWQ__HASH_TEXT];
    awq__hash_text(hash, text);
    return awq__journal_agree(job, name, text);
}

void awq__hash_text(uint64_t hash, char text[AWQ__HASH_TEXT])
{
    snprintf(text, AWQ__HASH_TEXT, "xxh3:%016" PRIx64, hash);
}

/* ---- its layers ---- */

cJSON *awq__journal_layer(const awq__job *job, int64_t layer)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(job->journal, "layers");
    return list ? cJSON_GetArrayItem(list, (int)layer) : NULL;
}

bool awq__journal_has(const awq__job *job, int64_t layer)
{
    return cJSON_IsObject(awq__json_at(awq__journal_layer(job, layer), "report"));
}

awq_status awq__journal_source(awq__job *job, awq__loaded_layer *loaded)
{
    int64_t layer = loaded->layer.number;
    uint64_t hash;
    char text[AWQ__HASH_TEXT], what[64];
    cJSON *entry = awq__journal_layer(job, layer);
    if (!entry) /* a plan has no journal */
        return AWQ_OK;
    awq_status status = awq__source_hash(job->plan->model, layer, &loaded->held, &hash);
    awq__hash_text(hash, text);
    snprintf(what, sizeof what, "source of layer %lld", (long long)layer);
    return status == AWQ_OK ? agree(job, entry, "source", what, text) : status;
}

awq_status awq__journal_add(awq__job *job, int64_t layer, cJSON *report)
{
    uint64_t hash;
    char text[AWQ__HASH_TEXT];
    cJSON *entry = awq__journal_layer(job, layer);
    awq_status status = awq__written_hash(job, layer, &hash);
    if (status != AWQ_OK) {
        cJSON_Delete(report);
        return status;
    }
    awq__hash_text(hash, text);
    cJSON_DeleteItemFromObjectCaseSensitive(entry, "written");
    cJSON_DeleteItemFromObjectCaseSensitive(entry, "report");
    if (cJSON_AddStringToObject(entry, "written", text) &&
        cJSON_AddItemToObject(entry, "report", report))
        return AWQ_OK;
    cJSON_Delete(report);
    return no_memory(job);
}

awq_status awq__journal_check(awq__job *job, int64_t layer, bool *whole)
{
    uint64_t hash;
    char text[AWQ__HASH_TEXT];
    const cJSON *written = awq__json_at(awq__journal_layer(job, layer), "written");
    awq_status status = awq__written_hash(job, layer, &hash);
    awq__hash_text(hash, text);
    *whole = status == AWQ_OK && awq__json_is_text(written, text);
    if (status == AWQ_OK && !*whole)
        awq__log(
            job->ctx, AWQ_LOG_WARNING,
            "layer %lld: what %s has of it is not what the interrupted run wrote (%s, expected "
            "%s); it is done again",
            (long long)layer, awq__output_partial(job->output), text,
            cJSON_IsString(written) ? written->valuestring : "no hash");
    return status;
}
