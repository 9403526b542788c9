/*
 * Recipes in YAML, over libyaml's events: nested mappings give dotted option names. What YAML has
 * beyond mappings, lists and texts (anchors, tags, several documents) is refused. Nesting is as
 * deep as the option table's names, so nothing here recurses further.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { NAME_BYTES = 128 };

typedef struct yaml_reader {
    awq_context *ctx;
    awq_recipe *recipe;
    const yaml_source *source;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; empty before the first */
    bool *seen;         /* options, in the table's order */
    bool *seen_section; /* sections, each at the place of its first option */
    bool seen_rules;
} yaml_reader;

/* ---- errors ---- */

static int refuse(const yaml_reader *reader, yaml_mark_t mark, const char *format, ...)
    PRINTF_LIKE(3, 4);
static int refuse(const yaml_reader *reader, yaml_mark_t mark, const char *format, ...)
{
    char text[1536];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (reader->source->positions)
        print_error("%s:%zu:%zu: %s", reader->source->name, mark.line + 1, mark.column + 1, text);
    else
        print_error("%s: %s", reader->source->name, text);
    return WRONG_USAGE;
}

static yaml_mark_t here(const yaml_reader *reader)
{
    return reader->event.start_mark;
}

/* The line and column of a byte, for errors that come before libyaml knows them. */
static yaml_mark_t mark_of_byte(const yaml_source *source, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < source->bytes; i++) {
        mark.column += ((unsigned char)source->text[i] & 0xc0) != 0x80;
        if (source->text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        }
    }
    return mark;
}

/* What libyaml found wrong with the text, if that was it. */
static int refuse_syntax(const yaml_reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR) {
        print_error("out of memory: %s", reader->source->name);
        return FAILED;
    }
    const char *problem = parser->problem ? parser->problem : "unknown";
    if (parser->error == YAML_READER_ERROR)
        return refuse(reader, mark_of_byte(reader->source, parser->problem_offset),
                      "not valid YAML: %s", problem);
    const char *context = parser->context ? parser->context : "";
    if (strstr(context, "alias") || strstr(context, "anchor"))
        return refuse(reader, parser->context_mark,
                      "a text that begins with * or & must stand in quotes, as in "
                      "\"*.experts.*\"");
    return refuse(reader, parser->problem_mark, "not valid YAML: %s%s%s", problem,
                  context[0] ? " " : "", context);
}

/* ---- events ---- */

static const char *kind(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_MAPPING_START_EVENT:
        return "a mapping";
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    default:
        return event->data.scalar.length ? "a text" : "nothing";
    }
}

/* The anchor and tag of an event; NULL where there are none. */
static void decorations(const yaml_event_t *event, const yaml_char_t **anchor,
                        const yaml_char_t **tag)
{
    *anchor = *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        *anchor = event->data.scalar.anchor;
        *tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        *anchor = event->data.sequence_start.anchor;
        *tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        *anchor = event->data.mapping_start.anchor;
        *tag = event->data.mapping_start.tag;
    }
}

/* Reads the next event, and refuses what a recipe cannot hold anywhere. */
static int next(yaml_reader *reader)
{
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->parser, &reader->event))
        return refuse_syntax(reader);
    const yaml_event_t *event = &reader->event;
    const yaml_char_t *anchor, *tag;
    decorations(event, &anchor, &tag);
    if (event->type == YAML_ALIAS_EVENT)
        return refuse(reader, here(reader),
                      "an alias \"*%s\" is not allowed; a text that begins with * must stand in "
                      "quotes",
                      (const char *)event->data.alias.anchor);
    if (anchor)
        return refuse(reader, here(reader),
                      "an anchor \"&%s\" is not allowed; a text that begins with & must stand in "
                      "quotes",
                      (const char *)anchor);
    if (tag)
        return refuse(reader, here(reader),
                      "a tag \"%s\" is not allowed; a text that begins with ! must stand in quotes",
                      (const char *)tag);
    return DONE;
}

static bool is_scalar(const yaml_reader *reader)
{
    return reader->event.type == YAML_SCALAR_EVENT;
}

static const char *scalar_text(const yaml_reader *reader)
{
    return (const char *)reader->event.data.scalar.value;
}

/* Whether YAML takes the scalar for "no value": empty, ~ or null without quotes. */
static bool is_null(const yaml_reader *reader)
{
    const char *text = scalar_text(reader);
    return reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!text[0] || !strcmp(text, "~") || !strcmp(text, "null"));
}

/* ---- values ---- */

