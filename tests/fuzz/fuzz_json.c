/*
 * JSON: a text, a key and a value. What is accepted is JSON, and a member that was set in a text is
 * found in it again, with all else as it was.
 */
#include "fuzz.h"
#include "core/json.h"
#include "text/text_internal.h"

#include <math.h>
#include <string.h>

#define SAFE_BRACKETS 40 /* fewer cannot nest past the limit of the parser */

static const awq__json_source source = {.name = "text.json", .allowed = AWQ__JSON_LITERALS};

static cJSON *parse(const fuzz_part *part)
{
    cJSON *root;
    awq_status status =
        awq__json_parse_from(fuzz_context(), &source, part->data, part->size, &root);
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (root != NULL));
    MUST(!root || fuzz_is_json(part->data, part->size));
    return root;
}

static size_t count_brackets(const fuzz_part *part)
{
    size_t count = 0;
    for (size_t i = 0; i < part->size; i++)
        count += part->data[i] == '{' || part->data[i] == '[';
    return count;
}

/* Keys are set by programs, which choose plain ones. */
static bool is_plain_key(const fuzz_part *part)
{
    for (size_t i = 0; i < part->size; i++)
        if (part->data[i] < 0x20 || part->data[i] >= 0x7f || strchr("\"\\.", part->data[i]))
            return false;
    return part->size && part->size < 100;
}

/* The members are those of before, but for the one that was set, which is last if it is new. */
static void compare_members(const cJSON *before, const cJSON *after, const char *key,
                            const cJSON *value)
{
    const cJSON *old = before->child, *now = after->child;
    bool found = false;
    for (; now; now = now->next) {
        bool set = !strcmp(now->string, key);
        found |= set;
        MUST(!old || !strcmp(old->string, now->string));
        MUST(old || set);
        MUST(cJSON_Compare(now, set ? value : old, true));
        old = old ? old->next : NULL;
    }
    MUST(found && !old);
}

/* NaN is equal to nothing, and infinity not to itself for cJSON. */
static bool can_be_compared(const cJSON *item)
{
    bool can = !cJSON_IsNumber(item) || isfinite(item->valuedouble);
    for (const cJSON *child = item->child; child && can; child = child->next)
        can = can_be_compared(child);
    return can;
}

static void set_member(const fuzz_part *text, const cJSON *root, const fuzz_part *key,
                       const fuzz_part *value, const cJSON *parsed_value)
{
    char *text_string = fuzz_string(text), *key_string = fuzz_string(key);
    char *value_string = fuzz_string(value);
    awq__text out = {0};
    cJSON *changed = NULL;
    awq_status status = awq__json_set_member(fuzz_context(), "text.json", text_string, text->size,
                                             key_string, value_string, &out);
    fuzz_judge(status);
    MUST(status == AWQ_OK || count_brackets(text) + count_brackets(value) > SAFE_BRACKETS);
    if (status == AWQ_OK) {
        MUST(fuzz_is_json(out.data, out.length));
        MUST(awq__json_parse_from(fuzz_context(), &source, out.data, out.length, &changed) ==
             AWQ_OK);
        if (can_be_compared(root) && can_be_compared(parsed_value))
            compare_members(root, changed, key_string, parsed_value);
    }
    cJSON_Delete(changed);
    awq__text_free(&out);
    free(text_string);
    free(key_string);
    free(value_string);
}

/* With NUL characters, as tokenizer.json may have them. */
static void parse_with_nul(const fuzz_part *part)
{
    cJSON *root;
    bool escaped;
    awq_status status =
        awq__json_parse_nul(fuzz_context(), &source, part->data, part->size, &root, &escaped);
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (root != NULL));
    const cJSON *item = status == AWQ_OK ? root->child : NULL;
    for (; item; item = item->next) {
        awq__text out = {0};
        if (cJSON_IsString(item))
            fuzz_judge(awq__json_unescape(fuzz_context(), item->valuestring, escaped, &out));
        awq__text_free(&out);
    }
    cJSON_Delete(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part parts[3];
    fuzz_split(data, size, parts, 3);
    cJSON *root = parse(&parts[0]);
    if (cJSON_IsObject(root) && is_plain_key(&parts[1])) {
        cJSON *value = parse(&parts[2]);
        if (value)
            set_member(&parts[0], root, &parts[1], &parts[2], value);
        cJSON_Delete(value);
    }
    cJSON_Delete(root);
    parse_with_nul(&parts[0]);
    fuzz_free(parts, 3);
    return 0;
}
