/* The BPE model: characters to symbols, then the best merge again and again. */
#include "text/text_internal.h"

#include <stdio.h>
#include <string.h>

static uint64_t pair_key(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

void awq__bpe_free(awq__bpe *bpe)
{
    awq__names_free(&bpe->vocabulary);
    awq__map_free(&bpe->characters);
    awq__map_free(&bpe->merges);
    awq__map_free(&bpe->joints);
}

void awq__bpe_work_free(awq__bpe_work *work)
{
    awq__free(work->symbols);
    awq__free(work->heap);
    *work = (awq__bpe_work){0};
}

awq_status awq__ids_append(awq_context *ctx, awq__ids *ids, int32_t id)
{
    if (ids->count == ids->capacity)
        AWQ__CHECK(awq__grow(ctx, &ids->data, &ids->capacity, ids->count + 1, sizeof *ids->data,
                             "token ids"));
    ids->data[ids->count++] = id;
    return AWQ_OK;
}

/* ---- loading ---- */

/* The two sides of a merge: ["a", "b"] or "a b". */
typedef struct merge {
    const char *left, *right;
    size_t left_bytes, right_bytes;
} merge;

static awq_status load_vocabulary(const awq__source *source, const cJSON *vocabulary, awq__bpe *bpe)
{
    awq__map ids = {0};
    awq_status status = AWQ_OK;
    if (!cJSON_IsObject(vocabulary))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: model: \"vocab\" is not an object",
                         source->file);
    bpe->largest = -1;
    for (const cJSON *item = vocabulary->child; item; item = item->next) {
        int32_t id;
        uint64_t other;
        uint32_t code_point;
        size_t bytes = strlen(item->string);
        AWQ__TRY(awq__field_id(source, item, item->string, &id));
        if (awq__map_get(&ids, (uint64_t)id, &other))
            AWQ__TRY(awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: two tokens have the id %d",
                               source->file, id));
        AWQ__TRY(awq__map_set(source->ctx, source->file, &ids, (uint64_t)id, 0));
        AWQ__TRY(
            awq__names_add(source->ctx, source->file, &bpe->vocabulary, item->string, bytes, id));
        if (bytes && awq__utf8_next(item->string, &code_point) == bytes)
            AWQ__TRY(awq__map_set(source->ctx, source->file, &bpe->characters, code_point,
                                  (uint64_t)id));
        if (id > bpe->largest)
            bpe->largest = id;
    }
done:
    awq__map_free(&ids);
    return status;
}

static awq_status read_merge(const awq__source *source, const cJSON *item, bool pairs, int rank,
                             merge *out)
{
    const cJSON *left = item->child, *right = left ? left->next : NULL;
    if (pairs && cJSON_IsArray(item) && cJSON_IsString(left) && cJSON_IsString(right) &&
        !right->next) {
        *out = (merge){left->valuestring, right->valuestring, strlen(left->valuestring),
                       strlen(right->valuestring)};
        return AWQ_OK;
    }
    const char *text = !pairs && cJSON_IsString(item) ? item->valuestring : NULL;
    const char *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: merge %d is neither a pair of strings nor \"a b\", like the first",
                         source->file, rank);
    *out = (merge){text, space + 1, (size_t)(space - text), strlen(space + 1)};
    return AWQ_OK;
}

/* The id of a side or result of a merge, which must be in the vocabulary. */
static awq_status merge_id(const awq__source *source, const awq__bpe *bpe, const char *token,
                           size_t bytes, int rank, int32_t *id)
{
    *id = awq__names_find(&bpe->vocabulary, token, bytes);
    if (*id < 0)
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: merge %d needs the token \"%.*s\", which is not in the vocabulary",
                         source->file, rank, bytes < 64 ? (int)bytes : 64, token);
    return AWQ_OK;
}

/* Symbols of unknown or byte tokens do not spell what their token's name says. */
static bool spells_itself(const awq__bpe *bpe, int32_t id)
{
    if (id == bpe->unknown)
        return false;
    for (int i = 0; bpe->byte_fallback && i < 256; i++)
        if (bpe->byte_ids[i] == id)
            return false;
    return true;
}

