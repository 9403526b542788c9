/*
 * Runs a fuzz target without a fuzzing engine, with any compiler:
 *     fuzz_NAME [-dict=FILE] [-runs=N] FILE|DIRECTORY...
 * Every file is an input; then N mutations of them are, always the same ones. An input that ends
 * the program is named, and kept in a file finding-NUMBER.
 */
#include "fuzz.h"
#include "mutate.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANDOM_SEED 20240229

static char finding[256];  /* where an input that ends the program is written */
static char current[1200]; /* what runs: a file, and which mutation of it */
static const bytes *current_input;

/* A sanitizer's; NULL without one. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void tell(void)
{
    FILE *file = current_input ? fopen(finding, "wb") : NULL;
    if (!current_input)
        return;
    fprintf(stderr, "replay: ended by %s\n", current);
    if (file && fwrite(current_input->data, 1, current_input->size, file) == current_input->size)
        fprintf(stderr, "replay: that input is now in %s\n", finding);
    if (file)
        fclose(file);
    current_input = NULL;
}

static void on_signal(int number)
{
    tell();
    signal(number, SIG_DFL);
    raise(number);
}

/* Before whatever ends the program. What a sanitizer handles stays with it. */
static void listen(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(tell);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        if (!sigaction(signals[i], NULL, &old) && old.sa_handler == SIG_DFL)
            signal(signals[i], on_signal);
    }
    atexit(tell);
}

static _Noreturn void refuse(const char *what, const char *why)
{
    fprintf(stderr, "replay: %s: %s\n", what, why);
    exit(2);
}

static bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info))
        refuse(path, strerror(errno));
    bytes content = {malloc((size_t)info.st_size + 1), (size_t)info.st_size};
    if (!content.data || fread(content.data, 1, content.size, file) != content.size)
        refuse(path, "cannot be read");
    fclose(file);
    return content;
}

/* ---- seeds ---- */

typedef struct seeds {
    byte_list names, inputs;
} seeds;

static void add_seed(seeds *s, const char *path)
{
    byte_list_add(&s->names, (bytes){(uint8_t *)strdup(path), strlen(path)});
    byte_list_add(&s->inputs, read_file(path));
}

/* Sorted, so that mutations do not depend on the file system. */
static void add_directory(seeds *s, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        refuse(path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char name[1024];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            add_seed(s, name);
        free(entries[i]);
    }
    free(entries);
}

static void add_path(seeds *s, const char *path)
{
    struct stat info;
    if (stat(path, &info))
        refuse(path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        add_directory(s, path);
    else
        add_seed(s, path);
}

/* ---- runs ---- */

static void run(const bytes *input)
{
    /* Of exactly its size, so that a sanitizer sees each byte read too many. */
    uint8_t *copy = malloc(input->size);
    if (input->size)
        memcpy(copy, input->data, input->size);
    current_input = input;
    LLVMFuzzerTestOneInput(copy, input->size);
    current_input = NULL;
    free(copy);
}

static void run_mutations(const seeds *s, const byte_list *words, long runs)
{
    uint64_t state = RANDOM_SEED;
    for (long i = 0; i < runs; i++) {
        size_t seed = (size_t)i % s->inputs.count;
        bytes input = mutate(&s->inputs.items[seed], &s->inputs, words, &state);
        snprintf(current, sizeof current, "mutation %ld, of %s", i,
                 (const char *)s->names.items[seed].data);
        run(&input);
        free(input.data);
    }
}

static void run_all(const seeds *s, const byte_list *words, long runs)
{
    listen();
    for (size_t i = 0; i < s->inputs.count; i++) {
        snprintf(current, sizeof current, "%s", (const char *)s->names.items[i].data);
        run(&s->inputs.items[i]);
    }
    run_mutations(s, words, runs);
    printf("%zu inputs and %ld mutations of them: no finding\n", s->inputs.count, runs);
}

int main(int argc, char **argv)
{
    seeds s = {0};
    byte_list words = {0};
    long runs = 0;
    snprintf(finding, sizeof finding, "finding-%ld", (long)getpid());
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "-dict=", 6)) {
            bytes text = read_file(argv[i] + 6);
            read_dictionary(&text, &words);
            free(text.data);
        } else if (!strncmp(argv[i], "-runs=", 6)) {
            runs = atol(argv[i] + 6);
        } else {
            add_path(&s, argv[i]);
        }
    }
    if (!s.inputs.count)
        refuse("inputs", "there are none; expected files or directories");
    run_all(&s, &words, runs);
    byte_list_free(&s.names);
    byte_list_free(&s.inputs);
    byte_list_free(&words);
    return 0;
}