static bool takes_list(const awq_option *option)
{
    return option->type == AWQ_OPTION_TEXT_LIST || option->type == AWQ_OPTION_PATH_LIST;
}

/* Whether the current scalar can be a value at all. */
static int check_scalar(const yaml_reader *reader, const char *name)
{
    if (is_null(reader))
        return refuse(reader, here(reader), "%s: a value is missing", name);
    if (strlen(scalar_text(reader)) != reader->event.data.scalar.length)
        return refuse(reader, here(reader), "%s: a NUL character is not allowed", name);
    return DONE;
}

/* The library checked a value and says what is wrong. */
static int judge(const yaml_reader *reader, awq_status status)
{
    if (status == AWQ_OK)
        return DONE;
    int code = refuse(reader, here(reader), "%s", awq_context_message(reader->ctx));
    return status == AWQ_ERROR_MEMORY ? FAILED : code;
}

static int read_items(yaml_reader *reader, const awq_option *option)
{
    int code = judge(reader, awq_recipe_clear(reader->recipe, option->name));
    while (code == DONE && (code = next(reader)) == DONE &&
           reader->event.type != YAML_SEQUENCE_END_EVENT) {
        if (!is_scalar(reader))
            return refuse(reader, here(reader), "%s: an item of the list must be a text, not %s",
                          option->name, kind(&reader->event));
        code = check_scalar(reader, option->name);
        if (code == DONE)
            code = judge(reader, awq_recipe_append(reader->recipe, option->name,
                                                   scalar_text(reader), reader->source->base_dir));
    }
    return code;
}

/* The value of an option, which is the current event. */
static int read_value(yaml_reader *reader, const awq_option *option)
{
    if (reader->event.type == YAML_SEQUENCE_START_EVENT && takes_list(option))
        return read_items(reader, option);
    if (!is_scalar(reader))
        return refuse(reader, here(reader), "%s: expected %s, found %s", option->name,
                      takes_list(option) ? "a text or a list of texts" : "one value",
                      kind(&reader->event));
    int code = check_scalar(reader, option->name);
    if (code != DONE)
        return code;
    return judge(reader, awq_recipe_set(reader->recipe, option->name, scalar_text(reader),
                                        reader->source->base_dir));
}

/* ---- keys ---- */

/* The place of the first option of a section in the table, or -1. */
static ptrdiff_t section_place(const char *name)
{
    size_t count, length = strlen(name);
    const awq_option *options = awq_option_list(&count);
    for (size_t i = 0; i < count; i++)
        if (!strncmp(options[i].name, name, length) && options[i].name[length] == '.')
            return (ptrdiff_t)i;
    return -1;
}

/* The section that was meant, where a mapping stands under an unknown key. */
static const char *nearest_section(const char *name, char copy[NAME_BYTES])
{
    size_t count, found = 0;
    const awq_option *options = awq_option_list(&count);
    char(*sections)[NAME_BYTES] = must_realloc(NULL, count, sizeof *sections);
    const char **names = must_realloc(NULL, count, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(options[i].name, ".");
        if (!options[i].name[length])
            continue;
        snprintf(sections[found], NAME_BYTES, "%.*s", (int)length, options[i].name);
        names[found] = sections[found];
        found++;
    }
    snprintf(copy, NAME_BYTES, "%s", nearest_name(name, names, found));
    free(names);
    free(sections);
    return copy;
}

/* Is the next event, which becomes the current one, of this type? */
static bool has_next(yaml_reader *reader, yaml_event_type_t type)
{
    yaml_event_delete(&reader->event);
    return yaml_parser_parse(&reader->parser, &reader->event) && reader->event.type == type;
}

/* The key that was meant goes by what stands under it, too: only rules are a list of mappings. */
static int refuse_key(yaml_reader *reader, const char *name)
{
    yaml_mark_t mark = here(reader);
    const awq_removed_option *removed = awq_option_removed(name, NULL);
    if (removed)
        return refuse(reader, mark, "%s: is gone since version %s: %s; leave it out", name,
                      removed->since, removed->why);
    char section[NAME_BYTES];
    const char *dot = strrchr(name, '.'), *meant = awq_option_nearest(name)->name;
    if (has_next(reader, YAML_MAPPING_START_EVENT))
        meant = nearest_section(dot ? dot + 1 : name, section);
    else if (reader->event.type == YAML_SEQUENCE_START_EVENT &&
             has_next(reader, YAML_MAPPING_START_EVENT))
        meant = "rules";
    return refuse(reader, mark, "unknown key \"%s\"; did you mean \"%s\"?", name, meant);
}

