/*
 * JSON: a text, a key and a value. It is accepted if another reader accepts it, and a member that
 * was set in a text is found in it again, with all else as it was.
 */
#include "fuzz.h"
#include "text/text_internal.h"

#include <math.h>
#include <string.h>

#define SAFE_BRACKETS 40 /* fewer cannot nest past the limit of the parser */

/* Keys that stand twice are what the other reader does not look for. */
static void judge(awq_status status, const cJSON *root, bool valid)
{
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (root != NULL));
    MUST(status != AWQ_OK || valid);
    MUST(status == AWQ_OK || !valid || strstr(awq_context_message(fuzz_context()), "stands twice"));
}

static cJSON *parse(const fuzz_part *part, unsigned allowed)
{
    cJSON *root;
    awq__json_source source = {.name = "text.json", .allowed = allowed};
    awq_status status =
        awq__json_parse_from(fuzz_context(), &source, part->data, part->size, &root);
    judge(status, root, fuzz_is_json(part->data, part->size, allowed));
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

static void check_result(const fuzz_part *text, const cJSON *root, const char *key,
                         const cJSON *value)
{
    cJSON *changed = parse(text, AWQ__JSON_LITERALS);
    MUST(changed);
    if (can_be_compared(root) && can_be_compared(value))
        compare_members(root, changed, key, value);
    cJSON_Delete(changed);
}

static void set_member(const fuzz_part *text, const cJSON *root, const char *key,
                       const fuzz_part *value_text, const cJSON *value)
{
    char *string = fuzz_string(value_text);
    awq__text out = {0};
    awq_status status = awq__json_set_member(fuzz_context(), "text.json", text->data, text->size,
                                             key, string, &out);
    fuzz_judge(status);
    MUST(status == AWQ_OK || count_brackets(text) + count_brackets(value_text) > SAFE_BRACKETS);
    if (status == AWQ_OK)
        check_result(&(fuzz_part){out.data, out.length}, root, key, value);
    awq__text_free(&out);
    free(string);
}

static void parse_and_set(const fuzz_part parts[3])
{
    cJSON *root = parse(&parts[0], AWQ__JSON_LITERALS);
    cJSON *value = parse(&parts[2], AWQ__JSON_LITERALS);
    char *key = fuzz_string(&parts[1]);
    if (cJSON_IsObject(root) && value && is_plain_key(&parts[1]))
        set_member(&parts[0], root, key, &parts[2], value);
    free(key);
    cJSON_Delete(value);
    cJSON_Delete(root);
}

/* With NUL characters, as tokenizer.json may have them. */
static void parse_with_nul(const fuzz_part *part)
{
    cJSON *root;
    bool escaped;
    const awq__json_source source = {.name = "text.json"};
    awq_status status =
        awq__json_parse_nul(fuzz_context(), &source, part->data, part->size, &root, &escaped);
    judge(status, root, fuzz_is_json(part->data, part->size, AWQ__JSON_NUL));
    const cJSON *item = root ? root->child : NULL;
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
    cJSON_Delete(parse(&parts[0], 0));
    parse_and_set(parts);
    parse_with_nul(&parts[0]);
    fuzz_free(parts, 3);
    return 0;
}
