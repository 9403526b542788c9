/*
 * A tokenizer as llama.cpp has it: byte-level BPE ("gpt2"), or BPE over characters with bytes for
 * what has none ("llama"), from tokenizer.json.
 */
#include "format/gguf_model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS "tokenizer.ggml."
#define SPACE_MARK "\xe2\x96\x81" /* U+2581, a space in the one kind */
#define BYTE_SPACE "\xc4\xa0"     /* U+0120, a space in the other */

/* Of tokenizer.ggml.token_type. */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

typedef struct vocabulary {
    awq_context *ctx;
    const char *file;
    cJSON *tokenizer, *config; /* tokenizer.json; tokenizer_config.json or NULL */
    const cJSON *model_config; /* config.json */
    bool byte_level;
    size_t count;
    char **tokens; /* [count] */
    int32_t *types;
} vocabulary;

/* ---- tokens ---- */

static awq_status check_id(const vocabulary *v, int64_t id, const char *token)
{
    if (id >= 0 && (size_t)id < v->count)
        return AWQ_OK;
    return awq__fail(v->ctx, AWQ_ERROR_FORMAT,
                     "%s: the token \"%s\" has the id %lld, but the model has %zu", v->file, token,
                     (long long)id, v->count);
}

static awq_status set_token(vocabulary *v, int64_t id, const char *token, int32_t type)
{
    AWQ__CHECK(check_id(v, id, token));
    awq__free(v->tokens[id]);
    v->tokens[id] = awq__strdup(v->ctx, token);
    v->types[id] = type;
    return v->tokens[id] ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* "<0x0A>" */
static bool is_byte(const char *token)
{
    return strlen(token) == 6 && !strncmp(token, "<0x", 3) && isxdigit((unsigned char)token[3]) &&
           isxdigit((unsigned char)token[4]) && token[5] == '>';
}

static awq_status set_vocabulary(vocabulary *v)
{
    const cJSON *tokens = awq__json_at(v->tokenizer, "model.vocab");
    for (const cJSON *item = cJSON_IsObject(tokens) ? tokens->child : NULL; item;
         item = item->next) {
        int64_t id;
        if (!awq__json_int(item, &id))
            return awq__fail(v->ctx, AWQ_ERROR_FORMAT, "%s: the id of \"%s\" is no whole number",
                             v->file, item->string);
        bool byte = !v->byte_level && is_byte(item->string);
        AWQ__CHECK(set_token(v, id, item->string, byte ? BYTE : NORMAL));
    }
    return AWQ_OK;
}

static char *with_spaces(awq_context *ctx, const char *token)
{
    char *text = awq__strdup(ctx, token), *to = text;
    for (const char *from = text; from && *from; to++) {
        bool mark = !strncmp(from, SPACE_MARK, strlen(SPACE_MARK));
        *to = mark ? ' ' : *from;
        from += mark ? strlen(SPACE_MARK) : 1;
    }
    if (text)
        *to = 0;
    return text;
}

static awq_status set_added(vocabulary *v, const cJSON *item, const char *unknown)
{
    int64_t id;
    const cJSON *content = awq__json_at(item, "content");
    if (!cJSON_IsString(content) || !awq__json_int(awq__json_at(item, "id"), &id))
        return awq__fail(v->ctx, AWQ_ERROR_FORMAT, "%s: an added token without content or id",
                         v->file);
    bool special = cJSON_IsTrue(awq__json_at(item, "special"));
    bool is_unknown = unknown && !strcmp(content->valuestring, unknown);
    char *text = special ? awq__strdup(v->ctx, content->valuestring)
                         : with_spaces(v->ctx, content->valuestring);
    AWQ__CHECK_ALLOC(text);
    awq_status status = set_token(v, id, text,
                                  is_unknown ? UNKNOWN
                                  : special  ? CONTROL
                                             : USER_DEFINED);
    awq__free(text);
    return status;
}

static awq_status set_all_added(vocabulary *v)
{
    const cJSON *unknown = awq__json_at(v->tokenizer, "model.unk_token");
    const cJSON *added = awq__json_at(v->tokenizer, "added_tokens");
    for (const cJSON *item = cJSON_IsArray(added) ? added->child : NULL; item; item = item->next)
        AWQ__CHECK(set_added(v, item, cJSON_IsString(unknown) ? unknown->valuestring : NULL));
    return AWQ_OK;
}

/* Ids that the tokenizer does not have. */
static awq_status set_unused(vocabulary *v)
{
    for (size_t id = 0; id < v->count; id++) {
        char text[32];
        if (v->tokens[id])
            continue;
        snprintf(text, sizeof text, "[PAD%zu]", id);
        AWQ__CHECK(set_token(v, (int64_t)id, text, UNUSED));
    }
    return AWQ_OK;
}

static awq_status read_tokens(vocabulary *v)
{
    v->tokens = awq__alloc(v->ctx, v->count, sizeof *v->tokens, "tokens");
    v->types = awq__alloc(v->ctx, v->count, sizeof *v->types, "types of tokens");
    AWQ__CHECK_ALLOC(v->tokens && v->types);
    AWQ__CHECK(set_vocabulary(v));
    AWQ__CHECK(set_all_added(v));
    return set_unused(v);
}

static awq_status add_tokens(const vocabulary *v, awq__gguf_values *values)
{
    AWQ__CHECK(awq__gguf_add_texts(v->ctx, values, KEYS "tokens", (const char *const *)v->tokens,
                                   v->count));
    return awq__gguf_add_array(v->ctx, values, KEYS "token_type", AWQ__GGUF_I32, v->types,
                               v->count);
}

/* The lower an id, the earlier it was merged, and the better it is. */
static awq_status add_scores(const vocabulary *v, awq__gguf_values *values)
{
    float *scores = awq__alloc(v->ctx, v->count, sizeof *scores, "scores of tokens");
    AWQ__CHECK_ALLOC(scores);
    for (size_t id = 0; id < v->count; id++)
        scores[id] = -(float)id;
    awq_status status =
        awq__gguf_add_array(v->ctx, values, KEYS "scores", AWQ__GGUF_F32, scores, v->count);
    awq__free(scores);
    return status;
}

/* ---- merges ---- */

static awq_status append_half(const vocabulary *v, const char *half, awq__text *text)
{
    for (; *half; half++)
        if (*half == ' ')
            AWQ__CHECK(awq__text_append_bytes(v->ctx, text, BYTE_SPACE, strlen(BYTE_SPACE)));
        else
            AWQ__CHECK(awq__text_append_bytes(v->ctx, text, half, 1));
    return AWQ_OK;
}

/* Files have "a b", or ["a", "b"], in which there may be spaces. */
static awq_status append_merge(const vocabulary *v, const cJSON *item, awq__text *text)
{
    const cJSON *left = cJSON_IsArray(item) ? item->child : NULL;
    const cJSON *right = left ? left->next : NULL;
    text->length = 0;
    if (cJSON_IsString(item))
        return awq__text_append(v->ctx, text, "%s", item->valuestring);
    if (!cJSON_IsString(left) || !cJSON_IsString(right))
        return awq__fail(v->ctx, AWQ_ERROR_FORMAT, "%s: a merge that is not of two texts", v->file);
    AWQ__CHECK(append_half(v, left->valuestring, text));
    AWQ__CHECK(awq__text_append(v->ctx, text, " "));
    return append_half(v, right->valuestring, text);
}

static awq_status copy_merges(const vocabulary *v, const cJSON *merges, char **list, size_t *count)
{
    awq_status status = AWQ_OK;
    awq__text text = {0};
    for (const cJSON *item = merges->child; item; item = item->next) {
        AWQ__TRY(append_merge(v, item, &text));
        list[*count] = awq__strdup(v->ctx, text.data);
        AWQ__TRY_ALLOC(list[*count]);
        ++*count;
    }
done:
    awq__text_free(&text);
    return status;
}

static awq_status add_merges(const vocabulary *v, awq__gguf_values *values)
{
    awq_status status;
    const cJSON *merges = awq__json_at(v->tokenizer, "model.merges");
    size_t count = 0;
    if (!cJSON_IsArray(merges))
        return awq__fail(v->ctx, AWQ_ERROR_FORMAT, "%s: model.merges is no list", v->file);
    char **list = awq__alloc(v->ctx, (size_t)cJSON_GetArraySize(merges), sizeof *list, "merges");
    AWQ__TRY_ALLOC(list);
    AWQ__TRY(copy_merges(v, merges, list, &count));
    AWQ__TRY(awq__gguf_add_texts(v->ctx, values, KEYS "merges", (const char *const *)list, count));
done:
    for (size_t i = 0; i < count; i++)
        awq__free(list[i]);
    awq__free(list);
    return status;
}

/* ---- special tokens ---- */

/* The id of a text; -1 if there is none. */
static int64_t id_of(const vocabulary *v, const char *token)
{
    for (size_t id = 0; id < v->count; id++)
        if (!strcmp(v->tokens[id], token))
            return (int64_t)id;
    return -1;
}

/* Of "bos_token": a text, or an object with one. */
static const char *special_text(const vocabulary *v, const char *name)
{
    const cJSON *item = v->config ? awq__json_at(v->config, name) : NULL;
    if (cJSON_IsObject(item))
        item = awq__json_at(item, "content");
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* config.json's "bos_token_id": a number, or a list of which the first counts. */
static int64_t config_id(const vocabulary *v, const char *name)
{
    char key[64];
    int64_t id;
    snprintf(key, sizeof key, "%s_id", name);
    const cJSON *item = awq__json_at(v->model_config, key);
    if (cJSON_IsArray(item))
        item = item->child;
    return awq__json_int(item, &id) && id >= 0 && (size_t)id < v->count ? id : -1;
}

static int64_t special_id(const vocabulary *v, const char *name)
{
    const char *text = special_text(v, name);
    int64_t id = text ? id_of(v, text) : -1;
    return id >= 0 ? id : config_id(v, name);
}

static awq_status add_specials(const vocabulary *v, awq__gguf_values *values)
{
    static const struct special {
        const char *name, *key;
    } specials[] = {{"bos_token", KEYS "bos_token_id"},
                    {"eos_token", KEYS "eos_token_id"},
                    {"unk_token", KEYS "unknown_token_id"},
                    {"pad_token", KEYS "padding_token_id"}};
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        int64_t id = special_id(v, specials[i].name);
        if (id >= 0)
            AWQ__CHECK(awq__gguf_add_u32(v->ctx, values, specials[i].key, (uint32_t)id));
    }
    return AWQ_OK;
}

/* Does a template put the first token before a text? Also one of several processors. */
static bool begins_with_token(const cJSON *processor)
{
    const cJSON *processors = awq__json_at(processor, "processors");
    for (const cJSON *item = cJSON_IsArray(processors) ? processors->child : NULL; item;
         item = item->next)
        if (begins_with_token(item))
            return true;
    const cJSON *single = awq__json_at(processor, "single");
    return cJSON_IsArray(single) && awq__json_at(single->child, "SpecialToken");
}

/* ---- which of llama.cpp's tokenizers ---- */

typedef bool (*pre_test)(const cJSON *item, const char *text);

/* Is it true of a pre-tokenizer, or of one in its list? */
static bool any_pre(const cJSON *item, pre_test is, const char *text)
{
    if (is(item, text))
        return true;
    const cJSON *list = awq__json_at(item, "pretokenizers");
    for (const cJSON *child = cJSON_IsArray(list) ? list->child : NULL; child; child = child->next)
        if (any_pre(child, is, text))
            return true;
    return false;
}

static bool has_pattern(const cJSON *item, const char *part)
{
    const cJSON *pattern = awq__json_at(item, "pattern.Regex");
    return cJSON_IsString(pattern) && strstr(pattern->valuestring, part);
}

static bool has_type(const cJSON *item, const char *type)
{
    return awq__json_is_text(awq__json_at(item, "type"), type);
}

static bool splits_by(const cJSON *pre, const char *part)
{
    return any_pre(pre, has_pattern, part);
}

/* Splits are known by what tells them apart: how many digits stay together, and whether words are
   cut where small letters end. NULL: none of these. */
static const char *name_splits(const cJSON *pre)
{
    bool three = splits_by(pre, "\\p{N}{1,3}"), cases = splits_by(pre, "[\\p{Lu}\\p{Lt}\\p{Lm}");
    if (three)
        return cases ? "gpt-4o" : "llama-bpe";
    return splits_by(pre, "|\\p{N}|") && !cases ? "qwen2" : NULL;
}

static awq_status add_kind(const vocabulary *v, awq__gguf_values *values)
{
    const cJSON *pre = awq__json_at(v->tokenizer, "pre_tokenizer");
    const char *splits = v->byte_level ? name_splits(pre) : "default";
    if (!splits)
        return awq__fail(v->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: its pre_tokenizer is none that llama.cpp has a name for, of those of "
                         "Qwen, GPT-4o and Llama 3",
                         v->file);
    AWQ__CHECK(awq__gguf_add_text(v->ctx, values, KEYS "model", v->byte_level ? "gpt2" : "llama"));
    return awq__gguf_add_text(v->ctx, values, KEYS "pre", splits);
}

static awq_status check_kind(vocabulary *v)
{
    v->byte_level = any_pre(awq__json_at(v->tokenizer, "pre_tokenizer"), has_type, "ByteLevel");
    bool fallback = cJSON_IsTrue(awq__json_at(v->tokenizer, "model.byte_fallback"));
    if (awq__json_is_text(awq__json_at(v->tokenizer, "model.type"), "BPE") &&
        (v->byte_level || fallback))
        return AWQ_OK;
    return awq__fail(v->ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: neither BPE of bytes nor BPE that falls back to bytes, which llama.cpp "
                     "has",
                     v->file);
}

/* ---- chat templates ---- */

/* One text, or a list of named ones of which "default" is the one. */
static const char *template_of(const cJSON *config)
{
    const cJSON *item = config ? awq__json_at(config, "chat_template") : NULL;
    if (cJSON_IsString(item))
        return item->valuestring;
    for (item = cJSON_IsArray(item) ? item->child : NULL; item; item = item->next) {
        const cJSON *text = awq__json_at(item, "template");
        if (awq__json_is_text(awq__json_at(item, "name"), "default") && cJSON_IsString(text))
            return text->valuestring;
    }
    return NULL;
}

static awq_status add_template(const vocabulary *v, const char *directory, awq__gguf_values *values)
{
    awq_status status = AWQ_OK;
    char *path = awq__path_join(v->ctx, directory, "chat_template.jinja"), *text = NULL;
    size_t bytes;
    const char *found = template_of(v->config);
    AWQ__TRY_ALLOC(path);
    if (awq__is_file(path)) {
        AWQ__TRY(awq__read_text_file(v->ctx, path, (size_t)1 << 24, &text, &bytes));
        found = text;
    }
    if (found)
        AWQ__TRY(awq__gguf_add_text(v->ctx, values, "tokenizer.chat_template", found));
done:
    awq__free(text);
    awq__free(path);
    return status;
}

/* ---- all of it ---- */

static awq_status add_vocabulary(const vocabulary *v, awq__gguf_values *values)
{
    AWQ__CHECK(add_kind(v, values));
    AWQ__CHECK(add_tokens(v, values));
    AWQ__CHECK(v->byte_level ? add_merges(v, values) : add_scores(v, values));
    AWQ__CHECK(add_specials(v, values));
    return awq__gguf_add_bool(v->ctx, values, KEYS "add_bos_token",
                              begins_with_token(awq__json_at(v->tokenizer, "post_processor")));
}

static void free_vocabulary(vocabulary *v)
{
    for (size_t id = 0; v->tokens && id < v->count; id++)
        awq__free(v->tokens[id]);
    awq__free(v->tokens);
    awq__free(v->types);
    cJSON_Delete(v->tokenizer);
    cJSON_Delete(v->config);
    *v = (vocabulary){0};
}

static awq_status read_files(vocabulary *v, const char *path, const char *config_path)
{
    AWQ__CHECK(awq__json_read(v->ctx, path, &v->tokenizer));
    if (awq__is_file(config_path))
        AWQ__CHECK(awq__json_read_python(v->ctx, config_path, &v->config));
    AWQ__CHECK(check_kind(v));
    return read_tokens(v);
}

awq_status awq__gguf_add_tokenizer(awq_context *ctx, const char *directory, const awq__arch *arch,
                                   awq__gguf_values *values)
{
    awq_status status;
    char *path = awq__path_join(ctx, directory, "tokenizer.json");
    char *config_path = awq__path_join(ctx, directory, "tokenizer_config.json");
    vocabulary v = {.ctx = ctx,
                    .file = path,
                    .model_config = arch->config,
                    .count = (size_t)arch->model.vocabulary_size};
    AWQ__TRY_ALLOC(path && config_path);
    if (!awq__is_file(path)) {
        awq__log(ctx, AWQ_LOG_WARNING, "%s is missing: llama.cpp takes ids alone", path);
        AWQ__TRY(awq__gguf_add_text(ctx, values, KEYS "model", "none"));
        goto done;
    }
    AWQ__TRY(read_files(&v, path, config_path));
    AWQ__TRY(add_vocabulary(&v, values));
    AWQ__TRY(add_template(&v, directory, values));
done:
    free_vocabulary(&v);
    awq__free(config_path);
    awq__free(path);
    return status;
}
