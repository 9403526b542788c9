/*
 * What auto-round writes in its own words (quant_method "auto-round"): tensors of a layout that
 * others have too, which packing_format names, and schemes of some modules in extra_config. Read by
 * its INCConfig in vLLM and by what it has written.
 */
#include "format/format.h"

#include <string.h>

static const char method[] = "auto-round";
static const char *const layouts = "\"auto_round:auto_gptq\", \"auto_round:auto_awq\" or "
                                   "\"auto_round:llm_compressor\"";

bool awq__is_auto_round(const char *quant_method)
{
    return !strcmp(quant_method, method);
}

static awq_status read_layout(awq_context *ctx, const char *file, const cJSON *config,
                              const awq__disk_format **format)
{
    static const struct {
        const char *name;
        const awq__disk_format *format;
    } known[] = {{"auto_gptq", &awq__disk_format_gptq},
                 {"auto_awq", &awq__disk_format_awq},
                 {"llm_compressor", &awq__disk_format_compressed}};
    static const char prefix[] = "auto_round:";
    const cJSON *item = awq__json_at(config, "packing_format");
    const char *text = cJSON_IsString(item) ? item->valuestring : "";
    if (!strncmp(text, prefix, sizeof prefix - 1))
        text += sizeof prefix - 1;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(text, known[i].name)) {
            *format = known[i].format;
            return AWQ_OK;
        }
    return awq__stored_refuse(ctx, file, "packing_format", item, layouts);
}

/* Numbers of bits that the layout has. */
static bool has_bits(const awq__disk_format *format, int64_t bits)
{
    return bits == 4 || (format != &awq__disk_format_awq && (bits == 2 || bits == 8));
}

/* A module's object may lack what is as in the outer one; `bits` of 16 or more: kept. */
static awq_status read_scheme(awq_context *ctx, const char *file, const cJSON *object,
                              const awq__disk_format *format, bool outer,
                              awq__stored_scheme *scheme)
{
    const cJSON *bits = awq__json_at(object, "bits"), *group = awq__json_at(object, "group_size");
    const cJSON *symmetric = awq__json_at(object, "sym");
    const cJSON *type = awq__json_at(object, "data_type");
    const cJSON *inputs = awq__json_at(object, "act_bits");
    int64_t bit_count = scheme->bits, group_size = scheme->group, input_bits = 16;
    bool any_bits = awq__json_int(bits, &bit_count);
    bool kept = any_bits && bit_count >= 16;
    const struct {
        const char *key;
        const cJSON *item;
        bool right;
        const char *fits;
    } checks[] = {
        {"bits", bits, any_bits && (has_bits(format, bit_count) || (kept && !outer)),
         format == &awq__disk_format_awq ? "4" : "2, 4 or 8"},
        {"group_size", group,
         kept || (awq__json_int(group, &group_size) && (group_size > 0 || group_size == -1)),
         "a positive integer or -1"},
        {"sym", symmetric, kept || cJSON_IsBool(symmetric), "true or false"},
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i].right && (outer || checks[i].item))
            return awq__stored_refuse(ctx, file, checks[i].key, checks[i].item, checks[i].fits);
    if (type && !kept && !awq__json_is_text(type, "int"))
        return awq__stored_refuse(ctx, file, "data_type", type, "\"int\"");
    if (inputs && !cJSON_IsNull(inputs) &&
        !(awq__json_int(inputs, &input_bits) && input_bits >= 16))
        return awq__stored_refuse(ctx, file, "act_bits", inputs, "16");
    scheme->bits = kept ? 16 : (int)bit_count;
    scheme->group = group_size;
    if (symmetric)
        scheme->symmetric = cJSON_IsTrue(symmetric) != 0;
    return AWQ_OK;
}

/* A name as it stands, or, with characters that names do not have, a regular expression that is
   looked for anywhere in names. */
static awq_status add_names(awq_context *ctx, const char *file, const char *key,
                            awq__stored *stored)
{
    if (!strpbrk(key, "\\^$*+?{}[]|()"))
        return awq__stored_add_pattern(ctx, stored, file, key, AWQ__NAME_EXACT);
    char *pattern = awq__format(ctx, "re:.*(?:%s)", key);
    AWQ__CHECK_ALLOC(pattern);
    awq_status status = awq__stored_add_pattern(ctx, stored, file, pattern, AWQ__NAME_EXACT);
    awq__free(pattern);
    return status;
}

awq_status awq__auto_round_read(awq_context *ctx, const char *file, const cJSON *config,
                                const awq__disk_format **format, awq__stored *stored)
{
    const cJSON *extra = awq__json_at(config, "extra_config"), *one;
    *stored = (awq__stored){.has_rest = true};
    AWQ__CHECK(read_layout(ctx, file, config, format));
    stored->rest.zeros_less_one = *format == &awq__disk_format_gptq;
    AWQ__CHECK(read_scheme(ctx, file, config, *format, true, &stored->rest));
    if (extra && !cJSON_IsNull(extra) && !cJSON_IsObject(extra))
        return awq__stored_refuse(ctx, file, "extra_config", extra, "an object or null");
    cJSON_ArrayForEach(one, extra)
    {
        awq__stored_scheme scheme = stored->rest;
        if (!cJSON_IsObject(one))
            return awq__stored_refuse(ctx, file, "an entry of extra_config", one, "an object");
        AWQ__CHECK(read_scheme(ctx, file, one, *format, false, &scheme));
        AWQ__CHECK(awq__stored_add_group(ctx, stored, scheme.bits < 16, &scheme));
        AWQ__CHECK(add_names(ctx, file, one->string, stored));
    }
    return AWQ_OK;
}
