#include "plan/rules.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Routers hold almost no weights and tolerate no rounding; embedding and head no format here
 * stores. */
static bool may_quantize(awq_role role)
{
    return role == AWQ_ROLE_EXPERT || role == AWQ_ROLE_SHARED_EXPERT ||
           role == AWQ_ROLE_ATTENTION || role == AWQ_ROLE_MLP;
}

awq_status awq__rules_warn(awq_context *ctx, awq__rules *rules, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    awq_status status = awq__grow(ctx, &rules->warnings, &rules->warning_capacity,
                                  rules->warning_count + 1, sizeof *rules->warnings, "warnings");
    if (status != AWQ_OK)
        return status;
    char *copy = awq__strdup(ctx, line);
    if (!copy)
        return AWQ_ERROR_MEMORY;
    rules->warnings[rules->warning_count++] = copy;
    return AWQ_OK;
}

static awq_status apply_pattern(awq_context *ctx, const awq__arch *arch, const char *pattern,
                                awq__rules *rules)
{
    size_t matched = 0;
    const awq__module *refused = NULL;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        if (fnmatch(pattern, module->name, 0))
            continue;
        if (may_quantize(module->role)) {
            rules->quantize[i] = true;
            matched++;
        } else if (!refused ||
                   (module->role == AWQ_ROLE_ROUTER && refused->role != AWQ_ROLE_ROUTER)) {
            refused = module;
        }
    }
    if (!matched && refused)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "quantize.modules: \"%s\" matches only what is never quantized: %s (%s)",
                         pattern, refused->name, awq_role_name(refused->role));
    if (!matched)
        return awq__rules_warn(
            ctx, rules, "quantize.modules: \"%s\" matches no module; names look like %s", pattern,
            arch->modules[awq__arch_index(arch, 0, AWQ__PART_GATE, 0)].name);
    return AWQ_OK;
}

static awq_status check_group(awq_context *ctx, const awq__rules *rules, const awq__module *module)
{
    int64_t g = rules->scheme.group;
    if (g < 0 || module->cols % g == 0)
        return AWQ_OK;
    char fits[64] = "";
    size_t at = 0;
    const int64_t sizes[] = {128, 64, 32};
    for (int i = 0; i < 3; i++)
        if (module->cols % sizes[i] == 0)
            at += (size_t)snprintf(fits + at, sizeof fits - at, "%lld, ", (long long)sizes[i]);
    return awq__fail(
        ctx, AWQ_ERROR_RECIPE,
        "%s: its %lld columns are not a multiple of quantize.group_size %lld; sizes that fit: "
        "%s-1",
        module->name, (long long)module->cols, (long long)g, fits);
}

static awq_status apply(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                        awq__rules *rules)
{
    size_t patterns, count = 0;
    const char *const *list = awq__recipe_list(recipe, "quantize.modules", &patterns);
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < patterns && status == AWQ_OK; i++)
        status = apply_pattern(ctx, arch, list[i], rules);
    for (size_t i = 0; i < arch->module_count && status == AWQ_OK; i++) {
        count += rules->quantize[i];
        if (rules->quantize[i])
            status = check_group(ctx, rules, &arch->modules[i]);
    }
    if (status == AWQ_OK && !count)
        status =
            awq__fail(ctx, AWQ_ERROR_RECIPE,
                      "quantize.modules: no pattern matches a module that can be quantized; names "
                      "look like %s",
                      arch->modules[awq__arch_index(arch, 0, AWQ__PART_GATE, 0)].name);
    return status;
}

awq_status awq__rules_create(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                             awq__rules *rules)
{
    *rules = (awq__rules){
        .scheme = {.bits = (int)awq__recipe_int(recipe, "quantize.bits"),
                   .group = awq__recipe_int(recipe, "quantize.group_size"),
                   .symmetric = awq__recipe_bool(recipe, "quantize.symmetric")},
        .awq = !strcmp(awq__recipe_text(recipe, "quantize.method"), "awq"),
    };
    rules->clip = rules->awq && awq__recipe_bool(recipe, "quantize.clip");
    rules->quantize =
        awq__alloc(ctx, arch->module_count, sizeof *rules->quantize, "the treatment of modules");
    awq_status status = rules->quantize ? apply(ctx, recipe, arch, rules) : AWQ_ERROR_MEMORY;
    if (status != AWQ_OK)
        awq__rules_free(rules);
    return status;
}

void awq__rules_free(awq__rules *rules)
{
    for (size_t i = 0; i < rules->warning_count; i++)
        awq__free(rules->warnings[i]);
    awq__free(rules->warnings);
    awq__free(rules->quantize);
    *rules = (awq__rules){0};
}

awq__scheme awq__rules_scheme(const awq__rules *rules, const awq__module *module, awq_dtype dtype)
{
    awq__scheme scheme = rules->scheme;
    if (scheme.group < 0)
        scheme.group = module->cols;
    scheme.grid = dtype == AWQ_BF16 ? AWQ__GRID_BF16_F16 : AWQ__GRID_F16;
    return scheme;
}