static int read_option(yaml_reader *reader, const awq_option *option)
{
    size_t count;
    bool *seen = &reader->seen[option - awq_option_list(&count)];
    if (*seen)
        return refuse(reader, here(reader), "%s stands twice", option->name);
    *seen = true;
    int code = next(reader);
    return code == DONE ? read_value(reader, option) : code;
}

/* ---- rules ---- */

/* Sets an option of the last rule. */
static int set_in_rule(const yaml_reader *reader, const awq_option *option, const char *value)
{
    size_t rule = awq_recipe_rule_count(reader->recipe) - 1;
    return judge(reader, awq_recipe_rule_set(reader->recipe, rule, option->name, value));
}

/* The current scalar alone. */
static int read_rule_scalar(const yaml_reader *reader, const awq_option *option)
{
    int code = check_scalar(reader, option->name);
    return code == DONE ? set_in_rule(reader, option, scalar_text(reader)) : code;
}

/* A list of words or numbers, which a rule has with commas between. Each is judged at its place. */
static int read_rule_list(yaml_reader *reader, const awq_option *option)
{
    yaml_mark_t mark = here(reader);
    size_t length = 0;
    char *words = must_copy("", 0);
    int code = DONE;
    while (code == DONE && (code = next(reader)) == DONE &&
           reader->event.type != YAML_SEQUENCE_END_EVENT) {
        code = is_scalar(reader)
                   ? read_rule_scalar(reader, option)
                   : refuse(reader, here(reader), "%s: an item of the list must be a text, not %s",
                            option->name, kind(&reader->event));
        if (code != DONE)
            break;
        const char *text = scalar_text(reader);
        words = must_realloc(words, length + strlen(text) + 2, 1);
        length += (size_t)sprintf(words + length, "%s%s", length ? "," : "", text);
    }
    if (code == DONE)
        code = length ? set_in_rule(reader, option, words)
                      : refuse(reader, mark, "%s: the list is empty", option->name);
    free(words);
    return code;
}

static int read_rule_value(yaml_reader *reader, const awq_option *option)
{
    bool takes_words = option->type == AWQ_OPTION_CHOICES || option->type == AWQ_OPTION_INDICES;
    if (reader->event.type == YAML_SEQUENCE_START_EVENT && takes_words)
        return read_rule_list(reader, option);
    if (is_scalar(reader))
        return read_rule_scalar(reader, option);
    return refuse(reader, here(reader), "%s: expected %s, found %s", option->name,
                  takes_words ? "a text or a list of texts" : "one value", kind(&reader->event));
}

/* One key of the last rule, and its value. */
static int read_rule_option(yaml_reader *reader, bool *seen)
{
    if (!is_scalar(reader))
        return refuse(reader, here(reader), "expected what a rule says, found %s",
                      kind(&reader->event));
    if (strlen(scalar_text(reader)) != reader->event.data.scalar.length)
        return refuse(reader, here(reader), "a NUL character is not allowed");
    size_t count;
    const awq_option *option = awq_rule_option_find(scalar_text(reader));
    if (!option)
        return refuse(reader, here(reader), "unknown key \"%s\" of a rule; did you mean \"%s\"?",
                      scalar_text(reader), awq_rule_option_nearest(scalar_text(reader))->name);
    bool *twice = &seen[option - awq_rule_option_list(&count)];
    if (*twice)
        return refuse(reader, here(reader), "%s stands twice in the rule", option->name);
    *twice = true;
    int code = next(reader);
    return code == DONE ? read_rule_value(reader, option) : code;
}

static int read_rule(yaml_reader *reader)
{
    size_t count;
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, here(reader), "rules: expected a mapping for each, found %s",
                      kind(&reader->event));
    int code = judge(reader, awq_recipe_add_rule(reader->recipe));
    awq_rule_option_list(&count);
    bool *seen = must_realloc(NULL, count, sizeof *seen);
    memset(seen, 0, count * sizeof *seen);
    while (code == DONE && (code = next(reader)) == DONE &&
           reader->event.type != YAML_MAPPING_END_EVENT)
        code = read_rule_option(reader, seen);
    free(seen);
    return code;
}

static int read_rules(yaml_reader *reader)
{
    if (reader->seen_rules)
        return refuse(reader, here(reader), "rules stands twice");
    reader->seen_rules = true;
    int code = next(reader);
    if (code != DONE || (is_scalar(reader) && is_null(reader)))
        return code; /* all are commented out */
    if (reader->event.type != YAML_SEQUENCE_START_EVENT)
        return refuse(reader, here(reader), "rules: expected a list of rules, found %s",
                      kind(&reader->event));
    while (code == DONE && (code = next(reader)) == DONE &&
           reader->event.type != YAML_SEQUENCE_END_EVENT)
        code = read_rule(reader);
    return code;
}

