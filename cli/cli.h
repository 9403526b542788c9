/* What the parts of the program share. It uses the library through its public headers alone. */
#ifndef AWQC_CLI_H
#define AWQC_CLI_H

#include "awq/awq.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes, as the manual page promises them. */
enum {
    DONE = 0,
    FAILED = 1,      /* the operation failed: a file, a model, a number */
    WRONG_USAGE = 2, /* the command line or the recipe is wrong; nothing was written */
    INTERRUPTED = 130,
};

/* ---- arguments.c: command lines ---- */

typedef struct cli_option {
    const char *name;     /* "--set" */
    const char *argument; /* "KEY=VALUE"; NULL for a switch */
    bool repeats;
    const char *help;
    bool discards; /* it lets go of something that was there */
} cli_option;

enum { MAX_OPTIONS = 12 };

/* What was given. given[i] holds the arguments of the command's option i, in order. */
typedef struct cli_arguments {
    const char *operand; /* NULL where it is optional and missing */
    struct {
        size_t count; /* how often the option stands there */
        const char **texts;
    } given[MAX_OPTIONS];
} cli_arguments;

typedef struct cli_command {
    const char *name;
    const char *operand; /* "RECIPE", "[TOPIC]" where it may be missing, NULL for none */
    const char *summary;
    const char *details; /* the rest of its help text, one paragraph */
    const cli_option *options;
    size_t option_count;
    int (*run)(awq_context *ctx, const cli_arguments *arguments);
    bool computes;
} cli_command;

/* The options that every command takes. */
typedef struct cli_globals {
    bool help, version;
    const char **plugin_paths;
    size_t plugin_path_count;
} cli_globals;

extern const cli_option global_options[];
extern const size_t global_option_count;

/*
 * Both read argv from *index on. The first stops at the first word that is no option, the second
 * reads all. Return DONE or, with the error printed, WRONG_USAGE.
 */
int parse_globals(int argc, char **argv, int *index, cli_globals *globals);
int parse_arguments(const cli_command *command, int argc, char **argv, int *index,
                    cli_globals *globals, cli_arguments *arguments);
void free_arguments(cli_arguments *arguments);
/* The argument of an option that does not repeat, or NULL. */
const char *argument_of(const cli_arguments *arguments, size_t option);
bool is_given(const cli_arguments *arguments, size_t option);
/* A number argument between minimum and maximum into *number, which stays as it is when the option
   is not given. */
int number_argument(const cli_command *command, const cli_arguments *arguments, size_t option,
                    int64_t minimum, int64_t maximum, int64_t *number);
/* Which of the names is nearest to `word` by edit distance. */
const char *nearest_name(const char *word, const char *const *names, size_t count);

/* ---- the commands ---- */

extern const cli_command command_new, command_quantize, command_plan, command_inspect, command_eval,
    command_imatrix, command_verify, command_report, command_plugins, command_devices,
    command_completion, command_help;

/* ---- commands.c ---- */

/* All of them, with NULL at the end; main.c sets them. */
void set_commands(const cli_command *const *all);
const cli_command *const *all_commands(void);
const cli_command *find_command(const char *name);
/* Prints "PROBLEM "NAME"; did you mean "..."?" with the nearest command, or one of `others`, which
   ends with NULL (NULL: none). */
int refuse_command(const char *problem, const char *name, const char *const *others);

/* ---- cmd_help.c ---- */

void print_program_help(void);
void print_command_help(const cli_command *command);

/* ---- start.c ---- */

/* Starts the program again, and does not return, where OpenBLAS took kernels that do not fit the
   processor, unless the user chose them. An exit code: FAILED where that failed. */
int fit_kernels(char **argv, bool quiet);

/* ---- messages.c: standard error ---- */

#if defined(__GNUC__)
#define PRINTF_LIKE(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define PRINTF_LIKE(format_index, first)
#endif

/* One line "awqc: error: ...". */
void print_error(const char *format, ...) PRINTF_LIKE(1, 2);
void print_warning(const char *text);
/* An awq_log_fn that shows warnings and what is worth knowing. */
void show_log(void *user, awq_log_level level, const char *text);
/* Prints the context's message and returns the exit code that fits the status. */
int report_failure(const awq_context *ctx, awq_status status);

/* ---- memory.c ---- */

/* malloc, realloc and strdup that end the program when there is no memory. */
void *must_realloc(void *pointer, size_t count, size_t size);
char *must_copy(const char *text, size_t length);

