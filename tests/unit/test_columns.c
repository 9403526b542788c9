/* Rounding of columns side by side: every table does what the reference does, bit for bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/blocks.h"
#include "tables.h"

#define ROWS AWQ__COLUMN_ROWS
enum { COUNT = 48, GROUP = 32, GROUPS = 2 };

typedef struct arrays {
    float w[COUNT * ROWS], e[COUNT * ROWS], x[COUNT * ROWS], change[COUNT * ROWS];
    float scales[GROUPS * ROWS], zeros[GROUPS * ROWS], matrix[COUNT * (COUNT + 3)];
    float diagonal[COUNT];
    uint8_t codes[COUNT * ROWS];
} arrays;

static void fill(uint64_t *random, const awq__scheme *scheme, arrays *a)
{
    memset(a, 0, sizeof *a);
    for (int i = 0; i < COUNT * ROWS; i++) {
        a->w[i] = normal(random);
        a->e[i] = 0.1f * normal(random);
        a->x[i] = normal(random);
    }
    for (int i = 0; i < COUNT * (COUNT + 3); i++)
        a->matrix[i] = 0.2f * normal(random);
    for (int i = 0; i < COUNT; i++)
        a->diagonal[i] = between(random, 0.5f, 3);
    for (int i = 0; i < GROUPS * ROWS; i++) {
        bool power = scheme->code == AWQ__CODE_E2M1 && !scheme->blocks;
        a->scales[i] = power ? ldexpf(1, i % 5 - 3) : between(random, 0.05f, 0.5f);
        a->zeros[i] = scheme->blocks ? (float)(i % 3) : (float)(i % (1 << scheme->bits));
    }
    for (int k = 0; k < COUNT; k++) { /* a group of zeros; halfway between codes; far outside */
        a->w[k * ROWS + 5] = a->e[k * ROWS + 5] = a->x[k * ROWS + 5] = 0;
        a->w[k * ROWS + 7] = ((float)k - 20) * 0.5f * a->scales[7];
        a->e[k * ROWS + 7] = a->x[k * ROWS + 7] = 0;
        a->w[k * ROWS + 9] = k % 2 ? 1e9f : -1e9f;
    }
}

static awq__columns columns_of(const awq__scheme *scheme, arrays *a, bool divided)
{
    return (awq__columns){.scheme = scheme,
                          .first = 16,
                          .count = COUNT,
                          .scales = a->scales,
                          .zeros = a->zeros,
                          .w = a->w,
                          .e = a->e,
                          .x = a->x,
                          .change = a->change,
                          .codes = a->codes,
                          .matrix = a->matrix,
                          .ld = COUNT + 3,
                          .diagonal = divided ? a->diagonal : NULL};
}

static void check_scheme(uint64_t *random, const awq__scheme *scheme)
{
    static arrays start, expected, found;
    float losses[ROWS], found_losses[ROWS];
    fill(random, scheme, &start);
    FOR_EACH_TABLE(table)
    {
        for (int divided = 0; divided < 2; divided++) {
            expected = found = start;
            awq__columns e = columns_of(scheme, &expected, divided);
            awq__columns f = columns_of(scheme, &found, divided);
            awq__compute_reference()->round_columns(&e);
            table->round_columns(&f);
            assert_memory_equal(&found, &expected, sizeof found);
            assert_true(memcmp(&found, &start, sizeof found));
        }
        if (scheme->blocks)
            continue;
        awq__compute_reference()->range_losses(scheme, start.w, start.diagonal, start.scales,
                                               start.zeros, losses);
        table->range_losses(scheme, start.w, start.diagonal, start.scales, start.zeros,
                            found_losses);
        assert_memory_equal(found_losses, losses, sizeof losses);
    }
}

static void tables_round_columns_as_the_reference(void **state)
{
    (void)state;
    uint64_t random = 21;
    for (int bits = 2; bits <= 8; bits++)
        check_scheme(&random, &(awq__scheme){.bits = bits, .group = GROUP});
    check_scheme(&random, &(awq__scheme){.code = AWQ__CODE_E2M1, .bits = 4, .group = GROUP});
    check_scheme(&random, &(awq__scheme){.code = AWQ__CODE_NF4, .bits = 4, .group = GROUP});
}

static void tables_round_blocks_as_the_reference(void **state)
{
    (void)state;
    uint64_t random = 22;
    for (int t = 0; t < awq__block_type_count; t++) {
        awq__scheme scheme = awq__block_scheme(&awq__block_types[t]);
        scheme.blocks = &awq__block_types[t];
        scheme.group = GROUP;
        check_scheme(&random, &scheme);
    }
}

/* One column by hand: 0.9 in steps of 0.5 is 1, and the next column gets what is too much. */
static void what_a_column_passes_on(void **state)
{
    (void)state;
    static arrays a;
    awq__scheme scheme = {.bits = 4, .group = GROUP};
    memset(&a, 0, sizeof a);
    for (int r = 0; r < ROWS; r++) {
        a.w[r] = 0.9f;
        a.w[ROWS + r] = 0.2f;
        a.scales[r] = 0.5f;
        a.zeros[r] = 8;
    }
    a.matrix[1] = 2;
    awq__columns c = columns_of(&scheme, &a, false);
    c.first = 0;
    c.count = 2;
    awq__compute_reference()->round_columns(&c);
    for (int r = 0; r < ROWS; r++) {
        assert_int_equal(a.codes[r], 10);
        assert_true(a.e[r] == 0.9f - 1 && a.change[r] == a.e[r]);
        assert_true(a.x[ROWS + r] == 2 * a.e[r]); /* 0.2 - 0.2 is 0 */
        assert_int_equal(a.codes[ROWS + r], 8);
        assert_true(a.e[ROWS + r] == 0.2f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_round_columns_as_the_reference),
        cmocka_unit_test(tables_round_blocks_as_the_reference),
        cmocka_unit_test(what_a_column_passes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
