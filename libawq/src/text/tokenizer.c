/* tokenizer.json as a whole: loading its parts, and the way of a text through them. */
#include "text/text_internal.h"

#include <string.h>

#define MAX_FILE_BYTES ((size_t)256 << 20)

struct awq__tokenizer {
    awq__source source; /* its file is owned */
    awq__added raw;     /* found in the text as it is */
    awq__added normal;  /* found in the normalized text */
    awq__normalizer normalizer;
    awq__pretokenizer pretokenizer;
    awq__bpe bpe;
    awq__template around;
    int64_t size;
};

void awq__tokenizer_free(awq__tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    awq__added_free(&tokenizer->raw);
    awq__added_free(&tokenizer->normal);
    awq__normalizer_free(&tokenizer->normalizer);
    awq__pretokenizer_free(&tokenizer->pretokenizer);
    awq__bpe_free(&tokenizer->bpe);
    awq__template_free(&tokenizer->around);
    awq__free((char *)(uintptr_t)tokenizer->source.file);
    awq__free(tokenizer);
}

/* ---- loading ---- */

/* Added tokens while they are loaded. */
typedef struct added_loader {
    awq__tokenizer *tokenizer;
    awq__match_data *data;
    awq__names contents; /* all, to find one that stands twice */
    int64_t next_id;     /* of a token that is not in the vocabulary */
} added_loader;

static void count_id(awq__tokenizer *tokenizer, int32_t id)
{
    if (id >= tokenizer->size)
        tokenizer->size = (int64_t)id + 1;
}

/*
 * A token has its id from the vocabulary or gets the next free one; the file says an id too, and
 * where the two differ nobody can tell which was meant.
 */
static awq_status check_id(added_loader *loader, const char *content, int32_t id)
{
    const awq__source *source = &loader->tokenizer->source;
    int64_t expected =
        awq__names_find(&loader->tokenizer->bpe.vocabulary, content, strlen(content));
    if (expected < 0)
        expected = loader->next_id++;
    else if (expected >= loader->next_id)
        loader->next_id = expected + 1;
    if (id != expected)
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: the added token \"%s\" has the id %d, but its place gives it %lld",
                         source->file, content, id, (long long)expected);
    count_id(loader->tokenizer, id);
    return awq__names_add(source->ctx, source->file, &loader->contents, content, strlen(content),
                          id);
}

static awq_status insert_normalized(added_loader *loader, const char *content,
                                    awq__added_token token)
{
    awq__tokenizer *tokenizer = loader->tokenizer;
    awq__text work[2] = {{0}, {0}};
    size_t bytes = strlen(content);
    awq_status status;
    AWQ__TRY(awq__normalize(&tokenizer->source, &tokenizer->normalizer, loader->data, work,
                            &content, &bytes));
    AWQ__TRY(awq__added_insert(&tokenizer->source, &tokenizer->normal, content, bytes, token));
done:
    awq__text_free(&work[0]);
    awq__text_free(&work[1]);
    return status;
}

static awq_status load_added_token(added_loader *loader, const cJSON *item, bool special_turn)
{
    static const char what[] = "an added token";
    const awq__source *source = &loader->tokenizer->source;
    awq__added_token token;
    const char *content;
    bool special, normalized;
    AWQ__CHECK(awq__field_names(source, item, what,
                                "id content single_word lstrip rstrip normalized special"));
    AWQ__CHECK(awq__field_string(source, item, what, "content", false, &content));
    AWQ__CHECK(awq__field_id(source, awq__field(item, "id"), content, &token.id));
    AWQ__CHECK(awq__field_bool(source, item, content, "single_word", -1, &token.single_word));
    AWQ__CHECK(awq__field_bool(source, item, content, "lstrip", -1, &token.strip_left));
    AWQ__CHECK(awq__field_bool(source, item, content, "rstrip", -1, &token.strip_right));
    AWQ__CHECK(awq__field_bool(source, item, content, "normalized", -1, &normalized));
    AWQ__CHECK(awq__field_bool(source, item, content, "special", -1, &special));
    if (special_turn && *content)
        AWQ__CHECK(check_id(loader, content, token.id));
    /* An empty token is never found. */
    if (special != special_turn || !*content)
        return AWQ_OK;
    if (normalized)
        return insert_normalized(loader, content, token);
    return awq__added_insert(source, &loader->tokenizer->raw, content, strlen(content), token);
}

static awq_status load_added(awq__tokenizer *tokenizer, const cJSON *list)
{
    const awq__source *source = &tokenizer->source;
    added_loader loader = {.tokenizer = tokenizer,
                           .next_id = (int64_t)tokenizer->bpe.vocabulary.count};
    if (!list)
        return AWQ_OK;
    if (!cJSON_IsArray(list))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: \"added_tokens\" is not an array",
                         source->file);
    loader.data = awq__match_data_create(source->ctx);
    awq_status status;
    AWQ__TRY_ALLOC(loader.data);
    /* Of tokens that normalize to the same, a special one wins. */
    for (int turn = 0; turn < 2; turn++)
        for (const cJSON *item = list->child; item; item = item->next)
            AWQ__TRY(load_added_token(&loader, item, turn == 0));