static awq_status add_joint(const awq__source *source, awq__bpe *bpe, const merge *m)
{
    uint32_t last = 0, first;
    for (size_t at = 0; at < m->left_bytes;)
        at += awq__utf8_next(m->left + at, &last);
    if (!m->left_bytes || !m->right_bytes) {
        bpe->has_joints = false;
        return AWQ_OK;
    }
    awq__utf8_next(m->right, &first);
    return awq__map_set(source->ctx, source->file, &bpe->joints, pair_key(last, first), 0);
}

static awq_status add_merge(const awq__source *source, awq__bpe *bpe, const merge *m, int rank,
                            awq__text *joined)
{
    int32_t left, right, result = -1;
    joined->length = 0;
    AWQ__CHECK(merge_id(source, bpe, m->left, m->left_bytes, rank, &left));
    AWQ__CHECK(merge_id(source, bpe, m->right, m->right_bytes, rank, &right));
    AWQ__CHECK(awq__text_append_bytes(source->ctx, joined, m->left, m->left_bytes));
    AWQ__CHECK(awq__text_append_bytes(source->ctx, joined, m->right, m->right_bytes));
    AWQ__CHECK(merge_id(source, bpe, joined->data, joined->length, rank, &result));
    if (!spells_itself(bpe, left) || !spells_itself(bpe, right))
        bpe->has_joints = false;
    AWQ__CHECK(awq__map_set(source->ctx, source->file, &bpe->merges,
                            pair_key((uint32_t)left, (uint32_t)right),
                            pair_key((uint32_t)rank, (uint32_t)result)));
    return add_joint(source, bpe, m);
}

static awq_status load_merges(const awq__source *source, const cJSON *merges, awq__bpe *bpe)
{
    if (!cJSON_IsArray(merges))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: model: \"merges\" is not an array",
                         source->file);
    awq__text joined = {0};
    awq_status status = AWQ_OK;
    bool pairs = cJSON_IsArray(merges->child);
    int rank = 0;
    bpe->has_joints = true;
    for (const cJSON *item = merges->child; item; item = item->next) {
        merge m = {0};
        if (!pairs && cJSON_IsString(item) && !strncmp(item->valuestring, "#version", 8))
            continue;
        AWQ__TRY(read_merge(source, item, pairs, rank, &m));
        AWQ__TRY(add_merge(source, bpe, &m, rank++, &joined));
    }
done:
    awq__text_free(&joined);
    return status;
}

static void find_byte_tokens(awq__bpe *bpe)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        int length = snprintf(name, sizeof name, "<0x%02X>", byte);
        bpe->byte_ids[byte] =
            bpe->byte_fallback ? awq__names_find(&bpe->vocabulary, name, (size_t)length) : -1;
    }
}

/* Members that must be absent, null, or what a model without them has. */
static awq_status refuse_extras(const awq__source *source, const cJSON *item)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type, *text;
    AWQ__CHECK(awq__field_string(source, item, "model", "type", true, &type));
    if (type && strcmp(type, "BPE"))
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: the model \"%s\" is not supported, only \"BPE\"", source->file, type);
    AWQ__CHECK(awq__field_names(source, item, "model",
                                "type vocab merges dropout unk_token continuing_subword_prefix "
                                "end_of_word_suffix fuse_unk byte_fallback ignore_merges"));
    for (int i = 0; i < 2; i++) {
        AWQ__CHECK(awq__field_string(source, item, "model", affixes[i], true, &text));
        if (text && *text)
            return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: model: %s \"%s\" is not supported", source->file, affixes[i],
                             text);
    }
    const cJSON *dropout = awq__field(item, "dropout");
    if (dropout && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0))
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: model: a dropout is not supported", source->file);
    return AWQ_OK;
}

