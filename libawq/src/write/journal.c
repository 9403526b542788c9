/*
 * The journal of a run, by which an interrupted run is resumed.
 *
 * The file is a JSON object whose first line has a hash of all that follows. Member "of" identifies
 * the run: model, recipe, plugin, ids. Member "layers" has an object for each layer. It gets
 * "source", the hash of the layer's tensors in the source; "losses", the loss of each scheme; and,
 * once the layer is finished, "written", the hash of its tensors in the result, and "report".
 */
#include "write/journal.h"

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

static int64_t layer_count(const awq__journal *journal)
{
    return journal->writer->plan->model->arch->model.layer_count;
}

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

/* The hash is right: is the content a journal of this many layers? */
static bool has_form(const cJSON *root, int64_t layers)
{
    const cJSON *list = awq__json_at(root, "layers"), *layer;
    bool fits = cJSON_IsObject(awq__json_at(root, "of")) && cJSON_IsArray(list) &&
                cJSON_GetArraySize(list) == layers;
    cJSON_ArrayForEach(layer, list) fits &= cJSON_IsObject(layer);
    return fits;
}

static awq_status parse(awq__journal *journal, const char *path, const char *text, size_t bytes)
{
    awq_context *ctx = journal->writer->ctx;
    char line[HASH_LINE_BYTES + 1];
    if (bytes < HASH_LINE_BYTES)
        return damaged(ctx, path);
    uint64_t hash = awq__hash(AWQ__HASH_SEED, text + HASH_LINE_BYTES, bytes - HASH_LINE_BYTES);
    snprintf(line, sizeof line, HASH_LINE, hash);
    if (memcmp(line, text, HASH_LINE_BYTES))
        return damaged(ctx, path);
    AWQ__CHECK(awq__json_parse(ctx, path, text, bytes, &journal->json));
    if (!has_form(journal->json, layer_count(journal)))
        return damaged(ctx, path);
    /* The old hash does not belong to the next content. */
    cJSON_DeleteItemFromObjectCaseSensitive(journal->json, "hash");
    return AWQ_OK;
}

static awq_status read_file(awq__journal *journal, const char *path)
{
    char *text;
    size_t bytes;
    awq_status status;
    AWQ__TRY(awq__read_text_file(journal->writer->ctx, path, MAX_BYTES, &text, &bytes));
    AWQ__TRY(parse(journal, path, text, bytes));
done:
    awq__free(text);
    return status;
}

awq_status awq__journal_open(const awq__writer *writer, bool restart, awq__journal *journal)
{
    *journal = (awq__journal){.writer = writer};
    char *path =
        awq__path_join(writer->ctx, awq__output_partial(writer->output), AWQ__JOURNAL_FILE);
    AWQ__CHECK_ALLOC(path);
    awq_status status = AWQ_OK;
    journal->resumed = !restart && awq__is_file(path);
    if (journal->resumed)
        status = read_file(journal, path);
    else if (!(journal->json = create_empty(layer_count(journal))))
        status = awq__fail(writer->ctx, AWQ_ERROR_MEMORY, "out of memory: %s", path);
    awq__free(path);
    return status;
}

void awq__journal_free(awq__journal *journal)
{
    cJSON_Delete(journal->json);
    *journal = (awq__journal){0};
}

awq_status awq__journal_write(awq__journal *journal)
{
    awq_context *ctx = journal->writer->ctx;
    awq_status status;
    awq__text text = {0};
    char *printed = cJSON_Print(journal->json);
    if (!printed)
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: %s", AWQ__JOURNAL_FILE);
    /* All but the brace that opens the object. */
    uint64_t hash = awq__hash(AWQ__HASH_SEED, printed + 1, strlen(printed + 1));
    AWQ__TRY(awq__text_append(ctx, &text, HASH_LINE "%s", hash, printed + 1));
    AWQ__TRY(awq__output_settle(journal->writer->output, AWQ__JOURNAL_FILE, text.data));
done:
    awq__text_free(&text);
    cJSON_free(printed);
    return status;
}

/* ---- what the run is of ---- */

static awq_status no_memory(awq__journal *journal)
{
    return awq__fail(journal->writer->ctx, AWQ_ERROR_MEMORY, "out of memory: the journal");
}

