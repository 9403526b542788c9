/* The quantization_config of modules that are kept or quantized alike. */
#ifndef TREATED_H
#define TREATED_H

#include "context.h"
#include "format/format.h"

#include <stdlib.h>

/* The kept ones first. NULL with the failure recorded; the caller deletes the config. */
static inline cJSON *config_of(awq_context *ctx, const awq__disk_format *format,
                               const awq__scheme *scheme, const char *const *kept,
                               size_t kept_count, const char *const *quantized,
                               size_t quantized_count)
{
    size_t count = kept_count + quantized_count;
    awq__treated *modules = calloc(count + 1, sizeof *modules);
    assert_non_null(modules);
    for (size_t i = 0; i < count; i++)
        modules[i] = i < kept_count ? (awq__treated){kept[i], NULL}
                                    : (awq__treated){quantized[i - kept_count], scheme};
    cJSON *config = format->config(ctx, modules, count);
    free(modules);
    return config;
}

/* What the config says of all that it does not name. */
static inline awq__stored_scheme rest_of(awq_context *ctx, const awq__disk_format *format,
                                         const cJSON *config)
{
    awq__stored stored;
    succeeds(ctx, format->read_config(ctx, "config.json", config, &stored));
    assert_true(stored.has_rest);
    awq__stored_scheme rest = stored.rest;
    awq__stored_free(&stored);
    return rest;
}

static inline void assert_same_stored(const awq__stored_scheme *found,
                                      const awq__stored_scheme *expected)
{
    assert_int_equal(found->bits, expected->bits);
    assert_int_equal(found->group, expected->group);
    assert_int_equal(found->symmetric, expected->symmetric);
}

#endif