done:
    awq__match_data_free(loader.data);
    awq__names_free(&loader.contents);
    return status;
}

/* Normalizers may move the place where a text begins, which prepend_scheme "first" asks for. */
static awq_status check_origin(const awq__tokenizer *tokenizer)
{
    const awq__normalizer *normalizer = &tokenizer->normalizer;
    bool moved = normalizer->count && tokenizer->normal.count;
    for (size_t i = 0; i < normalizer->count; i++)
        moved |= normalizer->steps[i].kind == AWQ__NORMAL_REPLACE && !*normalizer->steps[i].content;
    if (moved && tokenizer->pretokenizer.needs_origin)
        return awq__fail(tokenizer->source.ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: pre-tokenizer Metaspace with prepend_scheme \"first\" behind "
                         "normalizers that remove text, or with normalized added tokens",
                         tokenizer->source.file);
    return AWQ_OK;
}

static awq_status load_parts(awq__tokenizer *tokenizer, const cJSON *root)
{
    const awq__source *source = &tokenizer->source;
    const char *version;
    AWQ__CHECK(awq__field_names(source, root, "the tokenizer",
                                "version truncation padding added_tokens normalizer pre_tokenizer "
                                "post_processor decoder model"));
    AWQ__CHECK(awq__field_string(source, root, "the tokenizer", "version", true, &version));
    if (version && strcmp(version, "1.0"))
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: version \"%s\", supported is \"1.0\"", source->file, version);
    AWQ__CHECK(awq__bpe_load(source, awq__field(root, "model"), &tokenizer->bpe));
    AWQ__CHECK(
        awq__normalizer_load(source, awq__field(root, "normalizer"), &tokenizer->normalizer));
    AWQ__CHECK(awq__pretokenizer_load(source, awq__field(root, "pre_tokenizer"),
                                      &tokenizer->pretokenizer));
    AWQ__CHECK(awq__template_load(source, awq__field(root, "post_processor"), &tokenizer->around));
    tokenizer->size = (int64_t)tokenizer->bpe.largest + 1;
    for (size_t i = 0; i < tokenizer->around.before.count; i++)
        count_id(tokenizer, tokenizer->around.before.data[i]);
    for (size_t i = 0; i < tokenizer->around.after.count; i++)
        count_id(tokenizer, tokenizer->around.after.data[i]);
    AWQ__CHECK(load_added(tokenizer, awq__field(root, "added_tokens")));
    return check_origin(tokenizer);
}

/* The file as JSON. Strings are compared as C strings later, so none may hold a NUL. */
static awq_status read_json(awq_context *ctx, const char *path, cJSON **root)
{
    char *text;
    size_t bytes;
    AWQ__CHECK(awq__read_text_file(ctx, path, MAX_FILE_BYTES, &text, &bytes));
    *root = NULL;
    awq_status status;
    if (awq__json_has_nul(text, bytes))
        status =
            awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "%s: a token with U+0000 is not supported", path);
    else
        status = awq__json_parse(ctx, path, text, bytes, root);
    awq__free(text);
    return status;
}

/* Kimi's models have OpenAI's tiktoken in place of a tokenizer.json, others SentencePiece's. */
static awq_status refuse_other_kinds(awq_context *ctx, const char *path)
{
    static const char *const others[] = {"tiktoken.model", "tokenizer.model"};
    const char *slash = strrchr(path, '/');
    int directory = slash ? (int)(slash + 1 - path) : 0;
    for (size_t i = 0; i < sizeof others / sizeof *others && !awq__is_file(path); i++) {
        char *other = awq__format(ctx, "%.*s%s", directory, path, others[i]);
        AWQ__CHECK_ALLOC(other);
        bool there = awq__is_file(other);
        awq__free(other);
        if (there)
            return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: is not there, and the model's %s is not read; give ids in place "
                             "of text: a .safetensors with input_ids [rows, length], I32",
                             path, others[i]);
    }
    return AWQ_OK;
}

awq_status awq__tokenizer_load(awq_context *ctx, const char *path, awq__tokenizer **out)
{
    cJSON *root = NULL;
    *out = NULL;
    awq__tokenizer *tokenizer = awq__alloc(ctx, 1, sizeof *tokenizer, "a tokenizer");
    AWQ__CHECK_ALLOC(tokenizer);
    tokenizer->source = (awq__source){ctx, awq__strdup(ctx, path)};
    awq_status status;
    AWQ__TRY_ALLOC(tokenizer->source.file);
    AWQ__TRY(refuse_other_kinds(ctx, path));
    AWQ__TRY(read_json(ctx, path, &root));
    AWQ__TRY(load_parts(tokenizer, root));
    *out = tokenizer;
done:
    cJSON_Delete(root);
    if (status != AWQ_OK)
        awq__tokenizer_free(tokenizer);
    return status;
}

