/* A recipe as YAML that reads back to the same values. */
#include "plan/recipe.h"
#include "core/utf8.h"

#include <string.h>

/* What YAML allows to stand in a double-quoted text as it is, on one line. */
static bool is_plain(uint32_t c)
{
    if (c == '"' || c == '\\' || c == 0x7f || c == 0xfeff)
        return false;
    return (c >= 0x20 && c < 0x80) || (c >= 0xa0 && c < 0x2028) || (c > 0x2029 && c < 0xfffe) ||
           c >= 0x10000;
}

static awq_status append_quoted(awq_context *ctx, awq__text *out, const char *text)
{
    awq_status status = awq__text_append(ctx, out, "\"");
    for (size_t step; *text && status == AWQ_OK; text += step) {
        uint32_t c;
        step = awq__utf8_next(text, &c); /* it was checked when it was set */
        status = is_plain(c) ? awq__text_append_bytes(ctx, out, text, step)
                 : c < 0x80 && c >= 0x20 && c != 0x7f
                     ? awq__text_append(ctx, out, "\\%c", (int)c)
                     : awq__text_append(ctx, out, "\\u%04X", (unsigned)c);
    }
    return status == AWQ_OK ? awq__text_append(ctx, out, "\"") : status;
}

static bool is_free_text(const awq_option *option)
{
    return option->type == AWQ_OPTION_TEXT || awq__option_is_path(option) ||
           awq__option_is_list(option);
}

static awq_status append_option(awq_context *ctx, awq__text *out, const awq_option *option,
                                const char *const *texts, size_t count)
{
    bool list = awq__option_is_list(option);
    awq_status status =
        awq__text_append(ctx, out, "%s:%s", awq__option_last_part(option->name), list ? " [" : " ");
    for (size_t i = 0; i < count && status == AWQ_OK; i++) {
        if (i)
            status = awq__text_append(ctx, out, ", ");
        if (status == AWQ_OK)
            status = is_free_text(option) ? append_quoted(ctx, out, texts[i])
                                          : awq__text_append(ctx, out, "%s", texts[i]);
    }
    return status == AWQ_OK ? awq__text_append(ctx, out, list ? "]\n" : "\n") : status;
}

/* "rules:", each rule a list's item. */
static awq_status append_rules(awq_context *ctx, awq__text *out, const awq_recipe *recipe)
{
    size_t count;
    const awq_option *list = awq_rule_option_list(&count);
    awq_status status =
        awq_recipe_rule_count(recipe) ? awq__text_append(ctx, out, "rules:\n") : AWQ_OK;
    for (size_t r = 0; r < awq_recipe_rule_count(recipe); r++) {
        const char *lead = "  - ";
        for (size_t i = 0; i < count && status == AWQ_OK; i++) {
            const char *text = awq_recipe_rule_get(recipe, r, list[i].name);
            if (!text)
                continue;
            status = awq__text_append(ctx, out, "%s%s: ", lead, list[i].name);
            if (status == AWQ_OK)
                status = append_quoted(ctx, out, text);
            if (status == AWQ_OK)
                status = awq__text_append(ctx, out, "\n");
            lead = "    ";
        }
        if (lead[2] == '-' && status == AWQ_OK) /* an empty one */
            status = awq__text_append(ctx, out, "  - {}\n");
    }
    return status;
}

awq_status awq__recipe_yaml(awq_context *ctx, const awq_recipe *recipe, awq__text *out)
{
    size_t option_count;
    const awq_option *options = awq_option_list(&option_count);
    const char *section = "";
    size_t section_length = 0;
    for (size_t i = 0; i < option_count; i++) {
        const awq_option *option = &options[i];
        size_t count;
        const char *const *texts = awq__recipe_values(recipe, option, &count);
        if (!count && !awq__option_is_list(option))
            continue;
        size_t length = (size_t)(awq__option_last_part(option->name) - option->name);
        awq_status status = AWQ_OK;
        if (length && (length != section_length || strncmp(section, option->name, length)))
            status = awq__text_append(ctx, out, "%.*s:\n", (int)length - 1, option->name);
        section = option->name;
        section_length = length;
        if (status == AWQ_OK && length)
            status = awq__text_append(ctx, out, "  ");
        if (status == AWQ_OK)
            status = append_option(ctx, out, option, texts, count);
        if (status != AWQ_OK)
            return status;
    }
    return append_rules(ctx, out, recipe);
}
