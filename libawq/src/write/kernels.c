/*
 * Which kernels computed a result: other kernels give other bytes. Each run adds its own to the
 * journal's list "kernels", which the provenance of the result repeats.
 */
#include "backend/driver.h"
#include "core/blas.h"
#include "write/journal.h"

#include <string.h>

/* {"loops": "cpu-avx512", "blas": "OpenBLAS 0.3.21", "core": "SkylakeX"}, and the device where one
   computes. */
static cJSON *kernels_here(const awq__journal *journal)
{
    cJSON *here = cJSON_CreateObject();
    const char *device = awq__device_name(journal->writer->ctx);
    if (cJSON_AddStringToObject(here, "loops", awq__compute_of(journal->writer->ctx)->name) &&
        cJSON_AddStringToObject(here, "blas", awq__blas_name()) &&
        cJSON_AddStringToObject(here, "core", awq__blas_core()) &&
        (!device || cJSON_AddStringToObject(here, "device", device)))
        return here;
    cJSON_Delete(here);
    return NULL;
}

static const char *text_of(const cJSON *kernels, const char *name)
{
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(kernels, name);
    return cJSON_IsString(text) ? text->valuestring : "?";
}

static const char *device_of(const cJSON *kernels)
{
    const cJSON *device = cJSON_GetObjectItemCaseSensitive(kernels, "device");
    return device ? text_of(kernels, "device") : "the processor";
}

static void tell_difference(awq__journal *journal, const cJSON *earlier, const cJSON *here)
{
    const char *before = device_of(earlier), *now = device_of(here);
    if (strcmp(before, now) != 0)
        awq__log(journal->writer->ctx, AWQ_LOG_WARNING,
                 "the run that goes on computed on %s, and this one does on %s: the result is "
                 "right, but not the same bytes as from one kind of device",
                 before, now);
    else
        awq__log(
            journal->writer->ctx, AWQ_LOG_WARNING,
            "the run that goes on had other kernels, %s of %s and %s, than this one has, %s of %s "
            "and %s: the result is right, but not the same bytes as from one kind of processor",
            text_of(earlier, "core"), text_of(earlier, "blas"), text_of(earlier, "loops"),
            text_of(here, "core"), text_of(here, "blas"), text_of(here, "loops"));
}

/* Has the list this entry? *other becomes the latest entry that differs. */
static bool has(const cJSON *list, const cJSON *here, const cJSON **other)
{
    const cJSON *each;
    bool found = false;
    cJSON_ArrayForEach(each, list)
    {
        bool same = cJSON_Compare(each, here, true);
        found |= same;
        *other = same ? *other : each;
    }
    return found;
}

awq_status awq__kernels_join(awq__journal *journal)
{
    const cJSON *other = NULL;
    cJSON *list = cJSON_GetObjectItemCaseSensitive(journal->json, "kernels");
    cJSON *here = kernels_here(journal);
    if (!list)
        list = cJSON_AddArrayToObject(journal->json, "kernels");
    bool listed = list && here && has(list, here, &other);
    if (other)
        tell_difference(journal, other, here);
    if (!listed && list && here && cJSON_AddItemToArray(list, here))
        return AWQ_OK;
    cJSON_Delete(here);
    return listed ? AWQ_OK
                  : awq__fail(journal->writer->ctx, AWQ_ERROR_MEMORY, "out of memory: the journal");
}

cJSON *awq__kernels(const awq__journal *journal)
{
    return cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(journal->json, "kernels"), true);
}
