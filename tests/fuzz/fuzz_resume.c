/*
 * What an interrupted run leaves, with changes (folder.h); a byte more signs the journal anew. What
 * goes on with it comes to the bytes that a run without a break writes, or is refused, and then a
 * restart comes to them.
 */
#include "folder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define JOURNAL "awq_journal.json"
#define HASH_LINE "{\n\t\"hash\":\t\"%016" PRIx64 "\","
#define HASH_LINE_BYTES 30

static awq_recipe *recipe;
static folder whole, partial; /* the result; and what a run leaves that was stopped twice */

/* Makes the journal's hash right, so that what stands behind it is looked at. */
static void sign(fuzz_part *journal)
{
    char line[HASH_LINE_BYTES + 1];
    if (journal->size <= HASH_LINE_BYTES)
        return;
    uint64_t hash =
        awq__hash(AWQ__HASH_SEED, journal->data + HASH_LINE_BYTES, journal->size - HASH_LINE_BYTES);
    snprintf(line, sizeof line, HASH_LINE, hash);
    memcpy(journal->data, line, HASH_LINE_BYTES);
}

/* A journal that was made up tells what files beside the weights say of layers. */
static void check_result(bool made_up)
{
    folder result;
    folder_read("out", &result);
    MUST(result.count == whole.count);
    for (size_t i = 0; i < result.count; i++)
        if (!made_up || !strcmp(result.files[i].name, "model.safetensors"))
            MUST(folder_has(&whole, &result.files[i]));
    folder_free(&result);
}

static void go_on(bool made_up)
{
    awq_quantize_options restart = {.struct_size = sizeof restart, .restart = true};
    awq_status status = awq_quantize(fuzz_context(), recipe, NULL, NULL);
    fuzz_judge_public(status);
    if (status == AWQ_OK) {
        check_result(made_up);
        return;
    }
    MUST(!awq__is_directory(fuzz_path("out")));
    MUST(awq_quantize(fuzz_context(), recipe, &restart, NULL) == AWQ_OK);
    check_result(false);
}

static void begin(void)
{
    recipe = folder_recipe();
    MUST(awq_quantize(fuzz_context(), recipe, NULL, NULL) == AWQ_OK);
    folder_read("out", &whole);
    fuzz_remove_directory("out");
    for (int64_t layer = 1; layer < FOLDER_LAYERS; layer++)
        folder_run_to(recipe, layer);
    folder_read("out.partial", &partial);
    MUST(folder_find(&partial, JOURNAL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    folder changed;
    bool made_up = size % FOLDER_CHANGE_BYTES == 1;
    if (!recipe)
        begin();
    folder_change(&partial, data, size, &changed);
    if (made_up)
        sign(&folder_find(&changed, JOURNAL)->content);
    fuzz_remove_directory("out");
    folder_write("out.partial", &changed);
    folder_free(&changed);
    go_on(made_up);
    return 0;
}
