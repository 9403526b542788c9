/* A signal ends the program also where no safe point comes: a library that it uses may hang. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a child ends that computes something without an end, and gets the signals. */
static int status_after(const int *signals, int count)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        awq_context *ctx;
        int null = open("/dev/null", O_WRONLY);
        if (null < 0 || dup2(null, STDERR_FILENO) < 0 || awq_context_create(&ctx) != AWQ_OK)
            _exit(99);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* not longer than this test */
        progress_start(ctx, true);
        for (int i = 0; i < count; i++)
            kill(getpid(), signals[i]);
        for (;;)
            pause();
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void one_signal_ends_what_hangs(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        int status = status_after(&signals[i], 1);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
    }
}

static void the_second_signal_ends_at_once(void **state)
{
    (void)state;
    int status = status_after((int[]){SIGTERM, SIGTERM}, 2);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_signal_ends_what_hangs),
        cmocka_unit_test(the_second_signal_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
