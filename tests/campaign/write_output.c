/* write_output DIRECTORY: a checkpoint whose writer leaves all that is to be durable to the commit.
 */
#include "awq/awq.h"
#include "checkpoint/checkpoint.h"

#include <stdio.h>

enum { TENSORS = 5, ROWS = 4, COLUMNS = 1000 };

static awq_status write_tensors(awq__output *output)
{
    static float values[ROWS * COLUMNS];
    const int64_t shape[] = {ROWS, COLUMNS};
    const char names[TENSORS][2] = {"a", "b", "c", "d", "e"};
    awq_status status = AWQ_OK;
    for (int i = 0; i < TENSORS && status == AWQ_OK; i++)
        status = awq__output_declare(output, names[i], AWQ_F32, 2, shape);
    if (status == AWQ_OK)
        status = awq__output_text(output, "config.json", "{}", 2);
    if (status == AWQ_OK)
        status = awq__output_layout(output, 2 * sizeof values);
    for (int i = 0; i < TENSORS && status == AWQ_OK; i++) {
        for (int j = 0; j < ROWS * COLUMNS; j++)
            values[j] = (float)(i + j + 1);
        status = awq__output_write(output, names[i], values, sizeof values);
    }
    return status == AWQ_OK ? awq__output_commit(output) : status;
}

int main(int argc, char **argv)
{
    awq_context *ctx = NULL;
    awq__output *output = NULL;
    if (argc != 2 || awq_context_create(&ctx) != AWQ_OK)
        return 2;
    awq_status status = awq__output_begin(ctx, argv[1], false, &output);
    if (status == AWQ_OK)
        status = write_tensors(output);
    if (status != AWQ_OK)
        fprintf(stderr, "%s\n", awq_context_message(ctx));
    awq__output_free(output);
    awq_context_free(ctx);
    return status != AWQ_OK;
}
