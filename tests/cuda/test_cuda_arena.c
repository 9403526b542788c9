/* How a device's memory is cut up. Nothing is written there: any memory would do. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "on_device.h"
#include "device.h"

enum { ARRAYS = 300 };

typedef struct piece {
    char *at;
    size_t bytes;
} piece;

static void check_apart(const piece *pieces, int own)
{
    for (int i = 0; i < ARRAYS; i++)
        if (i != own && pieces[i].at)
            assert_true(pieces[i].at + pieces[i].bytes <= pieces[own].at ||
                        pieces[own].at + pieces[own].bytes <= pieces[i].at);
}

/* Arrays of few sizes and of many, taken and released at random, never overlap; all that was there
   at first is there at the end, in one piece. */
static void test_arena(void **state)
{
    const size_t bytes = (size_t)64 << 20;
    uint64_t random = 1;
    device_of(state);
    awq__cuda_device *d = space_for(1, sizeof *d);
    piece pieces[ARRAYS] = {{0}};
    done(awq__cuda_arena_create(&d->arena, bytes));
    for (int turn = 0; turn < 20000; turn++) {
        int i = (int)(awq__random(&random) % ARRAYS);
        bool few = awq__random(&random) % 2;
        awq__cuda_release(d, pieces[i].at);
        pieces[i].bytes = few ? (size_t)4096 << awq__random(&random) % 8
                              : (size_t)(awq__random(&random) % 700000);
        pieces[i].at = awq__cuda_allocate(d, pieces[i].bytes ? pieces[i].bytes : 1);
        if (!pieces[i].at)
            continue;
        assert_true((uintptr_t)pieces[i].at % 256 == 0);
        check_apart(pieces, i);
    }
    for (int i = 0; i < ARRAYS; i++)
        awq__cuda_release(d, pieces[i].at);
    assert_true(awq__cuda_free_bytes(d) == bytes);
    assert_non_null(awq__cuda_allocate(d, bytes));
    assert_null(awq__cuda_allocate(d, 1));
    awq__cuda_arena_free(&d->arena);
    free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_arena, open_device, close_device),
    };
    return cmocka_run_group_tests_name("cuda_arena", tests, NULL, NULL);
}
