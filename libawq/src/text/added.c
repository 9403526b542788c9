/* Added tokens: found in a text leftmost first, and the longest of those. */
#include "text/text_internal.h"

#include <string.h>

/* Bounds the time that a token which almost matches everywhere can cost. */
#define MAX_TOKEN_BYTES 4096

void awq__added_free(awq__added *added)
{
    awq__free(added->tokens);
    awq__map_free(&added->edges);
    awq__free(added->node_tokens);
    *added = (awq__added){0};
}

static uint64_t edge(uint64_t node, char byte)
{
    return node << 8 | (uint8_t)byte;
}

static awq_status add_node(const awq__source *source, awq__added *added)
{
    AWQ__CHECK(awq__grow(source->ctx, &added->node_tokens, &added->node_capacity,
                         added->node_count + 1, sizeof *added->node_tokens, "added tokens"));
    added->node_tokens[added->node_count++] = -1;
    return AWQ_OK;
}

/* The node that `byte` leads to from *node, made if need be. */
static awq_status follow(const awq__source *source, awq__added *added, uint64_t *node, char byte)
{
    uint64_t next;
    if (!awq__map_get(&added->edges, edge(*node, byte), &next)) {
        next = added->node_count;
        AWQ__CHECK(add_node(source, added));
        AWQ__CHECK(awq__map_set(source->ctx, source->file, &added->edges, edge(*node, byte), next));
    }
    *node = next;
    return AWQ_OK;
}

awq_status awq__added_insert(const awq__source *source, awq__added *added, const char *content,
                             size_t bytes, awq__added_token token)
{
    if (!bytes || bytes > MAX_TOKEN_BYTES)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: the added token %d has %zu bytes, supported are 1 to %d",
                         source->file, token.id, bytes, MAX_TOKEN_BYTES);
    AWQ__CHECK(awq__grow(source->ctx, &added->tokens, &added->capacity, added->count + 1,
                         sizeof *added->tokens, "added tokens"));
    if (!added->node_count)
        AWQ__CHECK(add_node(source, added));
    uint64_t node = 0;
    for (size_t i = 0; i < bytes; i++)
        AWQ__CHECK(follow(source, added, &node, content[i]));
    if (added->node_tokens[node] >= 0)
        return AWQ_OK;
    added->node_tokens[node] = (int32_t)added->count;
    added->tokens[added->count++] = token;
    added->begins[(uint8_t)content[0]] = true;
    return AWQ_OK;
}

void awq__added_begin(awq__added_scan *scan, const awq__added *added, const char *text,
                      size_t bytes)
{
    *scan = (awq__added_scan){.added = added, .text = text, .bytes = bytes, .token_id = -1};
}

/* The longest token at `at`; its length is 0 if there is none. */
static size_t longest_at(const awq__added_scan *scan, size_t at, int32_t *token)
{
    uint64_t node = 0;
    size_t length = 0;
    for (size_t i = at; i < scan->bytes; i++) {
        if (!awq__map_get(&scan->added->edges, edge(node, scan->text[i]), &node))
            break;
        if (scan->added->node_tokens[node] >= 0) {
            *token = scan->added->node_tokens[node];
            length = i + 1 - at;
        }
    }
    return length;
}

/* Finds the next occurrence of any token. */
static bool find(awq__added_scan *scan, size_t *start, size_t *end, int32_t *token)
{
    for (; scan->at < scan->bytes; scan->at++) {
        if (!scan->added->begins[(uint8_t)scan->text[scan->at]])
            continue;
        size_t length = longest_at(scan, scan->at, token);
        if (length) {
            *start = scan->at;
            *end = scan->at += length;
            return true;
        }
    }
    return false;
}

/* The character that ends before `end`, which is not 0; returns where it begins. */
static size_t character_before(const char *text, size_t end, uint32_t *code_point)
{
    size_t start = end - 1;
    while (((uint8_t)text[start] & 0xC0) == 0x80)
        start--;
    awq__utf8_next(text + start, code_point);
    return start;
}

static bool is_single_word(const awq__added_scan *scan, size_t start, size_t end)
{
    uint32_t code_point;
    if (start) {
        character_before(scan->text, start, &code_point);
        if (awq__is_word(code_point))
            return false;
    }
    if (end == scan->bytes)
        return true;
    awq__utf8_next(scan->text + end, &code_point);
    return !awq__is_word(code_point);
}

/* Takes white space before the token, but none that belongs to the part before. */
static size_t strip_left(const awq__added_scan *scan, size_t start)
{
    while (start > scan->consumed) {
        uint32_t code_point;
        size_t before = character_before(scan->text, start, &code_point);
        if (!awq__is_space(code_point))
            break;
        start = before;
    }
    return start > scan->consumed ? start : scan->consumed;
}

static size_t strip_right(const awq__added_scan *scan, size_t end)
{
    while (end < scan->bytes) {
        uint32_t code_point;
        size_t length = awq__utf8_next(scan->text + end, &code_point);
        if (!awq__is_space(code_point))
            break;
        end += length;
    }
    return end;
}

/* Finds the next token that counts, with the space it strips. */
static bool find_token(awq__added_scan *scan, size_t *start, size_t *end, int32_t *id)
{
    int32_t index;
    while (find(scan, start, end, &index)) {
        const awq__added_token *token = &scan->added->tokens[index];
        if (token->single_word && !is_single_word(scan, *start, *end))
            continue;
        if (token->strip_left)
            *start = strip_left(scan, *start);
        if (token->strip_right)
            *end = strip_right(scan, *end);
        *id = token->id;
        return true;
    }
    return false;
}

bool awq__added_next(awq__added_scan *scan, size_t *start, size_t *end, int32_t *id)
{
    if (scan->token_id >= 0) {
        *start = scan->token_start;
        *end = scan->token_end;
        *id = scan->token_id;
        scan->token_id = -1;
        return true;
    }
    size_t before = scan->consumed;
    if (find_token(scan, start, end, id)) {
        scan->consumed = *end;
        if (before >= *start)
            return true;
        scan->token_start = *start;
        scan->token_end = *end;
        scan->token_id = *id;
        *end = *start;
    } else {
        if (before == scan->bytes)
            return false;
        *end = scan->consumed = scan->bytes;
    }
    *start = before;
    *id = -1;
    return true;
}
