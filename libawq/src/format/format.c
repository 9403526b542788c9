#include "format/format.h"

#include <string.h>

static const awq__disk_format *const formats[] = {&awq__disk_format_awq};

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
        if (!strcmp(formats[i]->method, method))
            return formats[i];
    return NULL;
}

uint64_t awq__spec_bytes(const awq__spec *spec)
{
    uint64_t bytes = (uint64_t)awq_dtype_bits(spec->dtype) / 8;
    for (int i = 0; i < spec->rank; i++)
        bytes *= (uint64_t)spec->shape[i];
    return bytes;
}
