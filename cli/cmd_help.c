/* awqc help: the help texts, made from the tables of commands and options. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INDENT = 25, LINE_COLUMNS = 79, TERM_BYTES = 96 };

/* Prints a text from column `column` on, in lines that begin at column `indent`. */
static void print_wrapped(const char *text, int column, int indent)
{
    if (column > indent) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", indent - column, "");
    column = indent;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column > indent && column + 1 + length > LINE_COLUMNS) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        column += printf("%s%.*s", column > indent ? " " : "", length, text);
        text += length + (text[length] == ' ');
    }
    putchar('\n');
}

static void print_term(const char *term, const char *text)
{
    int column = printf("  %s", term);
    print_wrapped(text, column < INDENT ? column : INDENT + 1, INDENT);
}

static void print_options(const char *title, const cli_option *options, size_t count)
{
    if (count)
        printf("\n%s:\n", title);
    for (size_t i = 0; i < count; i++) {
        char term[TERM_BYTES];
        snprintf(term, sizeof term, "%s%s%s", options[i].name, options[i].argument ? " " : "",
                 options[i].argument ? options[i].argument : "");
        print_term(term, options[i].help);
    }
}

void print_command_help(const cli_command *command)
{
    printf("usage: awqc %s%s%s%s\n\n%s\n\n", command->name, command->operand ? " " : "",
           command->operand ? command->operand : "", command->option_count ? " [OPTIONS]" : "",
           command->summary);
    print_wrapped(command->details, 0, 0);
    print_options("options", command->options, command->option_count);
    print_options("options of every command", global_options, global_option_count);
}

void print_program_help(void)
{
    puts("usage: awqc COMMAND [OPTIONS]\n\n"
         "Activation-aware 4-bit quantization of mixture-of-experts models.\n\n"
         "commands:");
    for (const cli_command *const *all = all_commands(); *all; all++) {
        char term[TERM_BYTES];
        const char *operand = (*all)->operand;
        snprintf(term, sizeof term, "%s%s%s", (*all)->name, operand ? " " : "",
                 operand ? operand : "");
        print_term(term, (*all)->summary);
    }
    print_options("options of every command", global_options, global_option_count);
    puts("\nexit codes:");
    print_term("0", "Success.");
    print_term("1", "The operation failed: a file, the model or a number is at fault.");
    print_term("2", "The command line or the recipe is wrong. Nothing was written.");
    print_term("130", "Interrupted by SIGINT or SIGTERM.");
    puts("\n\"awqc help COMMAND\" tells more of a command, \"awqc help recipe\" of recipes, and\n"
         "\"awqc help engines\" what serving engines take.");
}

/* ---- the options of recipes ---- */

static const char *type_name(awq_option_type type)
{
    switch (type) {
    case AWQ_OPTION_TEXT:
        return "text";
    case AWQ_OPTION_PATH:
        return "path";
    case AWQ_OPTION_INTEGER:
        return "integer";
    case AWQ_OPTION_BOOLEAN:
        return "true|false";
    case AWQ_OPTION_CHOICE:
        return "choice";
    case AWQ_OPTION_SIZE:
        return "size";
    case AWQ_OPTION_TEXT_LIST:
        return "list of texts";
    case AWQ_OPTION_PATH_LIST:
        return "list of paths";
    case AWQ_OPTION_NUMBER:
        return "number";
    case AWQ_OPTION_CHOICES:
        return "choices";
    case AWQ_OPTION_INDICES:
        return "numbers";
    }
    return "?";
}

/* "integer from 1 to 1024", "awq|rtn" */
static const char *allowed(const awq_option *option, char text[TERM_BYTES])
{
    char bytes[TEXT_BYTES];
    if (option->type == AWQ_OPTION_CHOICE || option->type == AWQ_OPTION_CHOICES)
        return option->choices;
    if (option->type == AWQ_OPTION_INTEGER && option->minimum == option->maximum)
        snprintf(text, TERM_BYTES, "only %lld", (long long)option->minimum);
    else if (option->type == AWQ_OPTION_INTEGER)
        snprintf(text, TERM_BYTES, "integer from %lld to %lld", (long long)option->minimum,
                 (long long)option->maximum);
    else if (option->type == AWQ_OPTION_NUMBER)
        snprintf(text, TERM_BYTES, "number from %lld to %lld", (long long)option->minimum,
                 (long long)option->maximum);
    else if (option->type == AWQ_OPTION_SIZE)
        snprintf(text, TERM_BYTES, "size from %s", format_bytes(bytes, (uint64_t)option->minimum));
    else
        return type_name(option->type);
    return text;
}