awq_status awq__bpe_load(const awq__source *source, const cJSON *item, awq__bpe *bpe)
{
    const char *unknown = NULL;
    if (!cJSON_IsObject(item))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: \"model\" is not an object",
                         source->file);
    AWQ__CHECK(refuse_extras(source, item));
    AWQ__CHECK(awq__field_string(source, item, "model", "unk_token", true, &unknown));
    AWQ__CHECK(awq__field_bool(source, item, "model", "fuse_unk", false, &bpe->fuse_unknown));
    AWQ__CHECK(awq__field_bool(source, item, "model", "byte_fallback", false, &bpe->byte_fallback));
    AWQ__CHECK(awq__field_bool(source, item, "model", "ignore_merges", false, &bpe->ignore_merges));
    AWQ__CHECK(load_vocabulary(source, awq__field(item, "vocab"), bpe));
    bpe->unknown = unknown ? awq__names_find(&bpe->vocabulary, unknown, strlen(unknown)) : -1;
    bpe->unknown_missing = unknown && bpe->unknown < 0;
    find_byte_tokens(bpe);
    return load_merges(source, awq__field(item, "merges"), bpe);
}

/* ---- encoding ---- */

static bool earlier(const awq__merge_candidate *a, const awq__merge_candidate *b)
{
    return a->order < b->order;
}

static void sift_down(awq__bpe_work *work, size_t at)
{
    awq__merge_candidate moving = work->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= work->heap_count)
            break;
        if (child + 1 < work->heap_count && earlier(&work->heap[child + 1], &work->heap[child]))
            child++;
        if (!earlier(&work->heap[child], &moving))
            break;
        work->heap[at] = work->heap[child];
        at = child;
    }
    work->heap[at] = moving;
}

static void sift_up(awq__bpe_work *work, size_t at)
{
    awq__merge_candidate moving = work->heap[at];
    while (at && earlier(&moving, &work->heap[(at - 1) / 2])) {
        work->heap[at] = work->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    work->heap[at] = moving;
}

static awq__merge_candidate pop(awq__bpe_work *work)
{
    awq__merge_candidate top = work->heap[0];
    work->heap[0] = work->heap[--work->heap_count];
    if (work->heap_count)
        sift_down(work, 0);
    return top;
}

/* Puts the pair that begins at `left` at the end of the heap, unordered. False if there is none. */
static bool queue(const awq__bpe *bpe, awq__bpe_work *work, int32_t left)
{
    const awq__symbol *symbol = &work->symbols[left];
    uint64_t value;
    if (symbol->next < 0)
        return false;
    uint64_t key = pair_key((uint32_t)symbol->id, (uint32_t)work->symbols[symbol->next].id);
    if (!awq__map_get(&bpe->merges, key, &value))
        return false;
    work->heap[work->heap_count++] =
        (awq__merge_candidate){pair_key((uint32_t)(value >> 32), (uint32_t)left), (int32_t)value};
    return true;
}

/* Merges a candidate, unless what it was queued for is gone. */
static void apply(const awq__bpe *bpe, awq__bpe_work *work, const awq__merge_candidate *candidate)
{
    int32_t at = (int32_t)candidate->order;
    awq__symbol *symbol = &work->symbols[at];
    uint64_t value;
    if (symbol->id < 0 || symbol->next < 0)
        return;
    awq__symbol *right = &work->symbols[symbol->next];
    /* As everywhere, what counts is that the pair still makes the same token. */
    if (!awq__map_get(&bpe->merges, pair_key((uint32_t)symbol->id, (uint32_t)right->id), &value) ||
        (int32_t)value != candidate->new_id)
        return;
    symbol->id = candidate->new_id;
    symbol->next = right->next;
    right->id = -1;
    if (symbol->next >= 0)
        work->symbols[symbol->next].previous = at;
    if (symbol->previous >= 0 && queue(bpe, work, symbol->previous))
        sift_up(work, work->heap_count - 1);
    if (queue(bpe, work, at))
        sift_up(work, work->heap_count - 1);
}

/* Merges the symbols gathered so far as far as possible, appends their ids, and begins anew. */
static awq_status merge_symbols(awq_context *ctx, const awq__bpe *bpe, awq__bpe_work *work,
                                awq__ids *ids)
{
    size_t count = work->symbol_count;
    /* Fewer than `count` pairs to begin with, and as many merges, each of which takes a candidate
       and adds at most two. */
    AWQ__CHECK(
        awq__grow(ctx, &work->heap, &work->heap_capacity, 2 * count, sizeof *work->heap, "merges"));
    work->heap_count = 0;
    for (size_t i = 0; i < count; i++) {
        work->symbols[i].previous = (int32_t)i - 1;
        work->symbols[i].next = i + 1 < count ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i < count; i++)
        queue(bpe, work, (int32_t)i);
    for (size_t i = work->heap_count / 2; i-- > 0;)
        sift_down(work, i);
    while (work->heap_count) {
        awq__merge_candidate top = pop(work);
        apply(bpe, work, &top);
    }
    for (int32_t i = count ? 0 : -1; i >= 0; i = work->symbols[i].next)
        AWQ__CHECK(awq__ids_append(ctx, ids, work->symbols[i].id));
    work->symbol_count = 0;
    return AWQ_OK;
}

static awq_status add_symbol(const awq__source *source, awq__bpe_work *work, int32_t id)
{
    if (work->symbol_count == work->symbol_capacity) {
        if (work->symbol_count >= INT32_MAX / 4)
            return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: a text without a place to cut it is longer than %d symbols",
                             source->file, INT32_MAX / 4);
        AWQ__CHECK(awq__grow(source->ctx, &work->symbols, &work->symbol_capacity,
                             work->symbol_count + 1, sizeof *work->symbols, "symbols"));
    }
    work->symbols[work->symbol_count++].id = id;
    return AWQ_OK;
}

