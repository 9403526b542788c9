/* Numbers for people, tables, and the lists of facts above them. */
#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *format_bytes(char text[TEXT_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double number = (double)bytes;
    size_t unit = 0;
    while (number >= 999.995 && unit + 1 < sizeof units / sizeof units[0]) {
        number /= 1000;
        unit++;
    }
    snprintf(text, TEXT_BYTES, "%.*f %s", unit ? 2 : 0, number, units[unit]);
    return text;
}

const char *format_count(char text[TEXT_BYTES], uint64_t count)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *to = text;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
    return text;
}

const char *format_duration(char text[TEXT_BYTES], double seconds)
{
    if (!(seconds >= 0))
        seconds = 0;
    if (seconds < 59.95) {
        snprintf(text, TEXT_BYTES, "%.1f s", seconds);
        return text;
    }
    long long whole = seconds < 1e15 ? (long long)(seconds + 0.5) : 1000000000000000;
    if (whole < 3600)
        snprintf(text, TEXT_BYTES, "%lld min %02lld s", whole / 60, whole % 60);
    else
        snprintf(text, TEXT_BYTES, "%lld h %02lld min", whole / 3600, whole / 60 % 60);
    return text;
}

const char *format_exact(char text[TEXT_BYTES], double number)
{
    if (!isfinite(number))
        return "null";
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, TEXT_BYTES, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    return text;
}

/* ---- tables ---- */

/* Columns that the text takes on a terminal: its code points. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void table_add(cli_table *table, const char *format, ...)
{
    va_list values, again;
    va_start(values, format);
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        length = 0;
    char *cell = must_realloc(NULL, (size_t)length + 1, 1);
    cell[0] = 0;
    vsnprintf(cell, (size_t)length + 1, format, values);
    va_end(values);
    clean_line(cell);
    if (table->cell_count == table->capacity) {
        table->capacity = table->capacity * 2 + 64;
        table->cells = must_realloc(table->cells, table->capacity, sizeof *table->cells);
    }
    table->cells[table->cell_count++] = cell;
}

static void print_row(const cli_table *table, const char *const *cells, const size_t *widths)
{
    size_t owed = 0; /* spaces that are printed only if something follows */
    for (size_t i = 0; i < table->column_count; i++) {
        size_t gap = widths[i] - width_of(cells[i]);
        if (i)
            owed += 2;
        if (table->right[i])
            owed += gap;
        if (cells[i][0]) {
            printf("%*s%s", (int)owed, "", cells[i]);
            owed = 0;
        } else {
            owed += widths[i];
            continue;
        }
        if (!table->right[i])
            owed += gap;
    }
    putchar('\n');
}

void table_print(cli_table *table)
{
    size_t widths[MAX_COLUMNS];
    for (size_t i = 0; i < table->column_count; i++)
        widths[i] = width_of(table->titles[i]);
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = width_of(table->cells[i]);
        size_t *widest = &widths[i % table->column_count];
        if (width > *widest)
            *widest = width;
    }
    print_row(table, table->titles, widths);
    for (size_t i = 0; i + table->column_count <= table->cell_count; i += table->column_count)
        print_row(table, (const char *const *)&table->cells[i], widths);
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->cell_count = table->capacity = 0;
}

/* ---- facts ---- */

void print_field(const char *label, const char *format, ...)
{
    char line[4096];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    clean_line(line);
    printf("%-22s%s\n", label, line);
}

void print_model(const awq_model_info *info)
{
    char bytes[TEXT_BYTES], weights[TEXT_BYTES];
    print_field("model", "%s", info->directory);
    if (info->described)
        print_field("checkpoint", "described by config.json; no weights on disk");
    print_field("architecture", "%s, by plugin %s", info->model_type, info->plugin);
    print_field("layers", "%lld, hidden size %lld, vocabulary %lld", (long long)info->layer_count,
                (long long)info->hidden_size, (long long)info->vocabulary_size);
    if (info->expert_count)
        print_field("experts", "%lld, top-k %lld", (long long)info->expert_count,
                    (long long)info->experts_per_token);
    else
        print_field("experts", "none");
    print_field("quantization", "%s", info->quantization[0] ? info->quantization : "none");
    print_field("weights", "%s", format_count(weights, info->weights));
    print_field("size", "%s", format_bytes(bytes, info->bytes));
}

void print_evaluation(const awq_eval_result *result, const char *reference_label, const char *label)
{
    if (result->has_reference)
        print_field(reference_label, "%.4f", result->reference_perplexity);
    char tokens[TEXT_BYTES];
    print_field(label, "%.4f over %s tokens", result->perplexity,
                format_count(tokens, (uint64_t)result->tokens));
    if (!result->has_reference)
        return;
    print_field("KL divergence", "%.6f nats", result->kl);
    print_field("top-1 agreement", "%.2f %%", 100 * result->top1_agreement);
    print_field("router agreement", "%.2f %%", 100 * result->router_topk_agreement);
}
