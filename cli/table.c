/* Tables on standard output. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