/* Reads a key and what belongs to it. `section` is "" or the name before the dot. */
static int read_entry(yaml_reader *reader, const char *section);

/* Reads entries to the end of the mapping that has begun. */
static int read_mapping(yaml_reader *reader, const char *section)
{
    int code = DONE;
    while (code == DONE && (code = next(reader)) == DONE &&
           reader->event.type != YAML_MAPPING_END_EVENT)
        code = read_entry(reader, section);
    return code;
}

static int read_section(yaml_reader *reader, const char *name, size_t place)
{
    if (reader->seen_section[place])
        return refuse(reader, here(reader), "%s stands twice", name);
    reader->seen_section[place] = true;
    int code = next(reader);
    if (code != DONE)
        return code;
    if (is_scalar(reader) && is_null(reader))
        return DONE; /* all its options are commented out */
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, here(reader), "%s: expected a mapping, found %s", name,
                      kind(&reader->event));
    return read_mapping(reader, name);
}

static int read_entry(yaml_reader *reader, const char *section)
{
    if (!is_scalar(reader))
        return refuse(reader, here(reader), "expected the name of an option, found %s",
                      kind(&reader->event));
    if (strlen(scalar_text(reader)) != reader->event.data.scalar.length)
        return refuse(reader, here(reader), "a NUL character is not allowed");
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s%s", section, section[0] ? "." : "", scalar_text(reader));
    const awq_option *option = awq_option_find(name);
    if (option)
        return read_option(reader, option);
    if (!strcmp(name, "rules"))
        return read_rules(reader);
    ptrdiff_t place = section_place(name);
    return place < 0 ? refuse_key(reader, name) : read_section(reader, name, (size_t)place);
}

/* ---- documents ---- */

/* Sets up libyaml and goes to the first event inside the document. */
static int open_document(yaml_reader *reader)
{
    if (!yaml_parser_initialize(&reader->parser)) {
        print_error("out of memory");
        exit(FAILED);
    }
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)reader->source->text,
                                 reader->source->bytes);
    int code = next(reader); /* the stream's start */
    if (code == DONE)
        code = next(reader);
    if (code == DONE && reader->event.type == YAML_STREAM_END_EVENT)
        return refuse(reader, here(reader),
                      "there is nothing here; expected the options of a "
                      "recipe");
    return code == DONE ? next(reader) : code;
}

/* Nothing may follow the document. */
static int close_document(yaml_reader *reader)
{
    int code = next(reader); /* the document's end */
    if (code == DONE)
        code = next(reader);
    if (code == DONE && reader->event.type != YAML_STREAM_END_EVENT)
        return refuse(reader, here(reader), "a second document begins here; a recipe is one");
    return code;
}

static void close_reader(yaml_reader *reader)
{
    yaml_event_delete(&reader->event);
    yaml_parser_delete(&reader->parser);
    free(reader->seen);
    free(reader->seen_section);
}

int yaml_read_recipe(awq_context *ctx, awq_recipe *recipe, const yaml_source *source)
{
    yaml_reader reader = {.ctx = ctx, .recipe = recipe, .source = source};
    size_t count;
    awq_option_list(&count);
    reader.seen = must_realloc(NULL, count, sizeof *reader.seen);
    reader.seen_section = must_realloc(NULL, count, sizeof *reader.seen_section);
    memset(reader.seen, 0, count * sizeof *reader.seen);
    memset(reader.seen_section, 0, count * sizeof *reader.seen_section);
    int code = open_document(&reader);
    if (code == DONE && reader.event.type != YAML_MAPPING_START_EVENT)
        code = refuse(&reader, here(&reader), "expected the options of a recipe, found %s",
                      kind(&reader.event));
    if (code == DONE)
        code = read_mapping(&reader, "");
    if (code == DONE)
        code = close_document(&reader);
    close_reader(&reader);
    return code;
}

int yaml_read_list(awq_context *ctx, awq_recipe *recipe, const char *option_name,
                   const yaml_source *source)
{
    yaml_reader reader = {.ctx = ctx, .recipe = recipe, .source = source};
    int code = open_document(&reader);
    if (code == DONE)
        code = read_value(&reader, awq_option_find(option_name));
    if (code == DONE)
        code = close_document(&reader);
    close_reader(&reader);
    return code;
}
