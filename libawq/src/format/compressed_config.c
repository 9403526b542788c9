/*
 * What the quantization_config of compressed-tensors says of which modules: codes in the layout
 * "pack-quantized", or F8_E4M3 in the layout "float-quantized".
 */
#include "format/format.h"

#define PACKED "pack-quantized"
#define FLOATS "float-quantized"
#define MIXED "mixed-precision"

static bool is_nothing(const cJSON *item)
{
    return !item || cJSON_IsNull(item);
}

/* What is looked at, and what it must be. */
typedef struct check {
    const char *key;
    const cJSON *item;
    bool right;
    const char *fits;
} check;

static awq_status refuse_first(awq_context *ctx, const char *file, const check *checks,
                               size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!checks[i].right)
            return awq__stored_refuse(ctx, file, checks[i].key, checks[i].item, checks[i].fits);
    return AWQ_OK;
}

/* ---- codes ---- */

/* group_size of a strategy: -1 for "channel". */
static bool read_group(const cJSON *strategy, const cJSON *size, int64_t *group)
{
    bool integer = awq__json_int(size, group);
    if (awq__json_is_text(strategy, "group"))
        return integer && *group > 0;
    bool whole = is_nothing(size) || (integer && *group == -1);
    *group = -1;
    return whole;
}

static awq_status read_codes(awq_context *ctx, const char *file, const cJSON *group,
                             awq__stored_scheme *scheme)
{
    const cJSON *weights = awq__json_at(group, "weights");
    const cJSON *inputs = awq__json_at(group, "input_activations");
    const cJSON *bits = awq__json_at(weights, "num_bits"), *type = awq__json_at(weights, "type");
    const cJSON *symmetric = awq__json_at(weights, "symmetric");
    const cJSON *strategy = awq__json_at(weights, "strategy");
    const cJSON *size = awq__json_at(weights, "group_size");
    const cJSON *order = awq__json_at(weights, "actorder");
    int64_t bit_count = 0, group_size = 0;
    const check checks[] = {
        {"num_bits", bits,
         awq__json_int(bits, &bit_count) && ((bit_count >= 2 && bit_count <= 4) || bit_count == 8),
         "2, 3, 4 or 8"},
        {"type", type, awq__json_is_text(type, "int"), "\"int\""},
        {"symmetric", symmetric, cJSON_IsBool(symmetric), "true or false"},
        {"strategy", strategy,
         awq__json_is_text(strategy, "group") || awq__json_is_text(strategy, "channel"),
         "\"group\" or \"channel\""},
        {"group_size", size, read_group(strategy, size, &group_size),
         "a positive integer for strategy \"group\", or null or -1 for \"channel\","},
        {"actorder", order,
         is_nothing(order) || awq__json_is_text(order, "static") ||
             awq__json_is_text(order, "weight"),
         "null, \"static\" or \"weight\""},
        {"input_activations", inputs, is_nothing(inputs), "null"},
    };
    AWQ__CHECK(refuse_first(ctx, file, checks, sizeof checks / sizeof *checks));
    *scheme = (awq__stored_scheme){
        .bits = (int)bit_count, .group = group_size, .symmetric = cJSON_IsTrue(symmetric) != 0};
    return AWQ_OK;
}

/* ---- F8_E4M3 ---- */

/* block_structure of the strategy "block", and of no other. */
static bool read_structure(const cJSON *strategy, const cJSON *structure,
                           awq__stored_scheme *scheme)
{
    if (!awq__json_is_text(strategy, "block"))
        return is_nothing(structure);
    return cJSON_IsArray(structure) && cJSON_GetArraySize(structure) == 2 &&
           awq__json_int(cJSON_GetArrayItem(structure, 0), &scheme->block_rows) &&
           awq__json_int(cJSON_GetArrayItem(structure, 1), &scheme->block_cols) &&
           scheme->block_rows > 0 && scheme->block_cols > 0;
}

/* What becomes of activations as they are computed with is no matter of the weights. */
static awq_status read_floats(awq_context *ctx, const char *file, const cJSON *group,
                              awq__stored_scheme *scheme)
{
    const cJSON *weights = awq__json_at(group, "weights");
    const cJSON *bits = awq__json_at(weights, "num_bits"), *type = awq__json_at(weights, "type");
    const cJSON *symmetric = awq__json_at(weights, "symmetric");
    const cJSON *strategy = awq__json_at(weights, "strategy");
    const cJSON *structure = awq__json_at(weights, "block_structure");
    int64_t bit_count = 0;
    *scheme = (awq__stored_scheme){.bits = 8, .group = -1, .symmetric = true, .fp8 = true};
    const check checks[] = {
        {"num_bits", bits, awq__json_int(bits, &bit_count) && bit_count == 8, "8"},
        {"type", type, awq__json_is_text(type, "float"), "\"float\""},
        {"symmetric", symmetric, cJSON_IsTrue(symmetric) != 0, "true"},
        {"strategy", strategy,
         awq__json_is_text(strategy, "tensor") || awq__json_is_text(strategy, "channel") ||
             awq__json_is_text(strategy, "block"),
         "\"tensor\", \"channel\" or \"block\""},
        {"block_structure", structure, read_structure(strategy, structure, scheme),
         "two positive numbers for strategy \"block\", or null for others,"},
    };
    return refuse_first(ctx, file, checks, sizeof checks / sizeof *checks);
}

