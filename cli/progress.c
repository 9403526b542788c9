/* How far a long operation is, on standard error, and stopping it by a signal. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#ifndef STOP_SECONDS /* tests have less patience */
#define STOP_SECONDS 10
#endif
#define TEXT_OF(number) TEXT_OF_VALUE(number)
#define TEXT_OF_VALUE(number) #number

static volatile sig_atomic_t stop_asked; /* the signal that did; 0: none */

/* The one display of this process. */
static struct display {
    bool terminal;
    bool line_open; /* a line without an end stands on the terminal */
    bool begun;
    double drawn_at; /* elapsed seconds */
    int64_t layer;   /* of the last line */
    char stage[64];
    double first_fraction, first_elapsed; /* what an earlier run had done is not our speed */
} display;

void progress_clear(void)
{
    if (!display.line_open)
        return;
    fputs("\r\033[K", stderr);
    display.line_open = false;
}

/* Seconds that remain, judged by what was done since the beginning; negative while unknown. */
static double remaining_seconds(const awq_progress *progress)
{
    double done = progress->fraction - display.first_fraction;
    double spent = progress->elapsed_seconds - display.first_elapsed;
    if (!(done > 0.001) || !(spent > 0.5))
        return -1;
    return spent * (1 - progress->fraction) / done;
}

static bool in_layers(const awq_progress *progress)
{
    return progress->layer_count > 0 && progress->layer < progress->layer_count;
}

/* "layer 3/32, scale search, 12.3 %, 4 min 10 s" */
static void describe(const awq_progress *progress, char *line, size_t size)
{
    char layer[64] = "", elapsed[TEXT_BYTES];
    if (in_layers(progress))
        snprintf(layer, sizeof layer, "layer %lld/%lld, ", (long long)progress->layer + 1,
                 (long long)progress->layer_count);
    /* A line that stands for a whole layer names no stage. */
    const char *stage = display.terminal || !layer[0] ? progress->stage : "";
    snprintf(line, size, "%s%s%s%.1f %%, %s", layer, stage, stage[0] ? ", " : "",
             100 * progress->fraction, format_duration(elapsed, progress->elapsed_seconds));
}

static size_t terminal_columns(void)
{
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        return window.ws_col;
    return 80;
}

static void draw_line(const awq_progress *progress)
{
    char line[512];
    describe(progress, line, sizeof line);
    double remaining = remaining_seconds(progress);
    time_t end = time(NULL) + (time_t)(remaining < 1e9 ? remaining : 1e9);
    struct tm clock;
    if (remaining >= 0 && localtime_r(&end, &clock)) {
        char left[TEXT_BYTES];
        size_t used = strlen(line);
        snprintf(line + used, sizeof line - used, ", ends at %02d:%02d, %s left", clock.tm_hour,
                 clock.tm_min, format_duration(left, remaining));
    }
    size_t columns = terminal_columns();
    fprintf(stderr, "\r%.*s\033[K", (int)(columns - 1), line);
    fflush(stderr);
    display.line_open = true;
    display.drawn_at = progress->elapsed_seconds;
}

/* The moment that deserves a line where lines cannot be rewritten: a layer begins, or outside
   layers a stage. */
static bool has_moved(const awq_progress *progress)
{
    bool moved =
        !display.begun || progress->layer != display.layer ||
        (!in_layers(progress) && strncmp(progress->stage, display.stage, sizeof display.stage - 1));
    display.layer = progress->layer;
    snprintf(display.stage, sizeof display.stage, "%s", progress->stage);
    return moved;
}

static int show(void *user, const awq_progress *progress)
{
    const bool *quiet = user;
    if (*quiet)
        return stop_asked != 0;
    bool moved = has_moved(progress);
    if (!display.begun) {
        display.first_fraction = progress->fraction;
        display.first_elapsed = progress->elapsed_seconds;
        display.begun = true;
    }
    if (display.terminal) {
        if (moved || progress->elapsed_seconds - display.drawn_at >= REDRAW_SECONDS)
            draw_line(progress);
    } else if (moved) {
        char line[512];
        describe(progress, line, sizeof line);
        fprintf(stderr, "awqc: %s\n", line);
    }
    return stop_asked != 0;
}

static void say(const char *text, size_t length)
{
    if (write(STDERR_FILENO, text, length) < 0)
        return; /* nobody is there to read it */
}

static void ask_to_stop(int signal_number)
{
    static const char text[] = "\nawqc: stopping at the next safe point, within " TEXT_OF(
        STOP_SECONDS) " s; once more stops at once\n";
    size_t skipped = !display.terminal; /* the line end that leaves the rewritten line */
    stop_asked = signal_number;
    say(text + skipped, sizeof text - 1 - skipped);
    alarm(STOP_SECONDS);
}

/* A safe point may be minutes away, or never come where a library that we use hangs. What is on the
   disk is fit to go on with at any time, so the signal now does what it usually does. */
static void stop_at_once(int signal_number)
{
    static const char text[] = "\nawqc: no safe point came; the work so far is kept, but for the "
                               "layer that was in work\n";
    (void)signal_number;
    say(text + !display.terminal, sizeof text - 1 - !display.terminal);
    signal(stop_asked, SIG_DFL);
    kill(getpid(), stop_asked);
}

/* Unless whoever started us wants the signal ignored. The second one has its usual effect. */
static void catch (int signal_number)
{
    struct sigaction action;
    if (sigaction(signal_number, NULL, &action) != 0 || action.sa_handler == SIG_IGN)
        return;
    action = (struct sigaction){.sa_handler = ask_to_stop, .sa_flags = SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(signal_number, &action, NULL);
    action.sa_handler = stop_at_once;
    sigaction(SIGALRM, &action, NULL);
}

void progress_start(awq_context *ctx, bool quiet)
{
    static bool is_quiet;
    is_quiet = quiet;
    display.terminal = isatty(STDERR_FILENO);
    awq_context_set_progress(ctx, show, &is_quiet);
    catch (SIGINT);
    catch (SIGTERM);
}
