/*
 * libawq's tokenizer behind a pipe.
 *
 *   tokenize TOKENIZER.json
 *
 * Each line of standard input is a JSON string; for it, standard output has a line of two lists of
 * ids: [without special tokens, with them].
 */
#include "text/text.h"
#include "text/text_internal.h"

#include "awq/awq.h"

#include <stdio.h>
#include <stdlib.h>

static awq_status print_ids(const awq__tokenizer *tokenizer, const awq__text *text, bool special)
{
    awq__ids ids = {0};
    awq_status status = awq__tokenizer_encode(tokenizer, text->data, text->length, special, &ids);
    printf("[");
    for (size_t i = 0; i < ids.count; i++)
        printf("%s%d", i ? "," : "", ids.data[i]);
    printf("]");
    awq__free(ids.data);
    return status;
}

/* The bytes of a JSON string, NUL among them. */
static awq_status parse_line(awq_context *ctx, const char *line, size_t bytes, awq__text *text)
{
    cJSON *string;
    bool escaped;
    awq_status status = awq__json_parse_nul(ctx, &(awq__json_source){.name = "standard input"},
                                            line, bytes, &string, &escaped);
    if (status != AWQ_OK)
        return status;
    if (cJSON_IsString(string))
        status = awq__json_unescape(ctx, string->valuestring, escaped, text);
    else
        status = awq__fail(ctx, AWQ_ERROR_FORMAT, "standard input: a line is not a JSON string");
    cJSON_Delete(string);
    return status;
}

static awq_status answer(awq_context *ctx, const awq__tokenizer *tokenizer, const char *line,
                         size_t bytes)
{
    awq__text text = {0};
    awq_status status = parse_line(ctx, line, bytes, &text);
    if (status == AWQ_OK) {
        printf("[");
        status = print_ids(tokenizer, &text, false);
    }
    if (status == AWQ_OK) {
        printf(",");
        status = print_ids(tokenizer, &text, true);
        printf("]\n");
    }
    awq__text_free(&text);
    return status;
}

int main(int count, char **arguments)
{
    awq_context *ctx;
    awq__tokenizer *tokenizer = NULL;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t bytes;
    if (count != 2 || awq_context_create(&ctx) != AWQ_OK)
        return 2;
    awq_status status = awq__tokenizer_load(ctx, arguments[1], &tokenizer);
    while (status == AWQ_OK && (bytes = getline(&line, &capacity, stdin)) > 0)
        status = answer(ctx, tokenizer, line, (size_t)bytes);
    if (status != AWQ_OK)
        fprintf(stderr, "tokenize: %s\n", awq_context_message(ctx));
    free(line);
    awq__tokenizer_free(tokenizer);
    awq_context_free(ctx);
    return status != AWQ_OK || fflush(stdout) != 0;
}
