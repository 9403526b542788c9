#include "plan/rules.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const int64_t group_sizes[] = {128, 64, 32};

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

/* The group sizes that divide so many columns, as text. */
static void list_sizes(int64_t cols, char *text, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof group_sizes / sizeof *group_sizes; i++)
        if (cols % group_sizes[i] == 0)
            at += (size_t)snprintf(text + at, size - at, "%lld, ", (long long)group_sizes[i]);
    snprintf(text + at, size - at, "-1");
}

static bool divides_all(const awq__rules *rules, const awq__arch *arch, int64_t group)
{
    for (size_t i = 0; i < arch->module_count; i++)
        if (rules->quantize[i] && arch->modules[i].cols % group)
            return false;
    return true;
}

static awq_status settle_automatic(awq_context *ctx, awq__rules *rules, const awq__arch *arch)
{
    for (size_t i = 0; i < sizeof group_sizes / sizeof *group_sizes && !rules->scheme.group; i++)
        if (divides_all(rules, arch, group_sizes[i]))
            rules->scheme.group = group_sizes[i];
    if (rules->scheme.group)
        return AWQ_OK;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        if (rules->quantize[i] && module->cols % 32)
            return awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "%s: its %lld columns are not a multiple of 128, 64 or 32: only "
                             "quantize.group_size -1, a group a row, fits",
                             module->name, (long long)module->cols);
    }
    return AWQ_OK; /* not reached: 32 divides all */
}

awq_status awq__rules_settle_group(awq_context *ctx, awq__rules *rules, const awq__arch *arch)
{
    awq_status status = settle_automatic(ctx, rules, arch);
    int64_t g = rules->scheme.group;
    for (size_t i = 0; i < arch->module_count && g > 0 && status == AWQ_OK; i++) {
        const awq__module *module = &arch->modules[i];
        char fits[64];
        if (!rules->quantize[i] || module->cols % g == 0)
            continue;
        list_sizes(module->cols, fits, sizeof fits);
        status = awq__fail(ctx, AWQ_ERROR_RECIPE,
                           "%s: its %lld columns are not a multiple of quantize.group_size %lld; "
                           "sizes that fit: %s",
                           module->name, (long long)module->cols, (long long)g, fits);
    }
    return status;
}

static awq_status apply(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                        awq__rules *rules)
{
    size_t patterns, count = 0;
    const char *const *list = awq__recipe_list(recipe, "quantize.modules", &patterns);
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < patterns && status == AWQ_OK; i++)
        status = apply_pattern(ctx, arch, list[i], rules);
    for (size_t i = 0; i < arch->module_count; i++)
        count += rules->quantize[i];
    if (status == AWQ_OK && !count)
        status =
            awq__fail(ctx, AWQ_ERROR_RECIPE,
                      "quantize.modules: no pattern matches a module that can be quantized; names "
                      "look like %s",
                      arch->modules[awq__arch_index(arch, 0, AWQ__PART_GATE, 0)].name);
    return status;
}

static bool is_auto(const awq_recipe *recipe, const char *option)
{
    return !strcmp(awq__recipe_text(recipe, option), "auto");
}

static awq__scheme scheme_from(const awq_recipe *recipe, const awq__rule_defaults *defaults)
{
    awq__scheme scheme = {.bits = (int)awq__recipe_int(recipe, "quantize.bits"),
                          .group = defaults->group,
                          .symmetric = defaults->symmetric};
    if (!is_auto(recipe, "quantize.group_size"))
        scheme.group = awq__recipe_int(recipe, "quantize.group_size");
    if (!is_auto(recipe, "quantize.symmetric"))
        scheme.symmetric = !strcmp(awq__recipe_text(recipe, "quantize.symmetric"), "true");
    return scheme;
}

awq_status awq__rules_create(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                             const awq__rule_defaults *defaults, awq__rules *rules)
{
    *rules = (awq__rules){
        .scheme = scheme_from(recipe, defaults),
    };
    const char *method = awq__recipe_text(recipe, "quantize.method");
    rules->calibrate = strcmp(method, "rtn") != 0;
    rules->scale = !strcmp(method, "awq");
    rules->clip = rules->scale && awq__recipe_bool(recipe, "quantize.clip");
    rules->gptq = !strcmp(method, "gptq") ||
                  (rules->scale && !strcmp(awq__recipe_text(recipe, "quantize.rounding"), "gptq"));
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

awq__scheme awq__rules_scheme(const awq__rules *rules, const awq__module *module)
{
    awq__scheme scheme = rules->scheme;
    if (scheme.group < 0)
        scheme.group = module->cols;
    return scheme;
}
