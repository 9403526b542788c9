/*
 * A finished output with changes (folder.h); a byte more has its checksums made anew. While the
 * checksums are those that were written, a change of any file is a problem, and without a change
 * there is none.
 */
#include "folder.h"
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

static folder whole;

/* SHA256SUMS of what is there, so that what comes after it is reached. */
static void sign(void)
{
    awq__sums sums;
    awq__text text = {0};
    MUST(awq__sums_list(fuzz_context(), fuzz_path("out"), NULL, &sums) == AWQ_OK);
    MUST(awq__sums_compute(fuzz_context(), fuzz_path("out"), &sums, NULL) == AWQ_OK);
    for (size_t i = 0; i < sums.count; i++)
        MUST(awq__text_append(fuzz_context(), &text, "%s  %s\n", sums.list[i].hex,
                              sums.list[i].name) == AWQ_OK);
    fuzz_write("out/" AWQ__SUMS_FILE, text.data, text.length);
    awq__text_free(&text);
    awq__sums_free(&sums);
}

/* Whether there was a problem, which a verification that fails has too. */
static bool verify(const char *source)
{
    awq_verify_options options = {
        .struct_size = sizeof options, .directory = fuzz_path("out"), .source = source};
    awq_verify_result result = {.struct_size = sizeof result};
    awq_verification *verification;
    awq_status status = awq_verify(fuzz_context(), &options, &verification);
    fuzz_judge_public(status);
    MUST((status == AWQ_OK) == (verification != NULL));
    if (!verification)
        return true;
    size_t count = awq_verification_problem_count(verification);
    for (size_t i = 0; i < count; i++)
        MUST(fuzz_is_clean(awq_verification_problem_at(verification, i)));
    for (size_t i = 0; i < awq_verification_note_count(verification); i++)
        MUST(fuzz_is_clean(awq_verification_note_at(verification, i)));
    awq_verification_describe(verification, &result);
    MUST(result.problems >= (int64_t)count && (count || !result.problems));
    awq_verification_free(verification);
    return count > 0;
}

/* Did the changes leave all as it was? */
static bool is_same(folder *changed)
{
    bool same = true;
    for (size_t i = 0; i < changed->count; i++)
        same &= folder_has(&whole, &changed->files[i]);
    return same;
}

static void begin(void)
{
    awq_recipe *recipe = folder_recipe();
    MUST(awq_quantize(fuzz_context(), recipe, NULL, NULL) == AWQ_OK);
    folder_read("out", &whole);
    MUST(folder_find(&whole, AWQ__SUMS_FILE));
    awq_recipe_free(recipe);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    folder changed;
    if (!whole.count)
        begin();
    folder_change(&whole, data, size, &changed);
    folder_write("out", &changed);
    bool same = is_same(&changed), signed_anew = size % FOLDER_CHANGE_BYTES == 1;
    bool sums = folder_has(&whole, folder_find(&changed, AWQ__SUMS_FILE));
    if (signed_anew)
        sign();
    const char *source = fuzz_path("m");
    bool problem = verify(NULL), problem_with_source = verify(source);
    if (same)
        MUST(!problem && !problem_with_source);
    else if (sums && !signed_anew)
        MUST(problem && problem_with_source);
    folder_free(&changed);
    return 0;
}
