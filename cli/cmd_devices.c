/* awqc devices: what can compute. */
#include "cli.h"

#include <stdio.h>

static void add_row(cli_table *table, const awq_device_info *device)
{
    char all[TEXT_BYTES], left[TEXT_BYTES];
    table_add(table, "%s", device->id);
    table_add(table, "%s", device->name);
    table_add(table, "%s, %s free", format_bytes(all, device->memory_bytes),
              format_bytes(left, device->free_bytes));
    table_add(table, "%s, %s", device->capability, device->version);
}

static void print_refused(const awq_device_info *device)
{
    if (device->id[0])
        print_field("refused", "%s of %s: %s", device->id, device->path, device->error);
    else
        print_field("refused", "%s: %s", device->path, device->error);
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    (void)arguments;
    awq_device_list *list;
    awq_compute_info processor;
    awq_status status = awq_device_list_create(ctx, &list);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    awq_compute_describe(&processor);
    cli_table table = {.column_count = 4, .titles = {"id", "name", "memory", "computes with"}};
    table_add(&table, "cpu");
    table_add(&table, "%d threads", awq_context_threads(ctx));
    table_add(&table, "-");
    table_add(&table, "%s, kernels for %s", processor.blas, processor.core);
    for (size_t i = 0; i < awq_device_list_count(list); i++)
        if (!awq_device_list_at(list, i)->error[0])
            add_row(&table, awq_device_list_at(list, i));
    table_print(&table);
    for (size_t i = 0; i < awq_device_list_count(list); i++)
        if (awq_device_list_at(list, i)->error[0])
            print_refused(awq_device_list_at(list, i));
    awq_device_list_free(list);
    return DONE;
}

const cli_command command_devices = {
    "devices",
    NULL,
    "List what can compute: the processor, and devices that were found.",
    "Devices come with plugins, files awq-compute-*.so, which are searched where those of "
    "architectures are (awqc help plugins). Files and devices that were refused are listed with "
    "the "
    "reason. The option device of a recipe, and --device, take an id of the list.",
    NULL,
    0,
    run,
    false,
};
