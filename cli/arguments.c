/* Command lines: the tables of options say what there is; this reads argv by them. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLUGIN_PATH, HELP, VERSION };
const cli_option global_options[] = {
    [PLUGIN_PATH] = {"--plugin-path", "PATH", true,
                     "Search this file or directory for architecture plugins first."},
    [HELP] = {"--help", NULL, false, "Print the help text, also of a command, and exit; also -h."},
    [VERSION] = {"--version", NULL, false, "Print the version, what computes, and exit."},
};
const size_t global_option_count = sizeof global_options / sizeof global_options[0];

/* ---- which name was meant ---- */

/* Levenshtein distance of the first 63 bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t row[LONGEST + 1];
    size_t length = strnlen(b, LONGEST);
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; i < LONGEST && a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (diagonal + 1 < best)
                best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[length];
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    const char *nearest = "";
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, names[i]);
        if (distance < nearest_distance) {
            nearest = names[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

/* ---- one option ---- */

/* A command line that is being read. Its options are the command's, then those of all commands. */
typedef struct command_line {
    int argc;
    char **argv;
    int *index;
    const cli_command *command; /* NULL while it is not known */
    cli_globals *globals;
    cli_arguments *arguments;
} command_line;

static size_t own_count(const command_line *line)
{
    return line->command ? line->command->option_count : 0;
}

static size_t all_count(const command_line *line)
{
    return own_count(line) + global_option_count;
}

static const cli_option *option_at(const command_line *line, size_t index)
{
    size_t own = own_count(line);
    return index < own ? &line->command->options[index] : &global_options[index - own];
}

/* Prints "COMMAND: " and the rest. */
static int refuse(const cli_command *command, const char *format, ...) PRINTF_LIKE(2, 3);
static int refuse(const cli_command *command, const char *format, ...)
{
    char rest[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(rest, sizeof rest, format, values);
    va_end(values);
    if (command)
        print_error("%s: %s", command->name, rest);
    else
        print_error("%s", rest);
    return WRONG_USAGE;
}

/* Can the word have been meant for the option? It is the beginning of its name, or hardly another
   word; for what discards something only a slip of the finger will do. */
static bool is_near(const char *word, const cli_option *option)
{
    const char *letters = word + strspn(word, "-"),
               *name = option->name + strspn(option->name, "-");
    size_t distance = edit_distance(letters, name), length = strlen(letters);
    if (option->discards)
        return distance <= 1;
    return 2 * distance < length || (length && !strncmp(letters, name, length));
}

static int unknown_option(const command_line *line, const char *word)
{
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    const char *names[MAX_OPTIONS + sizeof global_options / sizeof global_options[0]];
    size_t near = 0;
    for (size_t i = 0; i < all_count(line); i++)
        if (is_near(name, option_at(line, i)))
            names[near++] = option_at(line, i)->name;
    if (near)
        return refuse(line->command, "unknown option \"%s\"; did you mean \"%s\"?", name,
                      nearest_name(name, names, near));
    return refuse(line->command, "unknown option \"%s\"; \"awqc help%s%s\" lists the options", name,
                  line->command ? " " : "", line->command ? line->command->name : "");
}

static void add_text(const char ***texts, size_t *count, const char *text)
{
    *texts = must_realloc(*texts, *count + 1, sizeof **texts);
    (*texts)[(*count)++] = text;
}

static void store(command_line *line, size_t index, const char *text)
{
    cli_globals *globals = line->globals;
    if (index < own_count(line)) {
        cli_arguments *arguments = line->arguments;
        add_text(&arguments->given[index].texts, &arguments->given[index].count, text);
        return;
    }
    switch (index - own_count(line)) {
    case PLUGIN_PATH:
        add_text(&globals->plugin_paths, &globals->plugin_path_count, text);
        break;
    case HELP:
        globals->help = true;
        break;
    case VERSION:
        globals->version = true;
        break;
    }
}

/* Reads the next word, an option, and its argument: "--name VALUE" or "--name=VALUE". -h is --help.
 */
static int parse_option(command_line *line)
{
    const char *word = line->argv[(*line->index)++];
    if (!strcmp(word, "-h"))
        word = global_options[HELP].name;
    size_t length = strcspn(word, "=");
    size_t count = all_count(line), found = 0;
    while (found < count && (strncmp(option_at(line, found)->name, word, length) ||
                             option_at(line, found)->name[length]))
        found++;
    if (found == count)
        return unknown_option(line, word);
    const cli_option *option = option_at(line, found);
    const char *text = word[length] ? word + length + 1 : NULL;
    if (!option->argument && text)
        return refuse(line->command, "%s takes no value", option->name);
    if (option->argument && !text) {
        if (*line->index == line->argc)
            return refuse(line->command, "%s needs %s after it", option->name, option->argument);
        text = line->argv[(*line->index)++];
    }
    if (option->argument && !option->repeats && is_given(line->arguments, found))
        return refuse(line->command, "%s stands twice", option->name);
    store(line, found, text);
    return DONE;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

/* ---- whole command lines ---- */

int parse_globals(int argc, char **argv, int *index, cli_globals *globals)
{
    command_line line = {argc, argv, index, NULL, globals, NULL};
    int code = DONE;
    while (code == DONE && *index < argc && is_option(argv[*index]))
        code = parse_option(&line);
    return code;
}

int parse_arguments(const cli_command *command, int argc, char **argv, int *index,
                    cli_globals *globals, cli_arguments *arguments)
{
    command_line line = {argc, argv, index, command, globals, arguments};
    bool options_end = false;
    while (*index < argc) {
        const char *word = argv[*index];
        if (!options_end && !strcmp(word, "--")) {
            options_end = true;
            ++*index;
        } else if (!options_end && is_option(word)) {
            int code = parse_option(&line);
            if (code != DONE)
                return code;
        } else if (!command->operand || arguments->operand) {
            return refuse(command, "unexpected argument \"%s\"", word);
        } else {
            arguments->operand = word;
            ++*index;
        }
    }
    bool needs_operand = command->operand && command->operand[0] != '[';
    if (needs_operand && !arguments->operand && !globals->help && !globals->version)
        return refuse(command, "%s is missing; usage: awqc %s %s [OPTIONS]", command->operand,
                      command->name, command->operand);
    return DONE;
}

void free_arguments(cli_arguments *arguments)
{
    for (size_t i = 0; i < MAX_OPTIONS; i++)
        free(arguments->given[i].texts);
}

bool is_given(const cli_arguments *arguments, size_t option)
{
    return arguments->given[option].count > 0;
}

const char *argument_of(const cli_arguments *arguments, size_t option)
{
    return is_given(arguments, option) ? arguments->given[option].texts[0] : NULL;
}

int number_argument(const cli_command *command, const cli_arguments *arguments, size_t option,
                    int64_t minimum, int64_t maximum, int64_t *number)
{
    const char *text = argument_of(arguments, option);
    if (!text)
        return DONE;
    int64_t value = 0;
    bool right = text[0] != 0;
    for (const char *c = text; *c && right; c++)
        right = *c >= '0' && *c <= '9' && !__builtin_mul_overflow(value, 10, &value) &&
                !__builtin_add_overflow(value, *c - '0', &value);
    if (!right || value < minimum || value > maximum) {
        return refuse(command, "%s \"%s\" is not allowed; allowed is an integer from %lld to %lld",
                      command->options[option].name, text, (long long)minimum, (long long)maximum);
    }
    *number = value;
    return DONE;
}
