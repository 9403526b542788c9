/* awqc: quantizes mixture-of-experts checkpoints, by the library libawq. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *const commands[] = {
    &command_new,
    &command_plan,
    &command_quantize,
    &command_imatrix,
    &command_inspect,
    &command_eval,
    &command_verify,
    &command_report,
    &command_plugins,
    &command_devices,
    &command_completion,
    &command_help,
    NULL,
};

static void print_devices(const cli_globals *globals)
{
    awq_context *ctx;
    awq_device_list *list = NULL;
    if (awq_context_create(&ctx) != AWQ_OK)
        return;
    if (add_plugin_paths(ctx, globals) == DONE)
        awq_device_list_create(ctx, &list);
    for (size_t i = 0; i < awq_device_list_count(list); i++) {
        const awq_device_info *device = awq_device_list_at(list, i);
        if (!device->error[0])
            printf("device: %s, %s (%s, %s)\n", device->id, device->name, device->capability,
                   device->version);
    }
    awq_device_list_free(list);
    awq_context_free(ctx);
}

static void print_version(const cli_globals *globals)
{
    printf("awqc %s", AWQ_VERSION_STRING);
    if (strcmp(awq_version(), AWQ_VERSION_STRING))
        printf(" with libawq %s", awq_version());
    awq_compute_info info;
    awq_compute_describe(&info);
    printf("\nproducts: %s (%s), kernels for %s\nloops: %s\n", info.blas, info.threading, info.core,
           info.table);
    if (info.better_core[0])
        printf("kernels that fit this processor: OPENBLAS_CORETYPE=%s\n", info.better_core);
    print_devices(globals);
}

static bool is_quiet(const cli_command *command, const cli_arguments *arguments)
{
    for (size_t i = 0; i < command->option_count; i++)
        if (!strcmp(command->options[i].name, "--quiet"))
            return is_given(arguments, i);
    return false;
}

static int run_command(const cli_command *command, const cli_globals *globals,
                       const cli_arguments *arguments)
{
    awq_context *ctx;
    if (awq_context_create(&ctx) != AWQ_OK) {
        print_error("out of memory");
        return FAILED;
    }
    awq_context_set_log(ctx, show_log, NULL);
    int code = add_plugin_paths(ctx, globals);
    if (code == DONE)
        code = command->run(ctx, arguments);
    awq_context_free(ctx);
    return code;
}

/* Reads the whole command line before anything is done. */
static int run(int argc, char **argv, cli_globals *globals, cli_arguments *arguments)
{
    int index = 1;
    int code = parse_globals(argc, argv, &index, globals);
    const cli_command *command = NULL;
    if (code == DONE && index < argc) {
        command = find_command(argv[index]);
        if (!command)
            return refuse_command("unknown command", argv[index], NULL);
        index++;
        code = parse_arguments(command, argc, argv, &index, globals, arguments);
    }
    if (code != DONE)
        return code;
    if (globals->version) {
        print_version(globals);
    } else if (globals->help && command) {
        print_command_help(command);
    } else if (globals->help) {
        print_program_help();
    } else if (command) {
        code = command->computes ? fit_kernels(argv, is_quiet(command, arguments)) : DONE;
        if (code == DONE)
            code = run_command(command, globals, arguments);
        return code;
    } else {
        print_error("a command is missing; \"awqc help\" lists them");
        return WRONG_USAGE;
    }
    return DONE;
}

/* A file that is opened must not become the standard output that whoever started us closed. */
static void keep_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            open("/dev/null", O_RDONLY); /* takes the lowest free number, fd; writing to it fails */
}

int main(int argc, char **argv)
{
    keep_standard_streams();
    set_commands(commands);
    signal(SIGXFSZ, SIG_IGN); /* a file that would be larger than allowed is an error like others */
    cli_globals globals = {0};
    cli_arguments arguments = {0};
    int code = run(argc, argv, &globals, &arguments);
    free_arguments(&arguments);
    free(globals.plugin_paths);
    /* What was printed counts only if it arrived. */
    errno = 0;
    if ((fflush(stdout) || ferror(stdout)) && code == DONE) {
        print_error("standard output: %s", errno ? strerror(errno) : "could not be written");
        code = FAILED;
    }
    return code;
}
