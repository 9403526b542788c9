/* The list of formats. What they share lies in files below them, so that none needs this one. */
#include "format/format.h"

#include <string.h>

static const awq__disk_format *const formats[] = {
    &awq__disk_format_awq,   &awq__disk_format_compressed,   &awq__disk_format_gptq,
    &awq__disk_format_mxfp4, &awq__disk_format_bitsandbytes, &awq__disk_format_gguf,
    &awq__disk_format_fp8};

const awq__disk_format *awq__disk_format_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(formats[i]->name, name))
            return formats[i];
    return NULL;
}

const awq__disk_format *awq__disk_format_by_method(const char *method)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i]->method && !strcmp(formats[i]->method, method))
            return formats[i];
    return NULL;
}
