/* What a verification has found. */
#include "run/verify.h"
#include "core/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static awq_status find(awq_verification *v, awq__remarks *remarks, const char *format,
                       va_list values)
{
    char text[2048];
    remarks->count++;
    if (remarks->kept == AWQ__MAX_REMARKS)
        return AWQ_OK;
    int length = vsnprintf(text, sizeof text, format, values);
    awq__clean_line(text, sizeof text, length >= (int)sizeof text);
    char *copy = awq__strdup(v->ctx, text);
    if (!copy)
        return AWQ_ERROR_MEMORY;
    remarks->texts[remarks->kept++] = copy;
    return AWQ_OK;
}

awq_status awq__find_problem(awq_verification *v, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    awq_status status = find(v, &v->problems, format, values);
    va_end(values);
    return status;
}

awq_status awq__find_note(awq_verification *v, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    awq_status status = find(v, &v->notes, format, values);
    va_end(values);
    return status;
}

void awq_verification_free(awq_verification *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->problems.kept; i++)
        awq__free(v->problems.texts[i]);
    for (size_t i = 0; i < v->notes.kept; i++)
        awq__free(v->notes.texts[i]);
    awq__free(v);
}

void awq_verification_describe(const awq_verification *v, awq_verify_result *result)
{
    if (!result)
        return;
    size_t size = result->struct_size < sizeof *result ? result->struct_size : sizeof *result;
    awq_verify_result all = {0};
    if (v) {
        all = v->result;
        all.problems = (int64_t)v->problems.count;
    }
    all.struct_size = result->struct_size;
    memcpy(result, &all, size);
}

size_t awq_verification_problem_count(const awq_verification *v)
{
    return v ? v->problems.kept : 0;
}

const char *awq_verification_problem_at(const awq_verification *v, size_t index)
{
    return v && index < v->problems.kept ? v->problems.texts[index] : NULL;
}

size_t awq_verification_note_count(const awq_verification *v)
{
    return v ? v->notes.kept : 0;
}

const char *awq_verification_note_at(const awq_verification *v, size_t index)
{
    return v && index < v->notes.kept ? v->notes.texts[index] : NULL;
}