/* ---- groups ---- */

/* One of config_groups but for its targets. `layout` is that of groups that name none. */
static awq_status read_scheme(awq_context *ctx, const char *file, const cJSON *layout,
                              const cJSON *group, awq__stored_scheme *scheme)
{
    const cJSON *weights = awq__json_at(group, "weights"), *own = awq__json_at(group, "format");
    const cJSON *outputs = awq__json_at(group, "output_activations");
    const cJSON *dynamic = awq__json_at(weights, "dynamic");
    const cJSON *format = is_nothing(own) ? layout : own;
    bool floats = awq__json_is_text(format, FLOATS);
    const check checks[] = {
        {"a group's format", format, floats || awq__json_is_text(format, PACKED),
         "\"" PACKED "\" or \"" FLOATS "\""},
        {"weights", weights, cJSON_IsObject(weights), "an object"},
        {"dynamic", dynamic, is_nothing(dynamic) || cJSON_IsFalse(dynamic), "false"},
        {"output_activations", outputs, is_nothing(outputs), "null"},
    };
    AWQ__CHECK(refuse_first(ctx, file, checks, sizeof checks / sizeof *checks));
    return floats ? read_floats(ctx, file, group, scheme) : read_codes(ctx, file, group, scheme);
}

/* The class of modules that stands for all that no pattern names. */
static bool is_class(const cJSON *target)
{
    return awq__json_is_text(target, "Linear");
}

static awq_status read_targets(awq_context *ctx, const char *file, const cJSON *targets,
                               const awq__stored_scheme *scheme, awq__stored *stored)
{
    const cJSON *target;
    if (!cJSON_IsArray(targets) || !cJSON_GetArraySize(targets))
        return awq__stored_refuse(ctx, file, "a group's targets", targets, "an array of names");
    AWQ__CHECK(awq__stored_add_group(ctx, stored, scheme != NULL,
                                     scheme ? scheme : &(awq__stored_scheme){0}));
    cJSON_ArrayForEach(target, targets)
    {
        if (!cJSON_IsString(target))
            return awq__stored_refuse(ctx, file, scheme ? "a group's target" : "an entry of ignore",
                                      target, "a name");
        if (scheme && is_class(target)) {
            if (stored->has_rest)
                return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                                 "%s: quantization_config: two of config_groups have the target "
                                 "\"Linear\", but only one can be read",
                                 file);
            stored->has_rest = true;
            stored->rest = *scheme;
        } else {
            AWQ__CHECK(
                awq__stored_add_pattern(ctx, stored, file, target->valuestring, AWQ__NAME_EXACT));
        }
    }
    return AWQ_OK;
}

awq_status awq__compressed_read_config(awq_context *ctx, const char *file, const cJSON *config,
                                       awq__stored *stored)
{
    const cJSON *groups = awq__json_at(config, "config_groups"), *group;
    const cJSON *format = awq__json_at(config, "format");
    const cJSON *transform = awq__json_at(config, "transform_config");
    const cJSON *ignored = awq__json_at(config, "ignore");
    *stored = (awq__stored){0};
    if (!awq__json_is_text(format, PACKED) && !awq__json_is_text(format, FLOATS) &&
        !awq__json_is_text(format, MIXED))
        return awq__stored_refuse(ctx, file, "format", format,
                                  "\"" PACKED "\", \"" FLOATS "\" or \"" MIXED "\"");
    if (!is_nothing(transform) && !(cJSON_IsObject(transform) && !transform->child))
        return awq__stored_refuse(ctx, file, "transform_config", transform,
                                  "null or an empty object");
    if (!cJSON_IsObject(groups) || !cJSON_GetArraySize(groups))
        return awq__stored_refuse(ctx, file, "config_groups", groups, "an object of groups");
    if (cJSON_IsArray(ignored) && cJSON_GetArraySize(ignored))
        AWQ__CHECK(read_targets(ctx, file, ignored, NULL, stored));
    cJSON_ArrayForEach(group, groups)
    {
        awq__stored_scheme scheme;
        AWQ__CHECK(read_scheme(ctx, file, format, group, &scheme));
        AWQ__CHECK(read_targets(ctx, file, awq__json_at(group, "targets"), &scheme, stored));
    }
    return AWQ_OK;
}
