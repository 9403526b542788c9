#define _GNU_SOURCE /* memmem */
#include "fuzz.h"
#include "checkpoint/internal.h"
#include "core/utf8.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATHS 8

static awq_context *context;
static char directory[256];

_Noreturn void fuzz_broken(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    if (context)
        fprintf(stderr, "the context's message: %s\n", awq_context_message(context));
    abort();
}

static void clean_up(void)
{
    if (directory[0]) {
        awq__clear_directory(context, directory, NULL);
        rmdir(directory);
    }
    awq_context_free(context);
    context = NULL;
}

awq_context *fuzz_context(void)
{
    if (!context) {
        MUST(awq_context_create(&context) == AWQ_OK);
        MUST(awq_context_set_threads(context, 1) == AWQ_OK);
        atexit(clean_up);
    }
    return context;
}

/* Not a control character, a mark or an override of the writing direction, or a separator of lines.
 */
static bool is_harmless(uint32_t code)
{
    return code >= 0x20 && (code < 0x7f || code > 0x9f) && code != 0x61c &&
           (code < 0x200e || code > 0x200f) && (code < 0x2028 || code > 0x202e) &&
           (code < 0x2066 || code > 0x2069);
}

bool fuzz_is_clean(const char *text)
{
    if (!awq__is_utf8(text, strlen(text)))
        return false;
    while (*text) {
        uint32_t code;
        text += awq__utf8_next(text, &code);
        if (!is_harmless(code))
            return false;
    }
    return true;
}

void fuzz_judge(awq_status status)
{
    const char *message = awq_context_message(fuzz_context());
    if (status == AWQ_OK)
        return;
    MUST(strcmp(awq_status_name(status), "AWQ_UNKNOWN"));
    MUST(status != AWQ_ERROR_MEMORY); /* no input asks for much */
    MUST(message[0]);
    MUST(fuzz_is_clean(message));
}

void fuzz_judge_public(awq_status status)
{
    fuzz_judge(status);
    MUST(status != AWQ_OK || !awq_context_message(fuzz_context())[0]);
}

/* ---- inputs ---- */

static fuzz_part copy_part(const uint8_t *data, size_t size)
{
    fuzz_part part = {malloc(size), size};
    MUST(part.data || !size);
    if (size)
        memcpy(part.data, data, size);
    return part;
}

void fuzz_split(const uint8_t *data, size_t size, fuzz_part *parts, size_t count)
{
    const size_t separator = sizeof FUZZ_SEPARATOR - 1;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *end =
            i + 1 < count && size ? memmem(data, size, FUZZ_SEPARATOR, separator) : NULL;
        size_t length = end ? (size_t)(end - data) : size;
        parts[i] = copy_part(data, length);
        if (end)
            length += separator;
        data = length ? data + length : data;
        size -= length;
    }
}

void fuzz_free(fuzz_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(parts[i].data);
}

char *fuzz_string(const fuzz_part *part)
{
    char *text = malloc(part->size + 1);
    MUST(text);
    if (part->size)
        memcpy(text, part->data, part->size);
    text[part->size] = 0;
    return text;
}

/* ---- files ---- */

static const char *work_directory(void)
{
    if (directory[0])
        return directory;
    const char *base = getenv("TMPDIR");
    if (!base)
        base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    fuzz_context();
    snprintf(directory, sizeof directory, "%s/awq-fuzz-XXXXXX", base);
    MUST(mkdtemp(directory));
    return directory;
}

const char *fuzz_path(const char *name)
{
    static char paths[PATHS][512];
    static unsigned next;
    char *path = paths[next++ % PATHS];
    snprintf(path, sizeof paths[0], "%s%s%s", work_directory(), *name ? "/" : "", name);
    return path;
}

void fuzz_write(const char *name, const void *data, size_t size)
{
    int fd = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(fd >= 0);
    for (size_t done = 0; done < size;) {
        ssize_t count = write(fd, (const char *)data + done, size - done);
        MUST(count > 0);
        done += (size_t)count;
    }
    MUST(close(fd) == 0);
}

void fuzz_write_part(const char *name, const fuzz_part *part)
{
    fuzz_write(name, part->data, part->size);
}

void fuzz_make_directory(const char *name)
{
    MUST(mkdir(fuzz_path(name), 0700) == 0);
}

void fuzz_remove_directory(const char *name)
{
    const char *path = fuzz_path(name);
    if (!awq__is_directory(path))
        return;
    MUST(awq__clear_directory(fuzz_context(), path, NULL) == AWQ_OK);
    MUST(rmdir(path) == 0);
}