/* Adds a text, or checks that the one already there is the same. */
static awq_status agree(awq__journal *journal, cJSON *object, const char *key, const char *what,
                        const char *value)
{
    const cJSON *then = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!then)
        return cJSON_AddStringToObject(object, key, value) ? AWQ_OK : no_memory(journal);
    if (awq__json_is_text(then, value))
        return AWQ_OK;
    const char *old = cJSON_IsString(then) ? then->valuestring : "?";
    return awq__fail(journal->writer->ctx, AWQ_ERROR_EXISTS,
                     "%s: holds an interrupted run with another %s: %.*s%s then, %.*s%s now; it "
                     "goes on with what it was, or " WAY_OUT,
                     awq__output_partial(journal->writer->output), what, SHOWN_BYTES, old,
                     strlen(old) > SHOWN_BYTES ? "..." : "", SHOWN_BYTES, value,
                     strlen(value) > SHOWN_BYTES ? "..." : "");
}

awq_status awq__journal_agree(awq__journal *journal, const char *name, const char *value)
{
    cJSON *of = cJSON_GetObjectItemCaseSensitive(journal->json, "of");
    return agree(journal, of, name, name, value);
}

awq_status awq__journal_agree_hash(awq__journal *journal, const char *name, uint64_t hash)
{
    char text[AWQ__HASH_TEXT];
    awq__hash_text(hash, text);
    return awq__journal_agree(journal, name, text);
}

void awq__hash_text(uint64_t hash, char text[AWQ__HASH_TEXT])
{
    snprintf(text, AWQ__HASH_TEXT, "xxh3:%016" PRIx64, hash);
}

/* ---- its layers ---- */

cJSON *awq__journal_layer(const awq__journal *journal, int64_t layer)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(journal->json, "layers");
    return list ? cJSON_GetArrayItem(list, (int)layer) : NULL;
}

bool awq__journal_has(const awq__journal *journal, int64_t layer)
{
    return cJSON_IsObject(awq__json_at(awq__journal_layer(journal, layer), "report"));
}

awq_status awq__journal_source(awq__journal *journal, awq__loaded_layer *loaded)
{
    int64_t layer = loaded->layer.number;
    uint64_t hash;
    char text[AWQ__HASH_TEXT], what[64];
    cJSON *entry = awq__journal_layer(journal, layer);
    if (!entry) /* a plan has no journal */
        return AWQ_OK;
    AWQ__CHECK(awq__source_hash(journal->writer->plan->model, layer, &loaded->held, &hash));
    awq__hash_text(hash, text);
    snprintf(what, sizeof what, "source of layer %lld", (long long)layer);
    return agree(journal, entry, "source", what, text);
}

awq_status awq__journal_add(awq__journal *journal, int64_t layer, cJSON *report)
{
    uint64_t hash;
    char text[AWQ__HASH_TEXT];
    cJSON *entry = awq__journal_layer(journal, layer);
    awq_status status;
    AWQ__TRY(awq__written_hash(journal->writer, layer, &hash));
    awq__hash_text(hash, text);
    cJSON_DeleteItemFromObjectCaseSensitive(entry, "written");
    cJSON_DeleteItemFromObjectCaseSensitive(entry, "report");
    if (!cJSON_AddStringToObject(entry, "written", text) ||
        !cJSON_AddItemToObject(entry, "report", report))
        AWQ__TRY(no_memory(journal));
done:
    if (status != AWQ_OK)
        cJSON_Delete(report);
    return status;
}

awq_status awq__journal_check(awq__journal *journal, int64_t layer, bool *whole)
{
    uint64_t hash;
    char text[AWQ__HASH_TEXT];
    const cJSON *written = awq__json_at(awq__journal_layer(journal, layer), "written");
    *whole = false;
    AWQ__CHECK(awq__written_hash(journal->writer, layer, &hash));
    awq__hash_text(hash, text);
    *whole = awq__json_is_text(written, text);
    if (!*whole)
        awq__log(
            journal->writer->ctx, AWQ_LOG_WARNING,
            "layer %lld: what %s has of it is not what the interrupted run wrote (%s, expected "
            "%s); it is done again",
            (long long)layer, awq__output_partial(journal->writer->output), text,
            cJSON_IsString(written) ? written->valuestring : "no hash");
    return AWQ_OK;
}
