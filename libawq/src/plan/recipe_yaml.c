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
    AWQ__CHECK(awq__text_append(ctx, out, "\""));
    for (size_t step; *text; text += step) {
        uint32_t c;
        step = awq__utf8_next(text, &c); /* it was checked when it was set */
        AWQ__CHECK(is_plain(c) ? awq__text_append_bytes(ctx, out, text, step)
                   : c < 0x80 && c >= 0x20 && c != 0x7f
                       ? awq__text_append(ctx, out, "\\%c", (int)c)
                       : awq__text_append(ctx, out, "\\u%04X", (unsigned)c));
    }
    return awq__text_append(ctx, out, "\"");
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
    AWQ__CHECK(awq__text_append(ctx, out, "%s:%s", awq__option_last_part(option->name),
                                list ? " [" : " "));
    for (size_t i = 0; i < count; i++) {
        if (i)
            AWQ__CHECK(awq__text_append(ctx, out, ", "));
        AWQ__CHECK(is_free_text(option) ? append_quoted(ctx, out, texts[i])
                                        : awq__text_append(ctx, out, "%s", texts[i]));
    }
    return awq__text_append(ctx, out, list ? "]\n" : "\n");
}

/* "rules:", each rule a list's item. */
static awq_status append_rules(awq_context *ctx, awq__text *out, const awq_recipe *recipe)
{
    size_t count;
    const awq_option *list = awq_rule_option_list(&count);
    if (awq_recipe_rule_count(recipe))
        AWQ__CHECK(awq__text_append(ctx, out, "rules:\n"));
    for (size_t r = 0; r < awq_recipe_rule_count(recipe); r++) {
        const char *lead = "  - ";
        for (size_t i = 0; i < count; i++) {
            const char *text = awq_recipe_rule_get(recipe, r, list[i].name);
            if (!text)
                continue;
            AWQ__CHECK(awq__text_append(ctx, out, "%s%s: ", lead, list[i].name));
            AWQ__CHECK(append_quoted(ctx, out, text));
            AWQ__CHECK(awq__text_append(ctx, out, "\n"));
            lead = "    ";
        }
        if (lead[2] == '-') /* an empty one */
            AWQ__CHECK(awq__text_append(ctx, out, "  - {}\n"));
    }
    return AWQ_OK;
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
        if (length && (length != section_length || strncmp(section, option->name, length)))
            AWQ__CHECK(awq__text_append(ctx, out, "%.*s:\n", (int)length - 1, option->name));
        section = option->name;
        section_length = length;
        if (length)
            AWQ__CHECK(awq__text_append(ctx, out, "  "));
        AWQ__CHECK(append_option(ctx, out, option, texts, count));
    }

    return append_rules(ctx, out, recipe);
}