/* Can the character be written in byte tokens? */
static bool has_bytes(const awq__bpe *bpe, const char *character, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (bpe->byte_ids[(uint8_t)character[i]] < 0)
            return false;
    return bpe->byte_fallback;
}

/* Adds the byte tokens of a character. */
static awq_status add_bytes(const awq__source *source, const awq__bpe *bpe, awq__bpe_work *work,
                            const char *character, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        AWQ__CHECK(add_symbol(source, work, bpe->byte_ids[(uint8_t)character[i]]));
    return AWQ_OK;
}

/*
 * A run of unknown characters is written when a known character follows. Bytes of a fallback do not
 * end the run, so that it comes behind them. All tokenizers that this one must agree with do so.
 */
awq_status awq__bpe_encode(const awq__source *source, const awq__bpe *bpe, awq__bpe_work *work,
                           const char *piece, size_t bytes, awq__ids *ids)
{
    bool unknown = false;
    uint32_t previous = 0, code_point;
    int32_t whole = bpe->ignore_merges && bytes <= bpe->vocabulary.longest
                        ? awq__names_find(&bpe->vocabulary, piece, bytes)
                        : -1;
    if (whole >= 0)
        return awq__ids_append(source->ctx, ids, whole);
    work->symbol_count = 0;
    for (size_t at = 0, length; at < bytes; at += length) {
        uint64_t id, joint;
        length = awq__utf8_next(piece + at, &code_point);
        if (awq__map_get(&bpe->characters, code_point, &id)) {
            if (unknown)
                AWQ__CHECK(add_symbol(source, work, bpe->unknown));
            unknown = false;
            /* No merge reaches across: what is before can be finished, in memory of its own size.
             */
            if (bpe->has_joints && work->symbol_count &&
                !awq__map_get(&bpe->joints, pair_key(previous, code_point), &joint))
                AWQ__CHECK(merge_symbols(source->ctx, bpe, work, ids));
            AWQ__CHECK(add_symbol(source, work, (int32_t)id));
            previous = code_point;
        } else if (has_bytes(bpe, piece + at, length)) {
            AWQ__CHECK(add_bytes(source, bpe, work, piece + at, length));
        } else {
            if (bpe->unknown_missing)
                return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                                 "%s: U+%04X has no token, and unk_token is not in the vocabulary",
                                 source->file, (unsigned)code_point);
            if (unknown && !bpe->fuse_unknown)
                AWQ__CHECK(add_symbol(source, work, bpe->unknown));
            unknown = bpe->unknown >= 0;
        }
    }
    if (unknown)
        AWQ__CHECK(add_symbol(source, work, bpe->unknown));
    return merge_symbols(source->ctx, bpe, work, ids);
}
