/* The commands by their names. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const cli_command *const *commands;

void set_commands(const cli_command *const *all)
{
    commands = all;
}

const cli_command *const *all_commands(void)
{
    return commands;
}

const cli_command *find_command(const char *name)
{
    for (const cli_command *const *command = commands; *command; command++)
        if (!strcmp((*command)->name, name))
            return *command;
    return NULL;
}

int refuse_command(const char *problem, const char *name, const char *const *others)
{
    const char **names = NULL;
    size_t count = 0;
    for (const cli_command *const *command = commands; *command; command++) {
        names = must_realloc(names, count + 1, sizeof *names);
        names[count++] = (*command)->name;
    }
    for (; others && *others; others++) {
        names = must_realloc(names, count + 1, sizeof *names);
        names[count++] = *others;
    }
    print_error("%s \"%s\"; did you mean \"%s\"?", problem, name, nearest_name(name, names, count));
    free(names);
    return WRONG_USAGE;
}
