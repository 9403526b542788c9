/* OpenBLAS as part of a host's process: `test_blas openmp` expects the flavour that uses OpenMP,
   without it any will do. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/compute.h"
#include "context.h"

#include <cblas.h>
#include <dirent.h>
#include <omp.h>
#include <stdlib.h>

enum { SIDE = 300, HOST_THREADS = 3 }; /* large enough for OpenBLAS to want threads */

static bool expect_openmp;

static int process_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    int count = 0;
    while (readdir(tasks))
        count++;
    closedir(tasks);
    return count - 2; /* . and .. */
}

/* A product and a factorization. */
static void compute_something(void)
{
    const awq__compute *compute = awq__compute_fastest();
    float *x = calloc(2 * SIDE * SIDE, sizeof *x), *y = x + SIDE * SIDE;
    assert_non_null(x);
    for (int i = 0; i < SIDE; i++)
        x[i * SIDE + i] = 2;
    compute->multiply_nt(SIDE, SIDE, SIDE, x, SIDE, x, SIDE, 0, y, SIDE);
    assert_true(y[0] == 4 && y[1] == 0);
    assert_true(compute->factor(SIDE, y));
    assert_true(y[0] > 3.99f && y[0] < 4.01f);
    free(x);
}

static void the_flavour_is_the_expected_one(void **state)
{
    (void)state;
    if (expect_openmp)
        assert_int_equal(openblas_get_parallel(), OPENBLAS_OPENMP);
}

static void threads_of_the_host_stay_as_they_are(void **state)
{
    omp_set_num_threads(HOST_THREADS);
    awq_context *second;
    assert_int_equal(awq_context_create(&second), AWQ_OK);
    compute_something();
    assert_int_equal(omp_get_max_threads(), HOST_THREADS);
    assert_int_equal(awq_context_threads(*state), HOST_THREADS);
    assert_int_equal(awq_context_threads(second), HOST_THREADS);
    awq_context_free(second);
}

static void products_start_no_threads(void **state)
{
    (void)state;
    omp_set_num_threads(HOST_THREADS);
    int before = process_threads();
    compute_something();
    assert_int_equal(process_threads(), before);
    assert_int_equal(omp_get_max_threads(), HOST_THREADS); /* after the first product of all */
    if (openblas_get_parallel() == OPENBLAS_THREAD)
        assert_int_equal(openblas_get_num_threads(), 1); /* its threads are there from the start */
}

static awq_status product_task(void *arg, int64_t index, int worker)
{
    (void)worker;
    compute_something();
    ((int *)arg)[index] = omp_get_num_threads();
    return AWQ_OK;
}

static void loops_have_all_threads(void **state)
{
    int team[HOST_THREADS] = {0};
    omp_set_num_threads(HOST_THREADS);
    succeeds(*state, awq__parallel_for(*state, HOST_THREADS, product_task, team));
    for (int i = 0; i < HOST_THREADS; i++)
        assert_int_equal(team[i], HOST_THREADS);
}

int main(int argc, char **argv)
{
    (void)argv;
    expect_openmp = argc > 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_flavour_is_the_expected_one),
        cmocka_unit_test(products_start_no_threads),
        cmocka_unit_test_setup_teardown(threads_of_the_host_stay_as_they_are, make_context,
                                        free_context),
        cmocka_unit_test_setup_teardown(loops_have_all_threads, make_context, free_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