static void print_recipe_option(const awq_option *option)
{
    char text[TERM_BYTES];
    printf("  %s: %s", option->name, allowed(option, text));
    if (option->required)
        printf(", required\n");
    else if (option->fallback[0])
        printf(", default %s\n", option->fallback);
    else
        printf(", no default\n");
    print_wrapped(option->help, 0, 6);
}

static void print_rule_help(void)
{
    size_t count;
    const awq_option *options = awq_rule_option_list(&count);
    puts("\nrules:");
    print_wrapped("A list of mappings, which treat modules in another way than quantize says. Of "
                  "the rules that match a module the first counts; what it does not say is as "
                  "quantize has it. Its selectors must all match; where one takes several words "
                  "or numbers, they stand in a list or with commas between.",
                  0, 2);
    puts("\n  rules:\n"
         "    - role: expert\n"
         "      layers: 0,-1\n"
         "      keep: true\n"
         "    - role: attention\n"
         "      preset: w8a16\n");
    for (size_t i = 0; i < count; i++) {
        char text[TERM_BYTES];
        printf("  %s: %s\n", options[i].name, allowed(&options[i], text));
        print_wrapped(options[i].help, 0, 6);
    }
}

static void print_recipe_help(void)
{
    puts("A recipe is a YAML file. The part of a name before the dot is a mapping:\n\n"
         "  model: Mixtral-8x7B-Instruct-v0.1\n"
         "  output: Mixtral-8x7B-Instruct-v0.1-AWQ\n"
         "  calibration:\n"
         "    data: [calib.jsonl]\n"
         "    samples: 128\n");
    print_wrapped("Relative paths are taken from the directory of the recipe. A list may be a "
                  "single value. Text that begins with *, & or ! stands in quotes. A size is a "
                  "whole number of bytes, or of kB, MB, GB, TB, KiB, MiB, GiB or TiB. On the "
                  "command line any option can be set by --set, as in --set "
                  "calibration.samples=16.",
                  0, 0);
    puts("\noptions:");
    size_t count;
    const awq_option *options = awq_option_list(&count);
    for (size_t i = 0; i < count; i++)
        print_recipe_option(&options[i]);
    print_rule_help();
}

/* ---- what engines take ---- */

static void print_engine_rule(const awq_engine_rule *rule)
{
    printf("  %s: %s%s%s%s\n", rule->formats, rule->level, rule->versions[0] ? " (" : "",
           rule->versions, rule->versions[0] ? ")" : "");
    print_wrapped(rule->constraint, 0, 6);
    int column = printf("      source: ");
    print_wrapped(rule->source, column, column);
}

static int print_engines_help(awq_context *ctx)
{
    awq_engine_rule_list *list;
    awq_status status = awq_engine_rule_list_create(ctx, &list);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    print_wrapped("What serving engines take of each format. By it plan and quantize judge a "
                  "recipe's engine: a result that breaks a line marked refused is refused with "
                  "what to change, unless --ignore-engine is given; of one that only the versions "
                  "in brackets do not load, or that is loaded but slower or larger than it could "
                  "be (note), they warn. With engine any nothing is refused.",
                  0, 0);
    const char *engine = "";
    for (size_t i = 0; i < awq_engine_rule_list_count(list); i++) {
        const awq_engine_rule *rule = awq_engine_rule_list_at(list, i);
        if (strcmp(rule->engine, engine) != 0)
            printf("\n%s:\n", rule->engine);
        engine = rule->engine;
        print_engine_rule(rule);
    }
    awq_engine_rule_list_free(list);
    return DONE;
}

/* ---- the command ---- */

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    static const char *const others[] = {"recipe", "engines", NULL};
    const char *topic = arguments->operand;
    if (!topic) {
        print_program_help();
        return DONE;
    }
    if (!strcmp(topic, "recipe")) {
        print_recipe_help();
        return DONE;
    }
    if (!strcmp(topic, "engines"))
        return print_engines_help(ctx);
    const cli_command *command = find_command(topic);
    if (!command)
        return refuse_command("help: there is no help on", topic, others);
    print_command_help(command);
    return DONE;
}

const cli_command command_help = {
    "help",
    "[TOPIC]",
    "Explain awqc, a command, recipes (awqc help recipe) or engines.",
    "TOPIC is the name of a command; \"recipe\" for the options and rules of a recipe; \"engines\" "
    "for what each serving engine takes, and where that is written.",
    NULL,
    0,
    run,
    false,
};