int32_t awq__tokenizer_bos(const awq__tokenizer *tokenizer)
{
    return tokenizer->around.before.count ? tokenizer->around.before.data[0] : -1;
}

int64_t awq__tokenizer_size(const awq__tokenizer *tokenizer)
{
    return tokenizer->size;
}

/* ---- encoding ---- */

/* What one call needs; the tokenizer itself does not change. */
typedef struct encoder {
    const awq__tokenizer *tokenizer;
    awq__cutter cutter;
    awq__bpe_work bpe;
    awq__text normal[2];
    awq__ids *ids;
    size_t limit; /* of the ids that are wanted */
} encoder;

static bool is_full(const encoder *e)
{
    return e->ids->count >= e->limit;
}

static awq_status encode_piece(void *arg, const char *piece, size_t bytes)
{
    encoder *e = arg;
    AWQ__CHECK(
        awq__bpe_encode(&e->tokenizer->source, &e->tokenizer->bpe, &e->bpe, piece, bytes, e->ids));
    e->cutter.full = is_full(e);
    return AWQ_OK;
}

/* What is between tokens of the raw text: normalized, searched for the other tokens, cut. */
static awq_status encode_segment(encoder *e, const char *text, size_t bytes, bool first)
{
    const awq__source *source = &e->tokenizer->source;
    awq__added_scan scan;
    size_t start, end;
    int32_t id;
    AWQ__CHECK(awq__normalize(source, &e->tokenizer->normalizer, e->cutter.data, e->normal, &text,
                              &bytes));
    awq__added_begin(&scan, &e->tokenizer->normal, text, bytes);
    while (!is_full(e) && awq__added_next(&scan, &start, &end, &id))
        AWQ__CHECK(id >= 0 ? awq__ids_append(source->ctx, e->ids, id)
                           : awq__cut(&e->cutter, text + start, end - start, first && !start));
    return AWQ_OK;
}

static awq_status encode_text(encoder *e, const char *text, size_t bytes)
{
    awq__added_scan scan;
    size_t start, end;
    int32_t id;
    awq__added_begin(&scan, &e->tokenizer->raw, text, bytes);
    while (!is_full(e) && awq__added_next(&scan, &start, &end, &id))
        AWQ__CHECK(id >= 0 ? awq__ids_append(e->tokenizer->source.ctx, e->ids, id)
                           : encode_segment(e, text + start, end - start, !start));
    return AWQ_OK;
}

static awq_status append_all(awq_context *ctx, awq__ids *ids, const awq__ids *more)
{
    for (size_t i = 0; i < more->count; i++)
        AWQ__CHECK(awq__ids_append(ctx, ids, more->data[i]));
    return AWQ_OK;
}

awq_status awq__tokenizer_encode_first(const awq__tokenizer *tokenizer, const char *text,
                                       size_t bytes, bool add_special, size_t most, awq__ids *ids)
{
    const awq__source *source = &tokenizer->source;
    size_t before = ids->count;
    encoder e = {.tokenizer = tokenizer,
                 .ids = ids,
                 .limit = most < SIZE_MAX - before ? before + most : SIZE_MAX};
    awq__text repaired = {0};
    e.cutter = (awq__cutter){.source = source,
                             .pretokenizer = &tokenizer->pretokenizer,
                             .data = awq__match_data_create(source->ctx),
                             .piece = encode_piece,
                             .arg = &e};
    AWQ__CHECK_ALLOC(e.cutter.data);
    awq_status status;
    if (bytes && awq__utf8_valid(text, bytes) < bytes) {
        AWQ__TRY(awq__utf8_repair(source->ctx, text, bytes, &repaired));
        text = repaired.data;
        bytes = repaired.length;
    }
    if (add_special)
        AWQ__TRY(append_all(source->ctx, ids, &tokenizer->around.before));
    AWQ__TRY(encode_text(&e, text, bytes));
    if (add_special)
        AWQ__TRY(append_all(source->ctx, ids, &tokenizer->around.after));
    if (is_full(&e))
        ids->count = e.limit;
done:
    if (status != AWQ_OK)
        ids->count = before;
    awq__text_free(&repaired);
    awq__match_data_free(e.cutter.data);
    awq__bpe_work_free(&e.bpe);
    for (size_t i = 0; i < AWQ__MAX_PIECE_STEPS; i++)
        awq__text_free(&e.cutter.work[i]);
    awq__text_free(&e.normal[0]);
    awq__text_free(&e.normal[1]);
    return status;
}

awq_status awq__tokenizer_encode(const awq__tokenizer *tokenizer, const char *text, size_t bytes,
                                 bool add_special, awq__ids *ids)
{
    return awq__tokenizer_encode_first(tokenizer, text, bytes, add_special, SIZE_MAX, ids);
}
