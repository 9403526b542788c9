/* awqc completion: completions for shells, made from the tables of commands and options. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static void list_commands(void)
{
    for (const cli_command *const *command = all_commands(); *command; command++)
        printf("%s%s", command == all_commands() ? "" : " ", (*command)->name);
}

static void list_settings(void)
{
    size_t count;
    const awq_option *options = awq_option_list(&count);
    for (size_t i = 0; i < count; i++)
        printf("%s%s=", i ? " " : "", options[i].name);
}

/* ---- bash ---- */

static void list_options(const cli_command *command)
{
    for (size_t i = 0; i < command->option_count; i++)
        printf("%s ", command->options[i].name);
    for (size_t i = 0; i < global_option_count; i++)
        printf("%s%s", i ? " " : "", global_options[i].name);
}

static void print_bash(void)
{
    puts("# bash completion of awqc: source it, or put it into /etc/bash_completion.d/awqc.\n"
         "_awqc() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=");
    puts("    COMPREPLY=()");
    fputs("    if [ \"$COMP_CWORD\" = 1 ]; then\n        words=\"", stdout);
    list_commands();
    fputs("\"\n    elif [ \"$before\" = --set ]; then\n        words=\"", stdout);
    list_settings();
    puts("\"\n        compopt -o nospace\n    elif [ \"${word#-}\" != \"$word\" ]; then\n"
         "        case ${COMP_WORDS[1]} in");
    for (const cli_command *const *command = all_commands(); *command; command++) {
        printf("        %s) words=\"", (*command)->name);
        list_options(*command);
        puts("\" ;;");
    }
    puts("        esac\n    fi\n"
         "    [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
         "}\ncomplete -o default -F _awqc awqc");
}

/* ---- zsh ---- */

/* A text between single quotes, where also ':' and brackets end something. */
static void print_quoted(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            printf("%s%c", strchr(":[]\\", *text) ? "\\" : "", *text);
    }
}

static void print_zsh_option(const cli_option *option)
{
    printf(" \\\n        '%s%s[", option->repeats ? "*" : "", option->name);
    print_quoted(option->help);
    putchar(']');
    if (option->argument) {
        putchar(':');
        print_quoted(option->argument);
        printf(":%s", strcmp(option->name, "--set") ? "_files" : "_awqc_settings");
    }
    putchar('\'');
}

static void print_zsh(void)
{
    fputs("#compdef awqc\n# zsh completion of awqc: put it into a directory of $fpath as _awqc.\n"
          "_awqc_settings() { compadd -S '' ",
          stdout);
    list_settings();
    puts("; }\n_awqc() {\n    local -a commands\n    commands=(");
    for (const cli_command *const *command = all_commands(); *command; command++) {
        printf("        '%s:", (*command)->name);
        print_quoted((*command)->summary);
        puts("'");
    }
    puts("    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n"
         "        return\n    fi\n    local command=$words[2]\n    shift words\n    (( CURRENT-- "
         "))\n"
         "    case $command in");
    for (const cli_command *const *command = all_commands(); *command; command++) {
        printf("    %s) _arguments", (*command)->name);
        for (size_t i = 0; i < (*command)->option_count; i++)
            print_zsh_option(&(*command)->options[i]);
        for (size_t i = 0; i < global_option_count; i++)
            print_zsh_option(&global_options[i]);
        puts(" \\\n        '*:file:_files' ;;");
    }
    puts("    esac\n}\n_awqc \"$@\"");
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    (void)ctx;
    if (!strcmp(arguments->operand, "bash")) {
        print_bash();
    } else if (!strcmp(arguments->operand, "zsh")) {
        print_zsh();
    } else {
        print_error("completion: unknown shell \"%s\"; known are bash and zsh", arguments->operand);
        return WRONG_USAGE;
    }
    return DONE;
}

const cli_command command_completion = {
    "completion",
    "SHELL",
    "Print the completions for a shell, bash or zsh.",
    "For bash: source <(awqc completion bash). For zsh: awqc completion zsh > DIR/_awqc, where DIR "
    "is one of $fpath.",
    NULL,
    0,
    run,
    false,
};
