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
static void sign(const folder *f)
{
    char hex[AWQ__SHA256_HEX], path[512];
    awq__text sums = {0};
    for (size_t i = 0; i < f->count; i++) {
        const char *name = f->files[i].name;
        if (!strcmp(name, AWQ__SUMS_FILE))
            continue;
        snprintf(path, sizeof path, "%s/%s", fuzz_path("out"), name);
        MUST(awq__sha256_file(fuzz_context(), path, hex) == AWQ_OK);
        MUST(awq__text_append(fuzz_context(), &sums, "%s  %s\n", hex, name) == AWQ_OK);
    }
    fuzz_write("out/" AWQ__SUMS_FILE, sums.data, sums.length);
    awq__text_free(&sums);
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
        sign(&changed);
    const char *source = fuzz_path("m");
    bool problem = verify(NULL), problem_with_source = verify(source);
    if (same)
        MUST(!problem && !problem_with_source);
    else if (sums && !signed_anew)
        MUST(problem && problem_with_source);
    folder_free(&changed);
    return 0;
}
