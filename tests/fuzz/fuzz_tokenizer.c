/*
 * tokenizer.json and a text. Ids are those of the tokenizer, the same each time, and what the
 * post-processor adds stands around those of the text.
 */
#include "fuzz.h"
#include "text/text.h"

#include <string.h>

static bool encode(const awq__tokenizer *tokenizer, const fuzz_part *text, bool special,
                   awq__ids *ids)
{
    awq_status status = awq__tokenizer_encode(tokenizer, text->data, text->size, special, ids);
    fuzz_judge(status);
    for (size_t i = 0; i < ids->count; i++)
        MUST(ids->data[i] >= 0 && ids->data[i] < awq__tokenizer_size(tokenizer));
    MUST(status == AWQ_OK || !ids->count);
    return status == AWQ_OK;
}

/* Does the list stand somewhere in the other? */
static bool is_in(const awq__ids *part, const awq__ids *all)
{
    size_t bytes = part->count * sizeof *part->data;
    for (size_t i = 0; i + part->count <= all->count; i++)
        if (!bytes || !memcmp(part->data, all->data + i, bytes))
            return true;
    return false;
}

static void check(const awq__tokenizer *tokenizer, const fuzz_part *text)
{
    awq__ids plain = {0}, again = {0}, special = {0};
    int32_t bos = awq__tokenizer_bos(tokenizer);
    MUST(bos >= -1 && bos < awq__tokenizer_size(tokenizer));
    bool fits = encode(tokenizer, text, false, &plain);
    MUST(encode(tokenizer, text, false, &again) == fits);
    MUST(encode(tokenizer, text, true, &special) == fits);
    if (fits) {
        MUST(plain.count == again.count && is_in(&plain, &again));
        MUST(is_in(&plain, &special));
        MUST(bos < 0 || (special.count && special.data[0] == bos));
    }
    awq__free(plain.data);
    awq__free(again.data);
    awq__free(special.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part parts[2];
    awq__tokenizer *tokenizer;
    fuzz_split(data, size, parts, 2);
    fuzz_write_part("tokenizer.json", &parts[0]);
    awq_status status =
        awq__tokenizer_load(fuzz_context(), fuzz_path("tokenizer.json"), &tokenizer);
    fuzz_judge(status);
    MUST((status == AWQ_OK) == (tokenizer != NULL));
    if (tokenizer)
        check(tokenizer, &parts[1]);
    awq__tokenizer_free(tokenizer);
    fuzz_free(parts, 2);
    return 0;
}