/* ---- clean.c: texts of others ---- */

/* Makes of a text, in place, one that no terminal obeys: '?' stands for what is a control
   character, no UTF-8, or changes the direction of writing. All that comes from files is shown so.
 */
void clean_line(char *text);
/* A text as JSON has it, in quotes; what is no UTF-8 becomes U+FFFD. */
void print_json_text(const char *text);

/* ---- numbers.c ---- */

enum { TEXT_BYTES = 64 };
/* "1.23 GB" */
const char *format_bytes(char text[TEXT_BYTES], uint64_t bytes);
/* "46,702,792,704" */
const char *format_count(char text[TEXT_BYTES], uint64_t count);
/* "4 min 10 s" */
const char *format_duration(char text[TEXT_BYTES], double seconds);
/* The fewest digits that read back to the same number; "null" for what JSON has no number for. */
const char *format_exact(char text[TEXT_BYTES], double number);

/* ---- table.c, facts.c: standard output ---- */

enum { MAX_COLUMNS = 8 };
/* Cells are collected, then printed in columns as wide as their content. */
typedef struct cli_table {
    size_t column_count;
    const char *titles[MAX_COLUMNS];
    bool right[MAX_COLUMNS]; /* aligned to the right */
    char **cells;            /* row by row */
    size_t cell_count, capacity;
} cli_table;
void table_add(cli_table *table, const char *format, ...) PRINTF_LIKE(2, 3);
/* Prints titles and rows, and frees the cells. */
void table_print(cli_table *table);
/* One line "label   value" of the lists that stand above tables. */
void print_field(const char *label, const char *format, ...) PRINTF_LIKE(2, 3);
/* Model, layers, experts and size. */
void print_model(const awq_model_info *info);
/* Perplexity and what a comparison gave. */
void print_evaluation(const awq_eval_result *result, const char *reference_label,
                      const char *label);

/* ---- json.c: members of JSON objects on standard output ---- */

void json_text(const char *name, const char *text);
void json_whole(const char *name, uint64_t number);
/* With all digits; null for what JSON has no number for. */
void json_number(const char *name, double number);
void json_truth(const char *name, bool truth);
void json_comma(void);
/* The line "model": {...}, with a comma behind it. */
void json_model(const awq_model_info *info);

/* ---- plan_json.c ---- */

/* The plan and its estimate as one JSON object. */
void print_plan_json(awq_context *ctx, const awq_plan *plan, const awq_recipe *recipe);

/* ---- progress.c: how far it is, and Ctrl-C ---- */

/* Shows the context's operations on standard error unless quiet, and lets SIGINT and SIGTERM
   cancel them. */
void progress_start(awq_context *ctx, bool quiet);
/* Removes a half-written line from the terminal: call before printing anything else. */
void progress_clear(void);

/* ---- plugin_paths.c ---- */

/* Adds the directories of architecture plugins, in their order of search. */
int add_plugin_paths(awq_context *ctx, const cli_globals *globals);

/* ---- recipe_yaml.c, recipe_load.c ---- */

/* Reads YAML text into the recipe. `name` stands before line and column in messages; without
   positions (text from the command line) it stands alone. Returns DONE or WRONG_USAGE. */
typedef struct yaml_source {
    const char *name;
    bool positions;
    const char *text;
    size_t bytes;
    const char *base_dir; /* of relative paths; NULL: the working directory */
} yaml_source;
int yaml_read_recipe(awq_context *ctx, awq_recipe *recipe, const yaml_source *source);
/* Reads a list such as [a, "b"] as the value of one option. */
int yaml_read_list(awq_context *ctx, awq_recipe *recipe, const char *option_name,
                   const yaml_source *source);
/* A recipe from a file, with the --set arguments over it. Frees nothing of its arguments;
 *recipe is NULL on failure. */
int load_recipe(awq_context *ctx, const char *path, const char *const *sets, size_t set_count,
                awq_recipe **recipe);
/* What --ignore-engine does to a loaded recipe, which it frees on failure. */
#define IGNORE_ENGINE_HELP "Warn where the recipe's engine cannot load the result, and go on."
int ignore_engine(awq_context *ctx, awq_recipe *recipe);
/* What --device does; NULL leaves the recipe as it is. */
#define DEVICE_HELP "Compute on this device: auto, cpu, or one that awqc devices lists, as cuda:0."
int set_device(awq_context *ctx, awq_recipe *recipe, const char *device);

#endif
